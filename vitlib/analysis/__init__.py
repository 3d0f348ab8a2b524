"""Seeing inside a model: its attention, the evidence for a class, and its costs."""

from .attention import attention_maps
from .attribution import attention_rollout, relevance
from .counting import Count, count
from .tables import Summary, summary

__all__ = ["Count", "Summary", "attention_maps", "attention_rollout", "count", "relevance", "summary"]
