"""Pictures before a model sees them: reading, resizing, normalising. Pillow and NumPy; stands alone."""

from .decode import ImageSource, decode
from .errors import ImageError
from .folder import ImageFolder, Sample, collate, load_batches
from .preprocess import CLIP_MEAN, CLIP_STD, IMAGENET_MEAN, IMAGENET_STD, Preprocess

__all__ = [
    "CLIP_MEAN",
    "CLIP_STD",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "ImageError",
    "ImageFolder",
    "ImageSource",
    "Preprocess",
    "Sample",
    "collate",
    "decode",
    "load_batches",
]
