"""Images before a model sees them: reading, resizing, augmenting, mixing. Pillow and NumPy; stands alone."""

from .class_folders import IMAGE_ENDINGS
from .color_jitter import ColorJitter
from .decode import ImageSource, decode
from .erasing import RandomErasing
from .errors import ImageError
from .folder import ImageFolder, Sample
from .loader import collate, load_batches
from .mixing import Mixup
from .preprocess import CLIP_MEAN, CLIP_STD, IMAGENET_MEAN, IMAGENET_STD, Preprocess
from .rand_augment import RandAugment, ThreeAugment
from .random_crop import RandomResizedCrop, SimpleRandomCrop
from .table import ImageTable, LabelTable, read_label_table
from .train_transform import TrainTransform

__all__ = [
    "CLIP_MEAN",
    "CLIP_STD",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "IMAGE_ENDINGS",
    "ColorJitter",
    "ImageError",
    "ImageFolder",
    "ImageSource",
    "ImageTable",
    "LabelTable",
    "Mixup",
    "Preprocess",
    "RandAugment",
    "RandomErasing",
    "RandomResizedCrop",
    "Sample",
    "SimpleRandomCrop",
    "ThreeAugment",
    "TrainTransform",
    "collate",
    "decode",
    "load_batches",
    "read_label_table",
]
