"""Which file of a directory or repository holds the weights."""

import pytest

from vitlib.checkpoint.errors import WeightsError
from vitlib.checkpoint.file_names import WEIGHT_ENDINGS, WEIGHT_NAMES, choose_weights


def test_the_first_well_known_name_is_chosen_whatever_stands_beside():
    for number, name in enumerate(WEIGHT_NAMES):
        assert choose_weights([*reversed(WEIGHT_NAMES[number:]), "a.pth", "b.npz", "config.json"]) == name
    assert WEIGHT_NAMES[0] == "model.safetensors"


@pytest.mark.parametrize("ending", WEIGHT_ENDINGS)
def test_a_lone_file_with_an_ending_of_weights_is_chosen(ending):
    rest = [
        "README.md",
        "config.json",
        "onnx/model.safetensors",
        "optimizer.pt",
        "rng_state_0.pth",
        "training_args.bin",
    ]
    assert choose_weights([*rest, f"vit{ending}"]) == f"vit{ending}"


def test_several_weight_files_are_not_guessed_among():
    with pytest.raises(WeightsError, match=r"several weight files.*: a.npz, b.pth. Give one of them"):
        choose_weights(["b.pth", "a.npz"])
    with pytest.raises(WeightsError, match=r"w7\.ckpt and 2 more"):
        choose_weights(f"w{number}.ckpt" for number in range(10))


def test_no_weight_file_says_what_would_be_one_and_what_is_there():
    with pytest.raises(WeightsError, match=r"no weights: expected model.safetensors, .*\.pyth; found README.md, x.txt"):
        choose_weights(["x.txt", "README.md", "sub/model.safetensors"])
    with pytest.raises(WeightsError, match="found no files"):
        choose_weights([])
