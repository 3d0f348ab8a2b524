"""Seeing inside a model: its attention, the evidence for a class, and its costs."""

from .attention import attention_maps
from .counting import Count, count
from .tables import Summary, summary

__all__ = ["Count", "Summary", "attention_maps", "count", "summary"]
