"""Fast inference."""

from .cpu import CpuTuning, tune_cpu

__all__ = ["CpuTuning", "tune_cpu"]
