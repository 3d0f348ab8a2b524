from pathlib import Path

import pytest

import vitlib
from vitlib.hub import class_names
from vitlib.models.presets import published


@pytest.mark.parametrize(
    ("index", "name"),
    # as in ILSVRC 2012, from the first class to the last
    [
        (0, "tench"),
        (1, "goldfish"),
        (207, "golden retriever"),
        (285, "Egyptian cat"),
        (291, "lion"),
        (340, "zebra"),
        (388, "giant panda"),
        (817, "sports car"),
        (954, "banana"),
        (999, "toilet tissue"),
    ],
)
def test_imagenet_1k_has_the_usual_order(index, name):
    assert class_names(1000)[index] == name


@pytest.mark.parametrize(("index", "name"), [(0, "organism"), (1, "benthos"), (2, "heterotroph"), (21842, "knothole")])
def test_imagenet_21k_has_googles_order(index, name):
    assert class_names(21843)[index] == name


@pytest.mark.parametrize("num_classes", [1000, 21843])
def test_there_is_one_printable_name_of_its_own_for_every_class(num_classes):
    names = class_names(num_classes)
    assert isinstance(names, tuple)
    assert len(names) == len(set(names)) == num_classes
    assert all(name == name.strip() and name.isprintable() and 1 < len(name) < 130 for name in names)
    assert sum(map(len, names)) / num_classes < 25


def test_the_two_cranes_of_imagenet_1k_are_told_apart():
    assert [name for name in class_names(1000) if "crane" in name] == ["crane (bird)", "crane (machine)"]


def test_every_published_head_has_names_but_for_projections_and_labels_of_imagenet_12k():
    sizes = {published(name).num_classes for name in vitlib.list_models(pretrained=True)}
    assert sizes == {0, 1000, 21843, 512, 768, 11821}
    assert class_names(0) is None
    assert class_names(10) is None


def test_the_lists_are_small_and_carry_the_licence_of_wordnet():
    data = Path(vitlib.__file__).parent / "hub" / "data"
    assert sum(file.stat().st_size for file in data.iterdir()) < 500_000
    assert "Copyright 2006 by Princeton University" in (data / "README.md").read_text()
