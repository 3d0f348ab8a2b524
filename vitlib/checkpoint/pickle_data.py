"""Reads a pickle as data.

Python's own unpickler is never used: even one restricted to harmless classes can be made to allocate gigabytes by a
few bytes (memo indexes, frames, byte arrays), and whatever it lets through is called. This reader knows the opcodes
that weight files consist of; lengths are checked against the bytes that are left, every object is paid for from one
budget (which bounds time as well), nothing is hashed or compared but short strings and numbers, and nothing is ever
imported or called: a class or function becomes a `Global`, and a call of it a `PickledObject`.
Source: Lib/pickletools.py of CPython (protocols 2 to 5).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from .errors import WeightsError, quoted
from .pickle_objects import DEFAULT_DICT, ORDERED_DICT, Global, LongText, PickledObject
from .pickle_opcodes import HANDLERS, U8

BUDGET = 24 << 20  # bytes of Python objects made from one pickle
MAX_NAME = 1024  # longer text stays in the file as `LongText`

_KEY_TYPES = (str, int, bool, float, type(None))


class PickleReader:
    """One pickle, or several behind each other, in `data`.

    Args:
        data: the bytes; strings of bytes in the result are windows on it.
        known: the classes and functions that mean something, by (module, name).
        persistent: makes an object from a persistent id, for PyTorch's storages.
    """

    def __init__(
        self,
        data: memoryview,
        known: Mapping[tuple[str, str], Global],
        persistent: Callable[[Any], Any] | None = None,
    ) -> None:
        self.data = data
        self.known = known
        self.persistent = persistent
        self.at = 0
        self.left = BUDGET
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def load(self) -> Any:
        """The next object; `at` is then the place after it. Raises `WeightsError` on anything but plain data."""
        self.stack, self.marks, self.memo = [], [], {}
        data, size = self.data, len(self.data)
        try:
            while True:
                if self.at >= size:
                    raise WeightsError("ends in the middle of its pickle; it was cut off")
                opcode = data[self.at]
                self.at += 1
                if opcode == 0x2E:  # STOP
                    if len(self.stack) != 1 or self.marks:
                        raise WeightsError("holds a corrupt pickle: it does not end with one object")
                    return self.stack[0]
                self.spend(16)
                handler = HANDLERS.get(opcode)
                if handler is None:
                    raise WeightsError(
                        f"holds a pickle with the opcode 0x{opcode:02x}, which files of weights do not use; "
                        "it is damaged or of another kind"
                    )
                handler(self)
        except IndexError:
            raise WeightsError("holds a corrupt pickle: it takes more objects than it made") from None
        finally:
            self.stack, self.marks, self.memo = [], [], {}

    def spend(self, cost: int) -> None:
        """Takes `cost` bytes of the budget, before they are allocated."""
        self.left -= cost
        if self.left < 0:
            raise WeightsError(
                f"holds a pickle that builds more than {BUDGET >> 20} MiB of objects beside its tensors",
                way_out="Save only the model's state_dict",
            )

    def take(self, count: int) -> memoryview:
        """The next `count` bytes."""
        end = self.at + count
        if count < 0 or end > len(self.data):
            raise WeightsError(
                f"ends in the middle of its pickle: {count:,} bytes are announced and {len(self.data) - self.at:,} "
                "are left; it was cut off or damaged"
            )
        piece = self.data[self.at : end]
        self.at = end
        return piece

    def number(self, layout: struct.Struct) -> Any:
        return layout.unpack(self.take(layout.size))[0]

    def push(self, value: Any, cost: int = 0) -> None:
        self.spend(cost)
        self.stack.append(value)

    def pop(self) -> Any:
        if self.marks and len(self.stack) <= self.marks[-1]:
            raise WeightsError("holds a corrupt pickle: it takes an object from below a mark")
        return self.stack.pop()

    def pop_pair(self) -> list[Any]:
        return [self.pop(), self.pop()][::-1]

    def pop_mark(self) -> list[Any]:
        mark = self.marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    def top(self) -> Any:
        if self.marks and len(self.stack) <= self.marks[-1]:
            raise WeightsError("holds a corrupt pickle: it changes an object below a mark")
        return self.stack[-1]

    def put(self, index: int) -> None:
        self.spend(112)
        self.memo[index] = self.top()

    def get(self, index: int) -> None:
        if index not in self.memo:
            raise WeightsError(f"holds a corrupt pickle: it refers to object {index}, which is not there")
        self.stack.append(self.memo[index])

    def text(self, size: int) -> None:
        raw = self.take(size)
        if size > MAX_NAME:
            self.push(LongText(raw), 320)
            return
        self.spend(96 + 4 * size)
        try:
            self.stack.append(str(raw, "utf-8"))
        except UnicodeDecodeError:
            raise WeightsError("holds a corrupt pickle: a name is not UTF-8 text") from None

    def python2_text(self, size: int) -> None:
        # One type for text and bytes: short ones may be names, long ones are an array's data
        raw = self.take(size)
        if size > MAX_NAME:
            self.push(raw, 240)
        else:
            self.push(str(raw, "latin-1"), 96 + 2 * size)

    def set_items(self, items: list[Any]) -> None:
        target = self.top()
        if len(items) % 2:
            raise WeightsError("holds a corrupt pickle: a table with a key and no value")
        self.spend(64 * len(items))
        if type(target) is PickledObject:  # of a class that extends dict
            if target.items is None:
                self.spend(240)
                target.items = {}
            target = target.items
        if type(target) is not dict:
            _refuse_change(target)
        for i in range(0, len(items), 2):
            key = items[i]
            # Everything else hashes its contents: recursion, and collisions that can be made on purpose
            if type(key) not in _KEY_TYPES or (type(key) is int and key.bit_length() > 64):
                self.spend(160)
                key = PickledObject("key")
            elif type(key) is str and key in target:
                raise WeightsError(f"names {quoted(key)} twice")
            target[key] = items[i + 1]

    def extend(self, items: list[Any]) -> None:
        target = self.top()
        self.spend(12 * len(items))
        if type(target) is list:
            target.extend(items)
        elif not isinstance(target, PickledObject):  # of a set or a class that extends list, whose items are not used
            _refuse_change(target)

    def line(self) -> str:
        self.spend(96)
        end = bytes(self.data[self.at : self.at + 512]).find(b"\n")
        if end < 0:
            raise WeightsError("holds a corrupt pickle: a name without an end")
        raw = self.take(end + 1)
        return bytes(raw[:-1]).decode("utf-8", "replace")

    def resolve(self, module: Any, name: Any) -> None:
        if type(module) is not str or type(name) is not str:
            raise WeightsError("holds a corrupt pickle: a class whose name is not text")
        found = self.known.get((module, name))
        if found is None:
            self.spend(240 + 4 * (len(module) + len(name)))
            found = Global(f"{module}.{name}")
        self.stack.append(found)

    def call(self, function: Any, arguments: Any) -> None:
        if type(arguments) is not tuple:
            raise WeightsError("holds a corrupt pickle: a call whose arguments are not a tuple")
        self.spend(240)
        if function is ORDERED_DICT or function is DEFAULT_DICT:
            self.stack.append({})
            if function is ORDERED_DICT and arguments:
                self.set_pairs(arguments[0])
        elif isinstance(function, Global):
            self.stack.append(function.called_with(arguments))
        elif isinstance(function, PickledObject):  # such as a method, which is a call of getattr
            self.stack.append(PickledObject(function.class_name, arguments))
        else:
            raise WeightsError("holds a corrupt pickle: it calls something that is no class or function")

    def set_pairs(self, pairs: Any) -> None:
        """The items of a dict as a list of pairs, which is how Python 2 wrote an OrderedDict."""
        if type(pairs) is not list:
            raise WeightsError("holds a corrupt pickle: a table made from something else than pairs")
        for pair in pairs:
            if type(pair) not in (list, tuple) or len(pair) != 2:
                raise WeightsError("holds a corrupt pickle: a table made from something else than pairs")
            self.set_items(list(pair))

    def build(self) -> None:
        state = self.pop()
        target = self.top()
        if isinstance(target, PickledObject):
            target.set_state(state)
        elif type(target) is not dict:  # attributes of an OrderedDict are PyTorch's version numbers of modules
            raise WeightsError("holds a corrupt pickle: it sets the state of something that has none")

    def persistent_id(self) -> None:
        if self.persistent is None:
            raise WeightsError("holds a pickle that refers to data outside of itself")
        self.push(self.persistent(self.pop()), 240)

    def integer(self, size: int) -> None:
        if size > 128:
            raise WeightsError("holds a pickle with an integer of more than 1,024 bits")
        self.push(int.from_bytes(self.take(size), "little", signed=True), 48 + size)

    def tuple_of(self, items: list[Any]) -> None:
        self.push(tuple(items), 56 + 8 * len(items))

    def protocol(self) -> None:
        if (version := self.take(1)[0]) > 5:
            raise WeightsError(f"holds a pickle of protocol {version}; 2 to 5 are known")

    def frame(self) -> None:
        if self.number(U8) > len(self.data) - self.at:
            raise WeightsError("ends in the middle of its pickle; it was cut off")

    def mark(self) -> None:
        self.marks.append(len(self.stack))


def _refuse_change(target: Any) -> NoReturn:
    raise WeightsError(f"holds a corrupt pickle: it adds items to a {type(target).__name__}")
