"""The names of weight files, and the choice among the files of a directory or repository."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .errors import WeightsError

INDEX_ENDING = ".index.json"
# In the order of preference: formats that cannot hold code before those that can
WEIGHT_NAMES = (
    "model.safetensors",
    f"model.safetensors{INDEX_ENDING}",
    "open_clip_model.safetensors",
    "pytorch_model.bin",
    f"pytorch_model.bin{INDEX_ENDING}",
    "open_clip_pytorch_model.bin",
    "model.pdparams",
    "model_state.pdparams",
)
WEIGHT_ENDINGS = (".safetensors", ".npz", ".pdparams", ".pth", ".pt", ".bin", ".ckpt", ".pth.tar", ".pyth")
# Trainers leave these beside the weights
_OTHER_STATE = re.compile(r"(optimizer|scheduler|scaler|rng_state|training_args)[\w-]*\.\w+")


def choose_weights(names: Iterable[str]) -> str:
    """The weight file among the file names of one directory, or the index of its shards.

    The first of `WEIGHT_NAMES` that is there, else the only file that ends like one. Names with a slash, those of files
    in directories below, are passed over.

    Raises WeightsError, without a path, when there is no weight file or when several could be meant.
    """
    present = {name for name in names if "/" not in name}
    for name in WEIGHT_NAMES:
        if name in present:
            return name
    others = sorted(name for name in present if name.endswith(WEIGHT_ENDINGS) and not _OTHER_STATE.fullmatch(name))
    if len(others) == 1:
        return others[0]
    if others:
        raise WeightsError(
            f"holds several weight files, none of them called {WEIGHT_NAMES[0]} or the like: {_listed(others)}",
            way_out="Give one of them",
        )
    raise WeightsError(
        f"holds no weights: expected {', '.join(WEIGHT_NAMES)}, or one file that ends with "
        f"{', '.join(WEIGHT_ENDINGS)}; found {_listed(sorted(present)) or 'no files'}"
    )


def _listed(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
