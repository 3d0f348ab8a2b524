"""Feeds damaged and hostile files to `open_weights`.

A file must either be read or give exactly one `WeightsError` that names it, within seconds and in memory proportional
to its size, and nothing in it may run. Long runs: python tests/checkpoint/fuzz_formats.py --format torch --count 20000
"""

from __future__ import annotations

import argparse
import io
import json
import os
import pickle
import random
import struct
import sys
import tempfile
import time
import zipfile
from collections import Counter, OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from hostile_files import DATA, hostile, opcode_spans

from vitlib.checkpoint import WeightsError, open_weights

MAX_SECONDS = 5.0
ALLOWED_BYTES = 64 << 20  # plus twice the file
FORMATS = ("safetensors", "sharded", "npz", "pdparams", "torch", "torch-legacy")

PARTS = (None, None, "model", "blocks.0", "state_dict_ema.teacher")
ARRAYS = {
    "cls_token": np.zeros((1, 1, 8), np.float32),
    "blocks.0.attn.qkv.weight": np.arange(192, dtype=np.float32).reshape(24, 8),
    "blocks.0.attn.qkv.bias": np.arange(24, dtype=np.float16),
    "norm.weight": np.ones(8, np.float64),
    "steps": np.array(3, np.int64),
}


# Valid files to start from


def safetensors_bytes(arrays: dict[str, np.ndarray]) -> bytes:
    header: dict[str, Any] = {"__metadata__": {"format": "np"}}
    codes = {"float32": "F32", "float16": "F16", "float64": "F64", "int64": "I64"}
    data = b""
    for name, array in arrays.items():
        offsets = [len(data), len(data) + array.nbytes]
        header[name] = {"dtype": codes[array.dtype.name], "shape": list(array.shape), "data_offsets": offsets}
        data += array.tobytes()
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def npz_bytes(arrays: dict[str, np.ndarray], *, compressed: bool) -> bytes:
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **arrays)
    return buffer.getvalue()


def pdparams_bytes(protocol: int) -> bytes:
    names = {name: f"linear_{i}.w_0" for i, name in enumerate(ARRAYS)}
    return pickle.dumps({**ARRAYS, "StructuredToParameterName@@": names}, protocol=protocol)


def chunked_pdparams_bytes() -> tuple[bytes, bytes]:
    table = {"w": {"OriginShape": (2, 4), "slices": ["w@@.0", "w@@.1"]}}
    pieces = {"w@@.0": np.arange(4, dtype=np.float32), "w@@.1": np.arange(4, dtype=np.float32)}
    nested = {"model": {"a": ("linear_0.w_0", np.ones(3, np.float32))}, "model_ema": [{"a": np.ones(3)}], "epoch": 3}
    return pickle.dumps({**pieces, "UnpackBigParamInfor@@": table}, 2), pickle.dumps(nested, 4)


def seeds(kind: str) -> list[bytes]:
    if kind == "safetensors":
        return [safetensors_bytes(ARRAYS), safetensors_bytes({"w": ARRAYS["norm.weight"]})]
    if kind == "sharded":
        names = {name: f"model-0000{i % 2 + 1}-of-00002.safetensors" for i, name in enumerate(ARRAYS)}
        return [json.dumps({"metadata": {"total_size": 1024}, "weight_map": names}).encode()]
    if kind == "npz":
        return [npz_bytes(ARRAYS, compressed=False), npz_bytes(ARRAYS, compressed=True)]
    if kind == "pdparams":
        return [*(pdparams_bytes(protocol) for protocol in (2, 3, 4, 5)), *chunked_pdparams_bytes()]
    ending = "" if kind == "torch" else "_legacy"
    return [(DATA / f"{name}{ending}.pth").read_bytes() for name in ("plain", "shared", "training", "project")]


# Mutations that know nothing of the format

NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**31, 2**40, 2**62, 2**63 - 1, 2**64 - 1)


def flip_bits(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def truncate(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def splice(data: bytes, rng: random.Random) -> bytes:
    start, end = sorted(rng.randrange(len(data)) for _ in range(2))
    piece = data[start : min(end, start + rng.choice((1, 4, 30, 200)))]
    at = rng.randrange(len(data))
    return data[:at] + piece * rng.choice((0, 1, 1, 2, 50)) + data[at + rng.choice((0, len(piece))) :]


def overwrite_number(data: bytes, rng: random.Random) -> bytes:
    width = rng.choice((1, 2, 4, 8))
    number = (rng.choice(NUMBERS) % (1 << 8 * width)).to_bytes(width, rng.choice(("little", "big")))
    at = rng.randrange(max(1, min(len(data), rng.choice((64, 4096, len(data)))) - width))
    return data[:at] + number + data[at + width :]


BLIND = (flip_bits, truncate, splice, overwrite_number)


# Mutations that keep the outer structure whole, so that what is inside gets read


def any_json_value(rng: random.Random) -> Any:
    values = (0, -1, 1, 2**31, 2**63, 2**64, 10**30, 1.5, 1e308, None, True, "", "F32", "F8_E4M3", [], {}, [[]], "../x")
    return rng.choice(values)


def mutate_json(value: Any, rng: random.Random) -> Any:
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        changed = dict(value)
        action = rng.random()
        if action < 0.1:
            del changed[key]
        elif action < 0.2:
            changed[rng.choice(["x", "__metadata__", "../" + key, key + "\0", "weight_map"])] = changed[key]
        else:
            changed[key] = mutate_json(value[key], rng)
        return changed
    if isinstance(value, list) and value and rng.random() < 0.9:
        changed = list(value)
        at = rng.randrange(len(changed))
        changed[at] = mutate_json(changed[at], rng)
        return changed * rng.choice((1, 1, 1, 2, 40))
    if isinstance(value, int) and rng.random() < 0.5:
        return value + rng.choice((-1, 1, 4, -4, 1024))
    if isinstance(value, str) and rng.random() < 0.3:
        return rng.choice(
            ("/etc/passwd", f"../{value}", f"sub/../../{value}", "C:\\x", "\\\\host\\x", "a\0b", ".", "\ud800")
        )
    return any_json_value(rng)


def mutate_safetensors(data: bytes, rng: random.Random) -> bytes:
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    for _ in range(rng.choice((1, 1, 2))):
        header = mutate_json(header, rng)
    text = json.dumps(header).encode()
    if rng.random() < 0.1:
        text = text.replace(b'"norm.weight"', b'"cls_token"')
    if rng.random() < 0.05:
        text = text[:-1] + b', "x": ' + b"[" * 100_000
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


def mutate_sharded(data: bytes, rng: random.Random) -> bytes:
    text = json.dumps(mutate_json(json.loads(data), rng)).encode()
    return text.replace(b'"norm.weight"', b'"cls_token"') if rng.random() < 0.1 else text


def mutate_zip(data: bytes, rng: random.Random) -> bytes:
    """A well-formed archive with right checksums whose members are changed, or one whose numbers lie."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(out, "w") as changed:
        names = archive.namelist()
        target = (
            rng.choice([n for n in names if n.endswith("data.pkl")] or names)
            if rng.random() < 0.8
            else rng.choice(names)
        )
        for name in names:
            content = archive.read(name)
            if name == target and content:
                content = mutate_member(name, content, rng)
            deflate = rng.random() < (0.3 if name.endswith(("npy", "pkl")) else 0.02)
            method = zipfile.ZIP_DEFLATED if deflate else zipfile.ZIP_STORED
            changed.writestr(name, content, method)
            if rng.random() < 0.01:
                changed.writestr(name + rng.choice(("x", "/", "/../x")), content, method)
    result = bytearray(out.getvalue())
    if rng.random() < 0.3:  # a lie in one of the central directory's fields
        at = result.rfind(b"PK\x01\x02", 0, rng.randrange(len(result)))
        if at >= 0:
            result[at + rng.choice((8, 10, 16, 20, 24, 28, 30, 32, 42)) + rng.randrange(2)] ^= 1 << rng.randrange(8)
    return bytes(result)


def mutate_member(name: str, content: bytes, rng: random.Random) -> bytes:
    if name.endswith("data.pkl"):
        return rng.choice((mutate_pickle, mutate_pickle, *BLIND))(content, rng)
    if name.endswith(".npy"):
        shape = rng.choice(
            ("(8, 8)", "(-1,)", "(99999999999999999999,)", "(" + "1, " * 70 + ")", "(0, 9999999999)", "()")
        )
        descr = rng.choice(
            ("'<f4'", "'|O'", "'<c8'", "'>f8'", "'|V2'", "[('a', '<f4')]", "'<U9'", "'<m8[s]'", "'<f16'")
        )
        order = rng.choice(("True", "False", "__import__('os')"))
        header = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n".encode()
        return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content[128:]
    return rng.choice(BLIND)(content, rng)


def mutate_pickle(data: bytes, rng: random.Random) -> bytes:
    """Exchanges whole opcodes, so that most of the changed pickle is still run through."""
    spans = opcode_spans(data)
    out = data
    for _ in range(rng.choice((1, 1, 2, 3))):
        start, end = rng.choice(spans)
        other_start, other_end = rng.choice(spans)
        replacement = rng.choice(
            (b"", data[other_start:other_end], data[start:end] * 2, rng.choice(OPCODES), HOSTILE_CALL)
        )
        out = data[:start] + replacement + data[end:]
    return out


OPCODES = (
    *(bytes([code]) for code in b"N]})(012aesuRbQ\x81\x85\x93\x94"),
    b"\x8a\xff" + b"\x7f" * 255, b"\x8b\xff\xff\xff\x7f", b"\x8a\x08" + b"\xff" * 7 + b"\x7f",
    b"j\xff\xff\xff\xff", b"r\xff\xff\xff\xff", b"K\x00", b"J\xff\xff\xff\xff", b"K\x7f\x85", b"Pid\n", b"S'x'\n",
    b"\x96" + b"\xff" * 7 + b"\x7f", b"\x95" + b"\xff" * 7 + b"\x7f", b"\x8d" + b"\xff" * 8,
    b"B\xff\xff\xff\x7f", b"T\xff\xff\xff\xff", b"G\x7f\xf8" + bytes(6), b"cos\nsystem\n", b"cbuiltins\neval\n",
    b"cnumpy\nndarray\n", b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nFloatStorage\n",
)  # fmt: skip
HOSTILE_CALL = b"cos\nsystem\nX\x16\x00\x00\x00touch vitlib-was-ran-ed\x85R"


# Running


class Watch:
    """Notes everything that code in a file could do; nothing of it may happen while a file is read."""

    EVENTS = ("os.", "subprocess.", "exec", "compile", "pickle.", "shutil.", "socket.", "ctypes.", "code.", "marshal.")
    HARMLESS = ("os.listdir", "os.scandir")

    def __init__(self) -> None:
        self.armed = False
        self.seen: list[str] = []
        sys.addaudithook(self.note)

    def note(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.armed or event in self.HARMLESS:
            return
        writes = event == "open" and isinstance(arguments[1], str) and any(mode in arguments[1] for mode in "wax+")
        if writes or event.startswith(self.EVENTS):
            self.seen.append(f"{event} {arguments!r:.80}")


def peak_memory() -> int | None:
    """The most bytes of memory since `reset_peak` (Linux; elsewhere None)."""
    try:
        text = Path("/proc/self/status").read_text()
    except OSError:
        return None
    values = {line.split(":")[0]: line.split()[1] for line in text.splitlines() if line.startswith("VmHWM")}
    return (int(values["VmHWM"])) * 1024 if "VmHWM" in values else None


def reset_peak() -> int:
    """Makes the peak the present size where the system lets us, and returns it."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return peak_memory() or 0


def read_all(path: Path, part: str | None = None) -> str:
    """ "read", or the reason for which the file was refused; anything else that happens is a failure and is raised."""
    try:
        with open_weights(path, part) as weights:
            for name in weights:
                shape, _ = weights.spec(name)
                array = weights.read(name)
                assert array.shape == shape
                assert not array.flags.writeable
        return "read"
    except WeightsError as error:
        message = str(error)
        assert message.startswith(str(path.parent)), message
        assert len(message) < 1500
        assert "\n" not in message
        assert message.isprintable(), message
        return error.reason.split(": ")[0] if "damaged (" in message else error.reason


def run(kind: str, count: int, seed: int, *, keep: Path | None = None) -> dict[str, Any]:
    """Reads `count` mutated files beside all hostile ones; returns figures, raises on the first failure."""
    rng = random.Random(seed)
    watch = Watch()
    outcomes: Counter[str] = Counter()
    slowest, largest, unforeseen = 0.0, 0, Counter()
    structured = {"safetensors": mutate_safetensors, "sharded": mutate_sharded, "npz": mutate_zip, "torch": mutate_zip}
    with tempfile.TemporaryDirectory() as directory:
        canary = os.path.join(directory, "canary")
        path = Path(directory, "model.safetensors.index.json" if kind == "sharded" else "weights")
        if kind == "sharded":
            halves = list(ARRAYS.items())
            for i in range(2):
                part = OrderedDict(halves[i::2])
                Path(directory, f"model-0000{i + 1}-of-00002.safetensors").write_bytes(safetensors_bytes(part))
        starts, attacks = seeds(kind), hostile(kind, canary)
        for start in starts:
            path.write_bytes(start)
            assert read_all(path) == "read"
        for number in range(-len(attacks), count):
            if number < 0:
                data = attacks[number]
            else:
                start = rng.choice(starts)
                inner = structured.get(kind, mutate_pickle if kind == "pdparams" else rng.choice(BLIND))
                data = (inner if rng.random() < 0.5 else rng.choice(BLIND))(start, rng)
            path.write_bytes(data)
            # Every hostile file is measured, and a sample of the others: resetting the peak is slow
            measured = number < 0 or number % 50 == 0
            before = reset_peak() if measured else 0
            began = time.process_time()  # of this process: a busy machine is not the file's fault
            watch.armed = True
            try:
                outcome = read_all(path, rng.choice(PARTS) if number >= 0 else None)
            except BaseException:
                (keep or Path(tempfile.gettempdir(), f"vitlib-fuzz-{kind}")).write_bytes(data)
                raise
            finally:
                watch.armed = False
            seconds = time.process_time() - began
            growth = (peak_memory() or 0) - before if measured else 0
            assert seconds < MAX_SECONDS, f"{seconds:.1f} s for {kind} file {number}: {outcome}"
            assert growth < 2 * len(data) + ALLOWED_BYTES, f"{growth:,} bytes for {kind} file {number}: {outcome}"
            assert not watch.seen, watch.seen
            assert not os.path.exists(canary)
            slowest = max(slowest, seconds)
            largest = max(largest, growth - 2 * len(data))
            outcomes["read" if outcome == "read" else "refused"] += 1
            if "probably damaged" in outcome:
                unforeseen[outcome] += 1
        assert set(os.listdir(directory)) <= {path.name, *(f"model-0000{i}-of-00002.safetensors" for i in (1, 2))}
    return {
        "format": kind,
        **outcomes,
        "slowest_seconds": round(slowest, 3),
        "most_bytes_beyond_twice_the_file": largest,
        "unforeseen": dict(unforeseen.most_common(5)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--format", choices=(*FORMATS, "all"), default="all")
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for kind in FORMATS if options.format == "all" else (options.format,):
        began = time.perf_counter()
        figures = run(kind, options.count, options.seed)
        print(json.dumps({**figures, "total_seconds": round(time.perf_counter() - began, 1)}), flush=True)


if __name__ == "__main__":
    main()
