"""Seeing inside a model: its attention, and what it costs."""

from .attention import attention_maps
from .counting import Count, count

__all__ = ["Count", "attention_maps", "count"]
