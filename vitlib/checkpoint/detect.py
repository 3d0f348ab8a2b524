"""Tells by its content what a file is, and says so when it is none of the formats that are read."""

from __future__ import annotations

from collections.abc import Iterable

from .errors import WeightsError
from .file_bytes import FileBytes

_TORCH_LEGACY = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # pickle of the magic number, after two bytes of protocol

# The first bytes of a file, the kind that they tell, and the way out
_KNOWN = (
    (
        b"version https://git-lfs.github.com/",
        "is a git-lfs pointer, not the file itself",
        "Fetch it with `git lfs pull`",
    ),
    (
        b"\x89HDF\r\n\x1a\n",
        "is an HDF5 file (Keras .h5), which is not read",
        "Save the weights as .npz or .safetensors",
    ),
    (b"\x1f\x8b", "is compressed by gzip", "Unpack it first (`gunzip`, or `tar -xzf` for a .tar.gz)"),
    (b"BZh", "is compressed by bzip2", "Unpack it first"),
    (b"\xfd7zXZ\x00", "is compressed by xz", "Unpack it first"),
    (b"\x28\xb5\x2f\xfd", "is compressed by zstd", "Unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "is a 7-Zip archive", "Unpack it first"),
    (b"Rar!", "is a RAR archive", "Unpack it first"),
    (b"GGUF", "is a GGUF file, which is not read", "Take the model's safetensors file"),
    (b"\x93NUMPY", "is a single NumPy array without a name", "Save named arrays with numpy.savez"),
    (b"PK\x05\x06", "is an empty zip archive", ""),
    (b"<?xml", "is an XML page, as servers send in place of a file that is missing or not public", "Download it again"),
)


def detect(file: FileBytes) -> str:
    """ "safetensors", "zip", "torch-legacy", "pickle" or "json"; raises `WeightsError` for everything else."""
    head = bytes(file.view[:4096])
    if not head:
        raise WeightsError("is empty", way_out="Download or copy it again")
    header_size = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and header_size < 1 << 40 and (8 + header_size <= file.size or not _looks_pickled(head)):
        return "safetensors"
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    if _looks_pickled(head):
        return "torch-legacy" if head[2:].startswith(_TORCH_LEGACY) else "pickle"
    for magic, reason, way_out in _KNOWN:
        if head.startswith(magic):
            raise WeightsError(reason, way_out=way_out)
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head")):
        raise WeightsError("is an HTML page, probably an error or a login page", way_out="Download the file again")
    if text.startswith(b"{"):
        return "json"
    if head[257:262] == b"ustar":
        raise WeightsError("is a tar archive (also PyTorch's format before 0.1.10)", way_out="Unpack it first")
    if bytes(file.view[-8:]) == b"\x57\xfb\x80\x8b\x24\x75\x47\xdb":
        raise WeightsError("is the index of a TensorFlow checkpoint, which is not read", way_out="Save it as .npz")
    if head[:1] == b"\x08" and (b"onnx" in head or b"pytorch" in head):
        raise WeightsError("is an ONNX model, which is not read", way_out="Take the checkpoint it was exported from")
    if head.startswith(b"\x08") and b"saved_model" in file.name.encode():
        raise WeightsError("is a TensorFlow SavedModel, which is not read", way_out="Save its weights as .npz")
    if head.startswith(bytes(16)) and len(head) > 24:
        raise WeightsError(
            "looks like Paddle's inference format (.pdiparams), which has no names of weights",
            way_out="Give the .pdparams file that paddle.save wrote",
        )
    if 0x81 <= head[0] <= 0x8F and (0xA0 <= head[1:2][0] <= 0xBF if len(head) > 1 else False):
        raise WeightsError("is a msgpack file (Flax), which is not read", way_out="Save the weights as .safetensors")
    raise WeightsError(
        "is of no format that is read: safetensors, .npz, .pdparams, and PyTorch's .pth, .pt and .bin",
        way_out="It may be damaged, encrypted or of another kind",
    )


def _looks_pickled(head: bytes) -> bool:
    return len(head) > 2 and head[0] == 0x80 and 2 <= head[1] <= 5


def refuse_zip(members: Iterable[str]) -> WeightsError:
    """The error for a zip archive that holds neither PyTorch's pickle nor arrays."""
    names = set(members)
    if "model.weights.h5" in names:
        return WeightsError("is a Keras 3 model, which is not read", way_out="Save its weights as .npz or .safetensors")
    if any(name.endswith("/archive_format") or name == "archive_format" for name in names):
        return WeightsError(
            "is an exported PyTorch program (.pt2), which is not read", way_out="Save the model's state_dict"
        )
    if any(name.endswith((".safetensors", ".pth", ".pt", ".bin", ".pdparams", ".npz")) for name in names):
        return WeightsError("is a zip archive with weight files inside", way_out="Unpack it first")
    return WeightsError("is a zip archive that holds no weights of a known format")
