"""Running a model fast."""

from .cpu import CpuTuning, tune_cpu

__all__ = ["CpuTuning", "tune_cpu"]
