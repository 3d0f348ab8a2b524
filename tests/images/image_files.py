"""A small image and its files, which the decoding tests share."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

from vitlib.images import decode

COLORS = np.array(
    [[[200, 40, 10], [10, 180, 60], [30, 60, 220]], [[255, 255, 255], [0, 0, 0], [90, 100, 110]]], np.uint8
)
PIXELS = COLORS.repeat(8, axis=0).repeat(8, axis=1)  # 16 x 24, blocks of 8 so that JPEG keeps the colours
IMAGE = Image.fromarray(PIXELS)


def saved(image: Image.Image, file_format: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def pixels(source, mode: str = "RGB") -> np.ndarray:
    image = decode(source, mode)
    assert image.mode == mode
    return np.asarray(image).astype(int)


def png(width: int, height: int, bit_depth: int, color_type: int, data: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG file by hand, for headers and depths that Pillow does not write."""
    header = struct.pack(">IIBBBBB", width, height, bit_depth, color_type, 0, 0, 0)
    contents = b"\x89PNG\r\n\x1a\n"
    for kind, body in ((b"IHDR", header), *chunks, (b"IDAT", data), (b"IEND", b"")):
        contents += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return contents
