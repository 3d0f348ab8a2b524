"""Opens a weight file of any format: names and shapes at once, data tensor by tensor."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from .detect import detect, refuse_zip
from .errors import WeightsError, quoted
from .file_bytes import FileBytes
from .find_state_dict import Found, find_weights
from .npz import read_npz
from .pdparams import read_pdparams
from .safetensors import read_safetensors
from .sharded import read_sharded
from .tensors import Contents, Tensor, refuse_unusable
from .torch_legacy import read_torch_legacy
from .torch_zip import read_torch_zip
from .zip_index import read_index


class WeightsFile:
    """An open weight file: iterate over it for the names of its tensors.

    Nothing of the data is read before `read`. Use it as a context manager, or let it go: arrays that were read stay
    valid either way. The file must not be cut short while it or its arrays are in use.

    Attributes:
        path: the file that was opened.
        format: "safetensors", "npz", "pdparams" or "torch".
        metadata: the strings that safetensors files and indexes of shards carry.
        wrapper: the keys of nested tables and the prefixes of names that were around the weights, as in
            "model > module. > backbone."; empty when there were none.
        extras: names beside the weights that are not read.
        others: those of the extras that are tables of weights too; `part` of `open_weights` reaches them.
    """

    def __init__(self, path: str, contents: Contents, found: Found[Tensor]) -> None:
        self.path = path
        self.format = contents.format
        self.metadata = contents.metadata
        self.wrapper = " > ".join(found.wrapper)
        self.extras = found.extras
        self.others = tuple(found.others)
        self._tensors: dict[str, Tensor] | None = found.tensors

    def read(self, name: str) -> np.ndarray:
        """The tensor `name` as a read-only array of its stored shape, in native byte order.

        A view on the file where that is possible, which may be unaligned or strided; bfloat16 is widened to float32,
        exactly. Raises KeyError for a name that is not there, `WeightsError` when the data turn out to be damaged.
        """
        tensor = self._open_tensors()[name]
        with _naming(self.path):
            return tensor.load()

    def spec(self, name: str) -> tuple[tuple[int, ...], str]:
        """(shape, dtype as stored, such as "bfloat16") of the tensor `name`, without reading it."""
        tensor = self._open_tensors()[name]
        return tensor.shape, tensor.dtype

    def close(self) -> None:
        """Forgets the file; arrays that were read from it stay valid."""
        self._tensors = None

    def _open_tensors(self) -> dict[str, Tensor]:
        if self._tensors is None:
            raise ValueError(f"{self.path} is closed")
        return self._tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self._open_tensors())

    def __contains__(self, name: object) -> bool:
        return name in self._open_tensors()

    def __len__(self) -> int:
        return len(self._open_tensors())

    def __enter__(self) -> WeightsFile:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        count = "closed" if self._tensors is None else f"{len(self._tensors)} tensors"
        return f"WeightsFile({quoted(self.path, 200)}, format={self.format!r}, {count})"


def open_weights(path: str | os.PathLike[str], part: str | None = None) -> WeightsFile:
    """Opens the weights in `path`, whose format is told from its content.

    Args:
        path: a safetensors, .npz, .pdparams or PyTorch file, or the `.index.json` of sharded weights.
        part: the weights to take out of a file with those of several models: a key of what a training script saved
            ("model_ema", "ema.state_dict"), or the beginning of names ("teacher" of "teacher.norm.weight"). By default
            the first of `find_state_dict.WRAPPERS` that there is.

    Nothing in the file is executed, and a file that is damaged or hostile costs no more than a few seconds and memory
    in proportion to its size.

    Raises:
        WeightsError: the file is not weights, is damaged, holds tensors that cannot be read (complex, float8, quantised
            or sparse), holds a whole pickled model, has two tensors of one name, or has nothing under `part`.
        FileNotFoundError, PermissionError: as the system says.
    """
    path = os.fsdecode(path)
    with _naming(path):
        contents = _read_contents(path)
        found = find_weights(contents.tree, contents.tensor_of, part)
        refuse_unusable(found.tensors, found.extras, contents.size)
        return WeightsFile(path, contents, found)


def _read_contents(path: str, *, shard: bool = False) -> Contents:
    file = FileBytes.open(path)
    kind = detect(file)
    if kind == "safetensors":
        return read_safetensors(file)
    if kind == "torch-legacy":
        return read_torch_legacy(file)
    if kind == "pickle":
        return read_pdparams(file)
    if kind == "json":
        if shard:
            raise WeightsError("is a JSON file where a file of weights is expected")
        return read_sharded(file, _read_shard)
    members = read_index(file)
    roots = [name[: -len("/data.pkl")] for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(roots) == 1:
        return read_torch_zip(file, members, roots[0])
    if any(name.endswith(".npy") for name in members):
        return read_npz(file, members)
    raise refuse_zip(members)


def _read_shard(path: str) -> Contents:
    """One of several files: a flat table of tensors, each of which names the shard when it cannot be read."""
    with _naming(path):
        contents = _read_contents(path, shard=True)
        found = find_weights(contents.tree, contents.tensor_of, strip=False)
        if found.wrapper:
            raise WeightsError(f"has its weights under {quoted(found.wrapper[0])}, which a shard has not")

        def naming_the_shard(tensor: Tensor) -> Tensor:
            def load() -> np.ndarray:
                with _naming(path):
                    return tensor.load()

            return replace(tensor, load=load)

        return replace(contents, tree={name: naming_the_shard(tensor) for name, tensor in found.tensors.items()})


@contextmanager
def _naming(path: str) -> Iterator[None]:
    """Makes every error inside one `WeightsError` that names `path`."""
    try:
        yield
    except WeightsError as error:
        if error.path is not None:
            raise
        raise error.at(path) from None
    except (FileNotFoundError, PermissionError):
        raise
    except OSError as error:
        raise WeightsError(f"cannot be read: {error.strerror or type(error).__name__}", path=path) from error
    except MemoryError:
        raise WeightsError("needs more memory than there is", path=path) from None
    except Exception as error:
        # A fault that was not foreseen is still of a damaged file; the cause stays for whoever debugs
        reason = f"cannot be read, it is probably damaged ({type(error).__name__}: {quoted(str(error), 120)[1:-1]})"
        raise WeightsError(reason, path=path) from error
