"""Writes vitlib/hub/data/imagenet*.txt.gz, one class name a line, from the tables that timm ships.

    python tests/hub/make_class_names.py

A name is the first WordNet lemma of the class. Classes that share it take the second lemma as well, and those that
still agree the beginning of their definition, so that no two names of a list are the same.
"""

from __future__ import annotations

import gzip
import re
from collections import Counter
from pathlib import Path

import timm.data

INFO = Path(timm.data.__file__).parent / "_info"
TARGET = Path(__file__).parents[2] / "vitlib" / "hub" / "data"
LISTS = {"imagenet1k": "imagenet_synsets.txt", "imagenet21k": "imagenet21k_goog_synsets.txt"}
# Those that one word tells apart better than their definitions
SHORT = {
    "n02012849": "crane (bird)",
    "n03126707": "crane (machine)",
    "n01872401": "echidna (Australia)",
    "n01872772": "echidna (New Guinea)",
}


def table(name: str) -> dict[str, str]:
    return dict(line.split("\t") for line in (INFO / name).read_text(encoding="utf-8").splitlines())


def shared(names: list[str]) -> set[str]:
    return {name for name, count in Counter(names).items() if count > 1}


def clause(definition: str) -> str:
    text = re.sub(r"^\(.*?\)\s*", "", definition)
    return clipped(re.split(r"[;,(:]", text)[0], 7)


def clipped(text: str, words: int = 15) -> str:
    found = text.split()
    return " ".join(found[:words]) + ("..." if len(found) > words else "")


def main() -> None:
    lemmas, definitions = table("imagenet_synset_to_lemma.txt"), table("imagenet_synset_to_definition.txt")
    for target, source in LISTS.items():
        synsets = (INFO / source).read_text().split()
        names = [lemmas[synset].split(", ")[0] for synset in synsets]
        twice = shared(names)
        names = [", ".join(lemmas[s].split(", ")[:2]) if n in twice else n for s, n in zip(synsets, names, strict=True)]
        for tell in (clause, clipped, str):  # str: the whole definition
            twice = shared(names)
            names = [
                SHORT.get(s) or f"{n.split(' (')[0]} ({tell(definitions[s])})" if n in twice else n
                for s, n in zip(synsets, names, strict=True)
            ]
        assert not shared(names)
        packed = gzip.compress("".join(f"{name}\n" for name in names).encode(), 9, mtime=0)
        (TARGET / f"{target}.txt.gz").write_bytes(packed)
        print(f"{target}: {len(names)} names, {len(packed)} bytes, the longest {max(names, key=len)!r}")


if __name__ == "__main__":
    main()
