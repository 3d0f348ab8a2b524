"""Reading a tensor that several parameters are made of, such as a stack of all blocks, once for all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from threading import Lock

import numpy as np

from .canonical import Entry, Readable


class ReadOnce:
    """A file from which each of these parameters is read one time, by any number of threads.

    A tensor that several of them share is read at its first use and held until its last: a compressed stack of 24
    blocks is unpacked once and not 24 times.

    names: the parameters in an order that keeps those that share a tensor together, so that few tensors are held.
    """

    def __init__(self, file: Readable, entries: Mapping[str, Entry]) -> None:
        places: dict[str, int] = {}
        for place, entry in enumerate(entries.values()):
            places.setdefault(entry.parts[0].name, place)
        self.names = sorted(entries, key=lambda name: places[entries[name].parts[0].name])
        self._file = file
        uses = Counter(part.name for entry in entries.values() for part in entry.tensors)
        self._left = {name: count for name, count in uses.items() if count > 1}
        self._locks = {name: Lock() for name in self._left}
        self._held: dict[str, np.ndarray] = {}

    def read(self, name: str) -> np.ndarray:
        """A tensor of the file."""
        if name not in self._left:
            return self._file.read(name)
        with self._locks[name]:
            array = self._held.pop(name) if name in self._held else self._file.read(name)
            self._left[name] -= 1
            if self._left[name] > 0:
                self._held[name] = array
            return array
