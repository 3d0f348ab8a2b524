"""Seeing inside a model: its attention, and what it costs."""

from .attention_maps import attention_maps
from .count import Count, count

__all__ = ["Count", "attention_maps", "count"]
