"""The names of the classes that published classifiers tell apart. Origin and licence: data/README.md (WordNet)."""

from __future__ import annotations

import gzip
from functools import cache
from importlib.resources import files

_LISTS = {1000: "imagenet1k.txt.gz", 21843: "imagenet21k.txt.gz"}


@cache
def class_names(num_classes: int) -> tuple[str, ...] | None:
    """The English names of ImageNet-1k (1000 classes) or ImageNet-21k (21843), in the order of the heads; else None.

    The order is ILSVRC 2012's for the first and Google's, as in the AugReg checkpoints, for the second. No two names of
    a list are the same. The file is read at the first call.
    """
    if num_classes not in _LISTS:
        return None
    packed = (files(__package__) / "data" / _LISTS[num_classes]).read_bytes()
    return tuple(gzip.decompress(packed).decode("utf-8").splitlines())
