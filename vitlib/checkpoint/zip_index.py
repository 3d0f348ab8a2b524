"""The table of a zip archive, read from a memory map.

`zipfile` builds an object of several hundred bytes from every entry of the table before anyone can count them, reads
through file objects, and follows whichever of two entries with one name comes last. Here the table is bounded, entries
must be distinct and must not overlap, and a stored member is a window on the file.
Source: APPNOTE 6.3.10, sections 4.3.7 (local header), 4.3.12 (central directory), 4.3.14 to 4.3.16 (end records).
"""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from .errors import WeightsError, quoted
from .file_bytes import FileBytes
from .tensors import SLACK

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_END64 = struct.Struct("<4sQ2H2I4Q")
_END64_LOCATOR = struct.Struct("<4sIQI")

MAX_MEMBERS = 50_000
_PIECE = 1 << 10  # bytes that are inflated at once, to at most a thousand times as many
MAX_DEFLATE_RATIO = 1040  # deflate cannot expand further; a larger declared size is a lie


@dataclass(frozen=True)
class Member:
    """One archive member; `start` is where its (possibly deflated) data begins in the file."""

    name: str
    start: int
    stored_size: int
    size: int
    crc: int
    deflated: bool

    def read(self, file: FileBytes) -> memoryview:
        """All its bytes: a window on the file when stored, else inflated within bounds.

        Raises `WeightsError` when the bytes do not match the member's checksum or declared size.
        """
        data = file.view[self.start : self.start + self.stored_size]
        if self.deflated:
            data = self._inflate(data, file)
        # PyTorch can be told not to compute checksums and then writes zero
        if self.crc and zlib.crc32(data) != self.crc:
            raise WeightsError(f"is damaged: the checksum of its member {quoted(self.name)} does not match")
        return data

    def reader(self, file: FileBytes) -> Callable[[], memoryview]:
        """`read`, for several calls: the checksum of a stored member is computed at the first one alone."""
        checked: list[memoryview] = []

        def read() -> memoryview:
            if checked:
                return checked[0]
            data = self.read(file)
            if not self.deflated:  # a window on the file, which costs no memory
                checked.append(data)
            return data

        return read

    def head(self, file: FileBytes, count: int) -> bytes:
        """Its first `count` bytes at most, without touching the rest and without a checksum."""
        data = file.view[self.start : self.start + self.stored_size]
        if not self.deflated:
            return bytes(data[:count])
        try:
            return zlib.decompressobj(-15).decompress(data[: 4 * count + 64], count)
        except zlib.error:
            raise self._corrupt() from None

    def _inflate(self, data: memoryview, file: FileBytes) -> memoryview:
        limit = file.size + SLACK
        if self.size > limit:
            raise WeightsError(
                f"has a compressed member {quoted(self.name)} that declares {self.size:,} bytes; "
                f"from a file of {file.size:,} bytes not more than {limit:,} are unpacked",
                way_out="Save it again without compression (numpy.savez)",
            )
        out, inflater, filled = bytearray(self.size), zlib.decompressobj(-15), 0
        try:
            for start in range(0, len(data), _PIECE):
                if inflater.eof:
                    raise self._corrupt()
                piece = inflater.decompress(data[start : start + _PIECE])
                if filled + len(piece) > self.size:
                    raise self._corrupt()
                out[filled : filled + len(piece)] = piece
                filled += len(piece)
        except zlib.error:
            raise self._corrupt() from None
        if filled != self.size or not inflater.eof or inflater.unused_data:
            raise self._corrupt()
        return memoryview(out).toreadonly()

    def _corrupt(self) -> WeightsError:
        return WeightsError(
            f"is damaged: the compressed data of its member {quoted(self.name)} are not what the archive says"
        )


def read_index(file: FileBytes) -> dict[str, Member]:
    """Every member by name, in the order of the table. Raises `WeightsError` when the archive is not well-formed."""
    view = file.view
    count, start, end = _find_table(view)
    if count > MAX_MEMBERS:
        raise WeightsError(f"is an archive of {count:,} members; weights have at most {MAX_MEMBERS:,}")
    members: dict[str, Member] = {}
    spans: list[tuple[int, int]] = []
    position = start
    for _ in range(count):
        fields = _unpack(_CENTRAL, view, position, b"PK\x01\x02", end)
        flags, method, crc, stored, size = fields[3], fields[4], fields[7], fields[8], fields[9]
        name_size, extra_size, comment_size, disk, offset = *fields[10:13], fields[13], fields[16]
        position += _CENTRAL.size
        following = position + name_size + extra_size + comment_size
        if following > end or name_size > 1024:
            raise WeightsError("is an archive whose table of members is cut off or corrupt")
        raw_name = bytes(view[position : position + name_size])
        extra = view[position + name_size : position + name_size + extra_size]
        position = following
        size, stored, offset = _zip64_sizes(extra, size, stored, offset)
        name = _decode_name(raw_name)
        if flags & 0x2041 or disk not in (0, 0xFFFF):
            raise WeightsError("is an encrypted or split archive")
        if method not in (0, 8):
            raise WeightsError(
                f"has a member {quoted(name)} compressed by method {method}; only stored and deflated ones are read"
            )
        if name in members:
            raise WeightsError(f"has two members of the same name, {quoted(name)}")
        local = _unpack(_LOCAL, view, offset, b"PK\x03\x04", start)
        data_start = offset + _LOCAL.size + local[9] + local[10]
        if bytes(view[offset + _LOCAL.size : offset + _LOCAL.size + local[9]]) != raw_name or local[3] != method:
            raise WeightsError(f"has a member {quoted(name)} that is described in two different ways")
        if data_start + stored > start:
            raise WeightsError(f"has a member {quoted(name)} that reaches beyond the file's data; it may be cut off")
        if (method == 0 and size != stored) or size > stored * MAX_DEFLATE_RATIO + 64:
            raise WeightsError(f"has a member {quoted(name)} that declares {size:,} bytes in {stored:,}")
        spans.append((offset, data_start + stored))
        members[name] = Member(name, data_start, stored, size, crc, method == 8)
    if position != end:
        raise WeightsError("is an archive whose table of members has a wrong length")
    spans.sort()
    if any(first[1] > second[0] for first, second in itertools.pairwise(spans)):
        raise WeightsError("is an archive whose members overlap")
    return members


def _find_table(view: memoryview) -> tuple[int, int, int]:
    """Number of members, start and end of the central directory."""
    tail_start = max(0, len(view) - _END.size - 0xFFFF)
    tail = bytes(view[tail_start:])
    at = tail.rfind(b"PK\x05\x06")
    while at >= 0 and (len(tail) - at < _END.size or at + _END.size + _END.unpack_from(tail, at)[7] != len(tail)):
        at = tail.rfind(b"PK\x05\x06", 0, at)
    if at < 0:
        raise WeightsError("is a zip archive (.pth, .pt or .npz) without an end; the download or copy was cut off")
    _, disk, start_disk, here, count, size, start, _ = _END.unpack_from(tail, at)
    end = tail_start + at
    if disk not in (0, 0xFFFF) or start_disk not in (0, 0xFFFF):
        raise WeightsError("is one part of a split archive")
    locator_at = end - _END64_LOCATOR.size
    if locator_at >= 0 and bytes(view[locator_at : locator_at + 4]) == b"PK\x06\x07":
        end = _END64_LOCATOR.unpack_from(view, locator_at)[2]
        fields = _unpack(_END64, view, end, b"PK\x06\x06", locator_at)
        here, count, size, start = fields[6:10]
    if here != count or start + size != end:
        raise WeightsError("is an archive whose table of members is not where its end says")
    return count, start, end


def _unpack(layout: struct.Struct, view: memoryview, at: int, signature: bytes, limit: int) -> tuple[int, ...]:
    if at < 0 or at + layout.size > limit:
        raise WeightsError("is an archive that refers to a place outside of itself; it may be cut off")
    fields = layout.unpack_from(view, at)
    if fields[0] != signature:
        raise WeightsError("is an archive with a corrupt table of members")
    return fields


def _zip64_sizes(extra: memoryview, size: int, stored: int, offset: int) -> tuple[int, int, int]:
    """The three numbers, replaced from the zip64 field where they did not fit 32 bits (APPNOTE 4.5.3)."""
    wanted = [size, stored, offset]
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, position)
        position += 4
        if kind == 1:
            field = extra[position : position + length]
            numbers = list(struct.unpack_from(f"<{len(field) // 8}Q", field))
            for i, value in enumerate(wanted):
                if value == 0xFFFFFFFF:
                    if not numbers:
                        raise WeightsError("is an archive with a corrupt table of members")
                    wanted[i] = numbers.pop(0)
            break
        position += length
    return wanted[0], wanted[1], wanted[2]


def _decode_name(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        # Both writers mark names as UTF-8; the older code page would only hide damage
        raise WeightsError("has a member whose name is not UTF-8 text") from None
