"""The effect of each pickle opcode, in terms of the methods of `PickleReader`.

Only opcodes that weight files use are here: protocols 2 to 5 without extension codes, out-of-band buffers and the
text forms of protocol 0. Source: Lib/pickletools.py of CPython.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .pickle_objects import Global, PickledObject

if TYPE_CHECKING:
    from .pickle_data import PickleReader

U1, U2, U4, U8 = (struct.Struct(code) for code in ("<B", "<H", "<I", "<Q"))
I4, FLOAT = struct.Struct("<i"), struct.Struct(">d")


def _new_with_keywords(reader: PickleReader) -> None:
    keywords, arguments, function = reader.pop(), reader.pop(), reader.pop()
    if keywords and isinstance(function, Global):  # a known one takes none
        function = Global(function.name)
    reader.call(function, arguments)


HANDLERS: dict[int, Callable[[PickleReader], Any]] = {
    0x80: lambda r: r.protocol(),
    0x95: lambda r: r.frame(),
    ord("("): lambda r: r.mark(),
    ord("0"): lambda r: r.marks.pop() if r.marks and r.marks[-1] == len(r.stack) else r.stack.pop(),
    ord("1"): lambda r: r.pop_mark(),
    ord("2"): lambda r: r.push(r.top()),
    ord("N"): lambda r: r.push(None),
    0x88: lambda r: r.push(True),
    0x89: lambda r: r.push(False),
    ord("K"): lambda r: r.push(r.number(U1)),
    ord("M"): lambda r: r.push(r.number(U2), 32),
    ord("J"): lambda r: r.push(r.number(I4), 32),
    0x8A: lambda r: r.integer(r.number(U1)),
    0x8B: lambda r: r.integer(r.number(I4)),
    ord("G"): lambda r: r.push(r.number(FLOAT), 24),
    ord("X"): lambda r: r.text(r.number(U4)),
    0x8C: lambda r: r.text(r.number(U1)),
    0x8D: lambda r: r.text(r.number(U8)),
    ord("U"): lambda r: r.python2_text(r.number(U1)),
    ord("T"): lambda r: r.python2_text(r.number(I4)),
    ord("B"): lambda r: r.push(r.take(r.number(U4)), 240),
    ord("C"): lambda r: r.push(r.take(r.number(U1)), 240),
    0x8E: lambda r: r.push(r.take(r.number(U8)), 240),
    0x96: lambda r: r.push(r.take(r.number(U8)), 240),
    ord(")"): lambda r: r.push(()),
    0x85: lambda r: r.tuple_of([r.pop()]),
    0x86: lambda r: r.tuple_of(r.pop_pair()),
    0x87: lambda r: r.tuple_of([r.pop(), r.pop(), r.pop()][::-1]),
    ord("t"): lambda r: r.tuple_of(r.pop_mark()),
    ord("]"): lambda r: r.push([], 96),
    ord("}"): lambda r: r.push({}, 240),
    0x8F: lambda r: r.push(PickledObject("set"), 240),
    0x91: lambda r: (r.pop_mark(), r.push(PickledObject("frozenset"), 240)),
    ord("a"): lambda r: r.extend([r.pop()]),
    ord("e"): lambda r: r.extend(r.pop_mark()),
    0x90: lambda r: r.extend(r.pop_mark()),
    ord("s"): lambda r: r.set_items(r.pop_pair()),
    ord("u"): lambda r: r.set_items(r.pop_mark()),
    ord("q"): lambda r: r.put(r.number(U1)),
    ord("r"): lambda r: r.put(r.number(U4)),
    0x94: lambda r: r.put(len(r.memo)),
    ord("h"): lambda r: r.get(r.number(U1)),
    ord("j"): lambda r: r.get(r.number(U4)),
    ord("c"): lambda r: r.resolve(r.line(), r.line()),
    0x93: lambda r: r.resolve(*r.pop_pair()),
    ord("R"): lambda r: r.call(*r.pop_pair()),
    0x81: lambda r: r.call(*r.pop_pair()),
    0x92: _new_with_keywords,
    ord("b"): lambda r: r.build(),
    ord("Q"): lambda r: r.persistent_id(),
}
