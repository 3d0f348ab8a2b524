"""Opens a weight file of any format: names and shapes at once, data tensor by tensor."""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from .detect import detect, refuse_zip
from .errors import WeightsError, quoted
from .find_state_dict import strip_prefixes
from .npz import read_npz
from .pdparams import read_pdparams
from .safetensors import read_safetensors
from .sharded import read_sharded
from .tensors import Contents, Source, Tensor, refuse_unreadable
from .torch_legacy import read_torch_legacy
from .torch_zip import read_torch_zip
from .zip_index import read_index


class WeightsFile(Mapping[str, tuple[tuple[int, ...], str]]):
    """An open weight file: a mapping from tensor names to (shape, dtype as stored).

    Nothing of the data is read before `read`. Use it as a context manager, or let it go: arrays that were read stay
    valid either way. The file must not be cut short while it or its arrays are in use.

    Attributes:
        path: the file that was opened.
        format: "safetensors", "npz", "pdparams" or "torch".
        metadata: the strings that safetensors files and indexes of shards carry.
        wrapper: what was around the weights: keys of nested tables, then prefixes of names, as in
            "model > module. > backbone."; empty when there was nothing.
        extras: names of what lies beside the weights and is not read.
    """

    def __init__(self, path: str, contents: Contents, prefixes: list[str]) -> None:
        self.path = path
        self.format = contents.format
        self.metadata = contents.metadata
        self.wrapper = " > ".join([*contents.wrapper, *prefixes])
        self.extras = contents.extras
        self._tensors: dict[str, Tensor] | None = contents.tensors

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

    def __getitem__(self, name: str) -> tuple[tuple[int, ...], str]:
        return self.spec(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._open_tensors())

    def __len__(self) -> int:
        return len(self._open_tensors())

    def __enter__(self) -> WeightsFile:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        count = "closed" if self._tensors is None else f"{len(self._tensors)} tensors"
        return f"WeightsFile({quoted(self.path, 200)}, format={self.format!r}, {count})"


def open_weights(path: str | os.PathLike[str], *, wrapper: str | None = None) -> WeightsFile:
    """Opens the weights in `path`, whose format is told from its content.

    Args:
        path: a safetensors, .npz, .pdparams or PyTorch file, or the `.index.json` of sharded weights.
        wrapper: in a training file, the key whose weights are wanted ("model_ema"); by default the first of
            `unwrap.WRAPPERS` that there is.

    Nothing in the file is executed, and a file that is damaged or hostile costs no more than a few seconds and memory
    in proportion to its size.

    Raises:
        WeightsError: the file is not weights, is damaged, holds what is not read (complex, float8, quantised or sparse
            tensors, pickled classes), or has two tensors of one name.
        FileNotFoundError, PermissionError: as the system says.
    """
    path = os.fsdecode(path)
    with _naming(path):
        contents = _read_contents(path, wrapper, may_be_index=True)
        prefixes: list[str] = []
        if contents.format != "npz":
            prefixes, contents.tensors = strip_prefixes(contents.tensors)
        if not contents.tensors:
            raise WeightsError("holds no tensors")
        return WeightsFile(path, contents, prefixes)


def _read_contents(path: str, wrapper: str | None, *, may_be_index: bool) -> Contents:
    with _naming(path):
        source = _map(path)
        kind = detect(source)
        if wrapper is not None and kind in ("safetensors", "json"):
            raise WeightsError(f"is a plain table of tensors: there is nothing under {quoted(wrapper)}")
        if kind == "json":
            if not may_be_index:
                raise WeightsError("is a JSON file where a file of weights is expected")
            return read_sharded(source, _read_shard)
        if kind == "safetensors":
            contents = read_safetensors(source)
        elif kind == "torch-legacy":
            contents = read_torch_legacy(source, wrapper)
        elif kind == "pickle":
            contents = read_pdparams(source, wrapper)
        else:
            contents = _read_zip(source, wrapper)
        refuse_unreadable(contents.tensors, source.size)
        return contents


def _read_shard(path: str) -> Contents:
    contents = _read_contents(path, None, may_be_index=False)

    def naming_the_shard(tensor: Tensor) -> Tensor:
        def load() -> np.ndarray:
            with _naming(path):
                return tensor.load()

        return replace(tensor, load=load)

    contents.tensors = {name: naming_the_shard(tensor) for name, tensor in contents.tensors.items()}
    return contents


def _read_zip(source: Source, wrapper: str | None) -> Contents:
    members = read_index(source)
    roots = [name[: -len("/data.pkl")] for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(roots) == 1:
        return read_torch_zip(source, members, roots[0], wrapper)
    if any(name.endswith(".npy") for name in members):
        if wrapper is not None:
            raise WeightsError(f"is a plain table of tensors: there is nothing under {quoted(wrapper)}")
        return read_npz(source, members)
    raise refuse_zip(dict(members))


def _map(path: str) -> Source:
    """Maps the file for reading. Raises `WeightsError` for what is not a regular file with something in it."""
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        names = sorted(entry.name for entry in os.scandir(path) if entry.name.endswith(_ENDINGS))[:5]
        inside = f"Give the file in it: {', '.join(map(quoted, names))}" if names else "Give the file with the weights"
        raise WeightsError("is a directory", way_out=inside)
    if not stat.S_ISREG(status.st_mode):
        raise WeightsError("is not a regular file")
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            raise WeightsError("is empty", way_out="Download or copy it again")
        mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return Source(path, memoryview(mapping))


_ENDINGS = (".safetensors", ".npz", ".pdparams", ".pth", ".pt", ".bin", ".index.json")


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
        # What was not foreseen in a damaged file is still a damaged file; the cause stays for whoever debugs
        reason = f"cannot be read, it is probably damaged ({type(error).__name__}: {_brief(error)})"
        raise WeightsError(reason, path=path) from error


def _brief(error: Any) -> str:
    return quoted(str(error), 120)[1:-1]
