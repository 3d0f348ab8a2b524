"""Makes the files in `data/` that need PyTorch: python make_format_files.py (torch, numpy)."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import enum
import functools
import pathlib
import sys
import warnings

import numpy as np
import torch

HERE = pathlib.Path(__file__).parent / "data"
sys.modules["myproject"] = sys.modules[__name__]  # whose classes below have


def counting(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """0, 1, 2 ... in row-major order, which tests can state again."""
    return torch.arange(int(np.prod(shape))).reshape(shape).to(dtype)


def state() -> dict[str, torch.Tensor]:
    base = counting(4, 6)
    return collections.OrderedDict(
        [
            ("plain", counting(2, 3)),
            ("transposed", base.t()),
            ("part", base[1:3, 2:5]),
            ("expanded", counting(3, 1).expand(3, 4)),
            ("scalar", torch.tensor(7.5)),
            ("empty", torch.zeros(0, 3)),
            ("half", counting(5, dtype=torch.float16)),
            ("bfloat16", counting(5, dtype=torch.bfloat16)),
            ("double", counting(5, dtype=torch.float64)),
            ("long", counting(5, dtype=torch.int64)),
            ("uint8", counting(5, dtype=torch.uint8)),
            ("bool", torch.tensor([True, False, True])),
            ("parameter", torch.nn.Parameter(counting(2, 2))),
        ]
    )


class Attributed(torch.nn.Parameter):
    pass


class Config:
    """Options of a project of one's own, with all that such classes hold."""

    __module__ = "myproject"

    class Mode(enum.Enum):
        __module__ = "myproject"
        TRAIN = 1

    def __init__(self) -> None:
        self.mode = self.Mode.TRAIN
        self.activation = functools.partial(torch.nn.functional.gelu, approximate="tanh")
        self.criterion = Loss()
        self.version = torch.__version__
        self.method = self.criterion.forward
        self.dtype, self.device, self.slots = torch.float32, torch.device("cpu"), Slots(3)


@dataclasses.dataclass(frozen=True)
class Slots:
    __module__ = "myproject"
    __slots__ = ("rate",)
    rate: float


class Loss(torch.nn.Module):
    __module__ = "myproject"

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", counting(2))


class State(dict):
    """A table of weights of a class of its own."""

    __module__ = "myproject"


def main() -> None:
    HERE.mkdir(exist_ok=True)
    everything = state()
    torch.save(everything, HERE / "plain.pth")
    torch.save(everything, HERE / "plain_legacy.pth", _use_new_zipfile_serialization=False)
    torch.save({"w": counting(4, dtype=torch.uint16), "f": counting(2, 2)}, HERE / "uint16.pth")
    shared = counting(4, 4)
    torch.save({"a": shared, "b": shared, "row": shared[2]}, HERE / "shared.pth")
    torch.save(
        {"a": shared, "b": shared, "row": shared[2]}, HERE / "shared_legacy.pth", _use_new_zipfile_serialization=False
    )
    torch.save({"model": module_state()}, HERE / "big_endian.pth")
    rewrite_big_endian(HERE / "big_endian.pth")

    model = torch.nn.Linear(2, 3)
    optimiser = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimiser.step()
    model.load_state_dict(module_state())
    training = {
        "model": model.state_dict(),
        "optimizer": optimiser.state_dict(),
        "lr_scheduler": torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 10).state_dict(),
        "epoch": 7,
        "args": argparse.Namespace(lr=1e-3, output=pathlib.PurePosixPath("out"), seeds={1, 2}, model="deit"),
        "random": np.random.RandomState(0).get_state(),
        "best": np.float64(0.5),
    }
    torch.save(training, HERE / "training.pth")
    torch.save(training, HERE / "training_legacy.pth", _use_new_zipfile_serialization=False)
    torch.save(optimiser.state_dict(), HERE / "optimiser.pth")
    project = {"model": State(module_state()), "args": Config(), "criterion": torch.nn.CrossEntropyLoss()}
    torch.save(project, HERE / "project.pth")
    project["criterion"] = Loss()  # old files hold the source code of modules
    torch.save(project, HERE / "project_legacy.pth", _use_new_zipfile_serialization=False)
    quantised = torch.ao.quantization.quantize_dynamic(torch.nn.Sequential(model), {torch.nn.Linear})
    torch.save(quantised.state_dict(), HERE / "dynamically_quantised.pth")
    torch.save({"args": Config(), "model": quantised}, HERE / "whole_quantised_model.pth")
    attributed = torch.nn.Parameter(counting(2, 2))
    attributed.note = "kept"
    buffer = counting(3)
    buffer.note = "kept"
    torch.save({"parameter": attributed, "buffer": buffer}, HERE / "attributes.pth")
    torch.save(model, HERE / "whole_model.pth")
    torch.jit.save(torch.jit.script(model), HERE / "torchscript.pt")
    torch.save({"w": counting(2, dtype=torch.complex64)}, HERE / "complex.pth")
    torch.save({"w": counting(2).to(torch.float8_e4m3fn)}, HERE / "float8.pth")
    torch.save({"w": counting(2, 2).to_sparse()}, HERE / "sparse.pth")
    torch.save({"w": torch.empty(2, 2, device="meta")}, HERE / "meta.pth")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save({"w": torch.quantize_per_tensor(counting(2, 2), 0.1, 0, torch.qint8)}, HERE / "quantised.pth")
    torch.serialization.set_crc32_options(False)
    torch.save(everything, HERE / "no_checksums.pth")


def module_state() -> dict[str, torch.Tensor]:
    return {"weight": counting(3, 2), "bias": counting(3)}


def rewrite_big_endian(path: pathlib.Path) -> None:
    """What PyTorch writes on a machine of the other byte order."""
    import zipfile

    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            if name.endswith("/byteorder"):
                data = b"big"
            elif "/data/" in name:
                data = np.frombuffer(data, "<f4").astype(">f4").tobytes()
            archive.writestr(name, data)


if __name__ == "__main__":
    main()
