"""Files of every format that were made to do harm: each is a known attack, none may do more than be refused."""

from __future__ import annotations

import io
import json
import os
import pickle
import pickletools
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

DATA = Path(__file__).parent / "data"


def opcode_spans(data: bytes) -> list[tuple[int, int]]:
    positions = [position for _, _, position in pickletools.genops(io.BytesIO(data))]
    return list(zip(positions, [*positions[1:], positions[-1] + 1], strict=True))


class Calls:
    """Pickles as a call of `function`."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def long_int(value: int) -> bytes:
    return b"\x8a\x0a" + value.to_bytes(10, "little")


def wrapped_six_times() -> bytes:
    """Six tables within each other, each with the table of memo 0 under every usual name."""
    names = (
        "state_dict",
        "model",
        "teacher",
        "student",
        "model_ema",
        "state_dict_ema",
        "ema_state_dict",
        "module",
        "net",
    )
    tables = b"".join(b"\x8c" + bytes([len(name)]) + name.encode() + b"h\x00" for name in names)
    return (b"}(" + tables + b"\x8c\x05state") * 6 + b"h\x00" + b"u" * 6


def many_ways_to_one_large_table() -> bytes:
    """A table of 25,000 empty ones before its tensor, inside each of 8,000 tables that lie beside the weights."""
    tensor = b"\x8c\x01w" + array_of_shape(b"K\x01\x85")[len(b"\x80\x04}\x8c\x01w") : -2]
    large = b"}(" + b"".join(b"\x8c\x05%05d}" % k for k in range(25_000)) + tensor + b"uq\x000"
    beside = b"".join(b"\x8c\x05%05d}\x8c\x01xh\x00s" % k for k in range(8_000))
    return b"\x80\x04" + large + b"}(\x8c\x05model}" + tensor + b"s" + beside + b"u."


def hostile_pickles(canary: str) -> list[bytes]:
    """Whole pickles, each of them a known attack."""
    command = f"touch {canary}"
    calls = [
        Calls(os.system, command),
        Calls(exec, f"open({canary!r}, 'w')"),
        Calls(eval, f"open({canary!r}, 'w')"),
        Calls(eval, "data", {"data": 1}),
        Calls(eval, "data.x", {"data": np.ones(2)}),
        Calls(getattr, "x", "__class__"),
        Calls(__import__, "os"),
        Calls(open, canary, "w"),
        Calls(bytearray, 1 << 40),
        Calls(np.zeros, 1 << 40),
        Calls(np.load, canary),
        Calls(map, os.system, [command]),
    ]
    dumped = [pickle.dumps({"w": call}, protocol) for call in calls for protocol in (2, 4)]
    start = b"\x80\x04"
    dumped += [
        start + b"}\x8c\x01wcposix\nsystem\nX" + struct.pack("<I", len(command)) + command.encode() + b"\x85Rs.",
        start + b"ccopyreg\n_reconstructor\ncos\nsystem\n\x85R.",
        start + b"ccopyreg\nadd_extension\nX\x02\x00\x00\x00osX\x06\x00\x00\x00systemK\x01\x87R.",
        start + b"\x82\x01.",  # EXT1
        start + b"(ios\nsystem\n.",  # INST
        start + b"(cos\nsystem\nX\x01\x00\x00\x00xo.",  # OBJ
        start + b"ccollections\nOrderedDict\n)R}X\x0c\x00\x00\x00__setstate__cos\nsystem\nsb}b.",
        start + b"cargparse\nNamespace\n)\x81}X\x0c\x00\x00\x00__setstate__cos\nsystem\nsb.",
        start + b"cnumpy\ndtype\n)R(K\x03cos\nsystem\nNNNK\x00K\x00K\x00tb.",
        start + b"\x8c\x08builtins\x8c\x14getattr.__class__.x\x93.",
        start + b"\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R.",
        start + b"h\x05.",
        start + b"j\xff\xff\xff\xff.",
        start + b"Nr\xff\xff\xff\xff.",
        start + b"X\x02\x00\x00\x00idQ.",
        start + b"\x97.",  # NEXT_BUFFER
        start + b"]q\x00h\x00a.",  # contains itself
        start + b"}q\x00X\x05\x00\x00\x00modelh\x00s.",
        start + b"}q\x00X\x05\x00\x00\x00modelh\x00sX\x01\x00\x00\x00xh\x00s.",
        start + b")" + b"\x85" * 500_000 + b".",
        start + b"]" * 500_000 + b"a" * 499_999 + b".",
        start + b"(" * 500_000 + b".",
        start + b"N" + b"\x85" * 300_000 + b"q\x000}h\x00Ns.",
        start + b"}](K\x01eNs.",
        start + b"}" * 3_000_000 + b".",
        start + b"]q\x000" + b"".join(b"](" + b"h%c" % k * 10 + b"eq%c0" % (k + 1) for k in range(40)) + b"h\x28.",
        start + b"X\x00\x04\x00\x00" + b"x" * 1024 + b"q\x000(" + b"h\x00" * 100_000 + b"t.",
        start + b"C\x01x" * 1_000_000 + b".",
        start + b"](" + b"K\x01" * 100_000 + b"eq\x00" + b"ccollections\nOrderedDict\nh\x00\x85R0" * 2000 + b".",
        start + b"}(" + b"".join(long_int(k * (2**61 - 1)) + b"N" for k in range(60_000)) + b"u.",  # equal hashes
        start + b"}(" + b"".join(long_int(k << 40) + b"N" for k in range(60_000)) + b"u.",
        start + b"}(" + b"".join(b"X\x06\x00\x00\x00" + b"%06d" % k + b"N" for k in range(150_000)) + b"u.",
        start + b"cnumpy\nndarray\n0" * 700_000 + b"N.",
        start + b"N0" * 1_000_000 + b"N.",
        start + b"}q\x00(" + b"".join(b"\x8c\x05%05d}" % k for k in range(40_000)) + b"u0" + wrapped_six_times() + b".",
        start + b"\x8b\x00\x00\x10\x00" + b"\x7f" * (1 << 20) + b".",
        start + b"cmyproject\nConfig\nq\x00)\x81" + b"h\x00)\x810" * 300_000 + b".",
        start + (b"cmyproject\n" + b"C" * 500 + b"\n0") * 10_000 + b"N.",
        start + b"".join(b"cmyproject\nC%06d\n0" % k for k in range(200_000)) + b"N.",
        start + b"ctorch._tensor\n_rebuild_from_type_v2\nq\x00"
        + b"(h\x00h\x00" * 20_000 + b")" + b"Nt" * 20_000 + b"R.",  # arguments within arguments
        start + b"cmyproject\nLayer\nq\x00)\x81}X\x08\0\0\0_modules}q\x01(" + b"".join(
            b"\x8c\x05%05dh\x00)\x81}X\x08\0\0\0_modulesh\x01sb" % k for k in range(20_000)) + b"usb.",
        many_ways_to_one_large_table(),
    ]  # fmt: skip
    return dumped


def array_of_shape(shape: bytes, data: bytes = b"C\x04\0\0\0\0") -> bytes:
    """A pickle of {"w": array} whose shape is made by the opcodes `shape`."""
    return (
        b"\x80\x04}\x8c\x01wcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R(K\x01"
        + shape
        + b"cnumpy\ndtype\n\x8c\x02f4\x89\x88\x87R(K\x03\x8c\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        + data
        + b"tbs."
    )


def hostile(kind: str, canary: str) -> list[bytes]:
    """Files of one format, each of them a known attack."""
    attacks = hostile_pickles(canary) if kind in ("pdparams", "torch", "torch-legacy") else []
    big = b"\x8a\x08" + (2**62).to_bytes(8, "little")
    if kind == "pdparams":
        shapes = (
            big + b"\x85",
            b"J\xff\xff\xff\xff\x85",
            b"(" + b"K\x00" * 99 + b"t",
            big + b"K\x00\x86",
            b"N",
            b"\x88\x85",
            b"]\x85",
        )
        text = b"\x80\x02}X\x01\0\0\0wc_codecs\nencode\nX" + struct.pack("<I", 1 << 22) + b"x" * ((1 << 22) - 4)
        return [
            *attacks,
            *(array_of_shape(shape) for shape in shapes),
            text + "\U0001f600".encode() + b"X\x06\0\0\0latin1\x86Rs.",
            array_of_shape(b"K\x01\x85", b"X\x04\0\0\0\xff\xff\xff\xff"),
            array_of_shape(b"J\x00\x00\x10\x00\x85", b"c_codecs\nencode\nX\0\0\x40\0" + b"x" * ((4 << 20) - 4)
                           + "\U0001f600".encode() + b"X\x06\0\0\0latin1\x86R"),
        ]  # fmt: skip
    # What is long only tries the limits of the pickle reader, once is enough
    attacks = [attack for attack in attacks if len(attack) < 300_000]
    if kind == "torch-legacy":
        prefix = (DATA / "shared_legacy.pth").read_bytes()
        cut = opcode_spans(prefix)[-1][1]
        for _ in range(2):
            cut += opcode_spans(prefix[cut:])[-1][1]
        return [prefix[:cut] + attack for attack in attacks]
    if kind == "torch":
        files = [torch_archive(attack) for attack in attacks]
        identifier = b"(\x8c\x07storagectorch\nFloatStorage\n\x8c\x010\x8c\x03cpu%btQ"
        tensor = b"\x80\x04}\x8c\x01wctorch._utils\n_rebuild_tensor_v2\n(" + identifier + b"%b\x89N" + b"tRs."
        four = b"K\x04"
        for count, view in (
            (four, b"K\x00" + big + b"\x85" + b"K\x00\x85"),  # a stride of nothing
            (four, b"J\xff\xff\xff\xffK\x01\x85K\x01\x85"),  # an offset below the storage
            (four, b"K\x00K\x04\x85" + big + b"\x85"),
            (four, b"K\x00K\x02\x85J\xff\xff\xff\xff\x85"),
            (four, b"K\x00K\x04\x85\x88\x85"),
            (four, b"K\x05K\x00\x85K\x01\x85"),
            (four, b"K\x00(" + b"J\x00\x00\x01\x00" * 5 + b"t(" + b"K\x00" * 5 + b"t"),
            (four, b"K\x00K\x04\x85N"),
            (four, b"NK\x04\x85K\x01\x85"),
            (big, b"K\x00K\x04\x85K\x01\x85"),
            (b"J\xff\xff\xff\xff", b"K\x00K\x04\x85K\x01\x85"),
        ):
            files.append(torch_archive(tensor % (count, view)))
        shared = identifier % four + b"K\x00K\x04\x85K\x01\x85\x89Nt"
        many = b"".join(b"\x8c\x05%05dh\x00h\x01R" % k for k in range(70_000))
        files.append(
            torch_archive(b"\x80\x04ctorch._utils\n_rebuild_tensor_v2\nq\x00(" + shared + b"q\x0100}(" + many + b"u.")
        )
        return files
    if kind == "npz":
        return [*npz_attacks()]
    if kind == "safetensors":
        return [*safetensors_attacks()]
    names = [
        "../x.safetensors",
        "/etc/passwd",
        "a/../../x",
        "..",
        ".",
        "",
        "\0",
        "C:\\x",
        "\\\\h\\x",
        "x" * 5000,
        "index.json",
    ]
    return [
        b'{"weight_map": ' + b"[" * 500_000 + b"]" * 500_000 + b"}",
        b'{"weight_map": {"a": "x", "a": "x"}}',
        b'{"a": ' + b"9" * 1_000_000 + b"}",
        b'{"a":[' + b"[]," * 6_000_000 + b"[]]}",
        b'{"a": NaN}',
        *(json.dumps({"weight_map": {"w": name}}).encode() for name in names),
    ]


def torch_archive(content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("x/data.pkl", content)
        archive.writestr("x/byteorder", b"little")
        archive.writestr("x/data/0", bytes(16))
    return out.getvalue()


def npz_attacks() -> list[bytes]:
    def archive(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", method) as file:
            for name, content in members:
                file.writestr(name, content)
        return out.getvalue()

    def array(shape: str, data: bytes, descr: str = "<f4") -> bytes:
        header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
        return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data

    bomb = archive(("w.npy", array(f"({20 << 20},)", bytes(80 << 20))))
    pieces = archive(*((f"w{i}.npy", array(f"({6 << 20},)", bytes(24 << 20))) for i in range(3)))
    wide = archive(("w.npy", array(f"({15 << 20},)", bytes(30 << 20), "|V2")))
    lying = bytearray(archive(("w.npy", array("(4,)", bytes(16)))))
    at = lying.rfind(b"PK\x01\x02")
    lying[at + 24 : at + 28] = (1 << 30).to_bytes(4, "little")
    many = archive(*((f"{i}", b"") for i in range(60_000)))
    nested = array("(" * 9000 + ")" * 900, b"")
    overlap = bytearray(archive(("a.npy", array("(4,)", bytes(16))), ("b.npy", array("(4,)", bytes(16))), method=0))
    second = overlap.rfind(b"PK\x01\x02")
    overlap[second + 42 : second + 46] = bytes(4)
    slow = zlib.compressobj(9, zlib.DEFLATED, -15)
    stream = slow.compress(b"") + b"".join(slow.flush(zlib.Z_SYNC_FLUSH) for _ in range(10)) + slow.flush()
    return [bomb, pieces, wide, bytes(lying), many, archive(("w.npy", nested)), bytes(overlap), b"PK\x03\x04" + stream,
            archive(("w.npy", array("(4,)", bytes(16), "|O"))), archive(("w.npy", array("(0, 9999999999999)", b""))),
            b"PK\x03\x04" + b"PK\x05\x06" * 100_000]  # fmt: skip


def safetensors_attacks() -> list[bytes]:
    def file(header: bytes, data: bytes = b"") -> bytes:
        return len(header).to_bytes(8, "little") + header + data

    entry = b'"%b": {"dtype": "F32", "shape": [%b], "data_offsets": [%d, %d]}'
    return [
        file(b'{"x": ' + b"[" * 500_000 + b"]" * 500_000 + b"}"),
        file(b'{"x": ' + b'{"a":' * 200_000),
        file(b'{"x": [' + b"[]," * 900_000 + b"[]]}"),
        file(b'{"x": ' + b"9" * 1_000_000 + b"}"),
        file(b'{"x": -Infinity}'),
        file(b"{" + entry % (b"a", b"1", 0, 4) + b"," + entry % (b"a", b"1", 4, 8) + b"}", bytes(8)),
        file(b"{" + entry % (b"a", b"1", 0, 4) + b"," + entry % (b"b", b"1", 0, 4) + b"}", bytes(4)),
        file(b"{" + entry % (b"a", b"1", 4, 8) + b"}", bytes(8)),
        file(b"{" + entry % (b"a", b"4611686018427387904, 4", 0, 4) + b"}", bytes(4)),
        file(b"{" + entry % (b"a", b"-1, -1", 0, 4) + b"}", bytes(4)),
        file(b"{" + entry % (b"a", b"1", 8, 4) + b"}", bytes(8)),
        file(b"{" + entry % (b"a", b"1.0", 0, 4) + b"}", bytes(4)),
        file(b"{" + b",".join(entry % (b"%d" % i, b"0", 0, 0) for i in range(30_000)) + b"}"),
        file(b'{"\\ud800": {"dtype": "X", "shape": [], "data_offsets": [0, 0]}}'),
        b"\xff" * 8 + b"{" + bytes(100),
        (2**63).to_bytes(8, "little") + b"{}",
    ]
