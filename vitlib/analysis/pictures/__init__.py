"""What a model sees, as images: Pillow, and matplotlib for plots (extra `viz`)."""

from .distance_plot import plot_attention_distance
from .embeddings import draw_patch_filters, draw_position_similarity
from .explain import draw_attention, draw_classes
from .heads import draw_heads
from .maps import METHODS
from .page import draw_page
from .patch_features import draw_patch_features

__all__ = [
    "METHODS",
    "draw_attention",
    "draw_classes",
    "draw_heads",
    "draw_page",
    "draw_patch_features",
    "draw_patch_filters",
    "draw_position_similarity",
    "plot_attention_distance",
]
