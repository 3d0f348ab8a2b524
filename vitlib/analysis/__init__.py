"""Seeing inside a model: its attention, the evidence for a class, its features, and its costs."""

from .attention import attention_maps
from .class_relevance import relevance
from .counting import Count, count
from .distance import attention_distance
from .folder_features import FolderFeatures, folder_features
from .knn import knn_accuracy, knn_scores
from .linear_probe import LinearProbe, linear_probe
from .pictures import (
    METHODS,
    draw_attention,
    draw_classes,
    draw_heads,
    draw_page,
    draw_patch_features,
    draw_patch_filters,
    draw_position_similarity,
    plot_attention_distance,
)
from .rollout import attention_rollout
from .tables import Summary, summary

__all__ = [
    "METHODS",
    "Count",
    "FolderFeatures",
    "LinearProbe",
    "Summary",
    "attention_distance",
    "attention_maps",
    "attention_rollout",
    "count",
    "draw_attention",
    "draw_classes",
    "draw_heads",
    "draw_page",
    "draw_patch_features",
    "draw_patch_filters",
    "draw_position_similarity",
    "folder_features",
    "knn_accuracy",
    "knn_scores",
    "linear_probe",
    "plot_attention_distance",
    "relevance",
    "summary",
]
