"""The weights are found in what training scripts save."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reading import W, read_all, refusal

from vitlib.checkpoint import WeightsError, open_weights, write_npz, write_pdparams, write_safetensors
from vitlib.checkpoint.find_state_dict import find_weights, take_part


@pytest.mark.parametrize(
    ("tree", "wrapper", "extras"),
    [
        ({"state_dict": W, "model": W}, "state_dict", ["model"]),
        ({"epoch": 1, "model_ema": W, "model": W}, "model", ["epoch", "model_ema"]),
        ({"teacher": W, "student": W}, "teacher", ["student"]),
        ({"state": {"model": W, "step": 3}}, "state > model", ["step"]),
        ({"my_own_name": W, "optimizer": {"m": W}}, "my_own_name", ["optimizer"]),
        ({"model": {"step": 1}, "other": W}, "other", ["model"]),
        ({"w": np.ones(3), "step": 1}, "", ["step"]),
        ({"model": {"module.w": np.ones(3)}}, "model > module.", []),
        ({"_orig_mod.module.w": np.ones(3)}, "_orig_mod. > module.", []),
        ({"module.w": np.ones(3), "n_averaged": np.array(4)}, "module.", ["n_averaged"]),
        ({"backbone.w": np.ones(3), "backbone.b": np.ones(3), "head.b": np.ones(1)}, "backbone.", []),
        (
            {"teacher": {"backbone.w": np.ones(3), "backbone.b": np.ones(3), "head.b": W}},
            "teacher > backbone.",
            ["head.b"],
        ),
    ],
)
def test_weights_are_found_under_what_wraps_them(
    write: Callable[..., Path], tree: dict[str, Any], wrapper: str, extras: list[str]
) -> None:
    with open_weights(write(pickle.dumps(tree))) as weights:
        assert (weights.wrapper, weights.extras) == (wrapper, extras)
        np.testing.assert_array_equal(weights.read("w"), np.ones(3))


NESTED = {"model": {"w": 1}, "model_ema": {"w": 2}, "ema": {"state_dict": {"w": 3}, "decay": "x"}, "epoch": "7"}
FLAT = {"student.w": 1, "teacher.w": 2, "teacher.head.w": 3}


@pytest.mark.parametrize(
    ("tree", "part", "wrapper", "value"),
    [
        (NESTED, None, ["model"], 1),
        (NESTED, "model_ema", ["model_ema"], 2),
        (NESTED, "ema", ["ema", "state_dict"], 3),
        (NESTED, "ema.state_dict", ["ema", "state_dict"], 3),
        ({"state": NESTED}, "model_ema", ["state", "model_ema"], 2),
        ({"state": NESTED}, "state.ema", ["state", "ema", "state_dict"], 3),
        ({"a.b": {"w": 1}, "c": {"w": 2}}, "a.b", ["a.b"], 1),
        (FLAT, "student", ["student."], 1),
        (FLAT, "teacher.", ["teacher."], 2),
        (FLAT, "teacher.head", ["teacher.head."], 3),
        ({"epoch": "1", "state_dict": FLAT}, "student", ["state_dict", "student."], 1),
        ({"epoch": "1", "state_dict": FLAT}, "state_dict.student", ["state_dict", "student."], 1),
        ({f"module.{name}": value for name, value in FLAT.items()}, "student", ["module.", "student."], 1),
        ({f"module.{name}": value for name, value in FLAT.items()}, "module.student", ["module.student."], 1),
        ({"_orig_mod.a.module.w": 1, "_orig_mod.b.module.w": 2}, "b", ["_orig_mod.", "b.", "module."], 2),
        ({"params/img/w": 1, "params/txt/w": 2}, "params/txt", ["params/txt."], 2),
        ({"backbone.w": 1, "backbone.b": 2, "w": 3}, "backbone", ["backbone."], 1),
        ([{"w": 1}, {"w": 2}], "1", ["1"], 2),
    ],
)
def test_a_part_is_a_key_or_the_beginning_of_names(tree: Any, part: str | None, wrapper: list[str], value: int) -> None:
    found = find_weights(tree, number, part)
    assert (found.wrapper, found.tensors["w"]) == (wrapper, value)


def number(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def test_names_outside_of_the_part_are_extras() -> None:
    assert find_weights(FLAT, number, "student").extras == ["teacher.w", "teacher.head.w"]
    assert take_part(FLAT, "student") == ({"w": 1}, ["teacher.w", "teacher.head.w"])


def test_tables_of_weights_beside_the_one_that_is_taken_are_told_apart_from_the_training_state() -> None:
    tree = {"state_dict": {"w": 1}, "state_dict_ema": {"w": 2}, "optimizer": {"state": {"m": 3}}, "args": {"lr": "x"}}
    found = find_weights({"run": tree}, number)
    assert found.wrapper == ["run", "state_dict"]
    assert found.extras == ["state_dict_ema", "optimizer", "args"]
    assert found.others == ["run.state_dict_ema"]
    assert find_weights({"run": tree}, number, found.others[0]).tensors == {"w": 2}


@pytest.mark.parametrize("part", ["absent", "epoch", "", "."])
def test_a_part_that_is_not_there_is_refused_with_those_that_are(part: str) -> None:
    with pytest.raises(WeightsError, match=r"nothing under part=.*'model', 'model_ema', 'ema' and names .* 'w'"):
        find_weights(NESTED, number, part)
    with pytest.raises(WeightsError, match="names that begin with 'student', 'teacher'"):
        find_weights(FLAT, number, part)


def test_a_part_of_a_file_of_any_format_is_read(tmp_path: Path) -> None:
    arrays = {"student.w": np.ones(3), "teacher.w": np.zeros(3)}
    for write in (write_safetensors, write_npz, write_pdparams):
        write(tmp_path / "file", arrays)
        np.testing.assert_array_equal(read_all(tmp_path / "file", part="teacher")["w"], np.zeros(3))
        assert "begin with 'student', 'teacher'" in refusal(tmp_path / "file", part="absent")


@pytest.mark.parametrize(
    "name",
    [
        "blocks.0._orig_mod.attn.qkv.weight",
        "blocks.0.attn._checkpoint_wrapped_module.qkv.weight",
        "_fsdp_wrapped_module.blocks.0._fsdp_wrapped_module.attn.qkv._fsdp_wrapped_module.weight",
        "_forward_module.blocks.0.attn.qkv.weight",
        "module._forward_module.blocks.0.attn.qkv.weight",
        "_layers.blocks.0.attn.qkv.weight",
    ],
)
def test_modules_that_only_wrap_are_taken_off_wherever_they_stand(name: str) -> None:
    found = find_weights({name: 1}, number)
    assert found.tensors == {"blocks.0.attn.qkv.weight": 1}
    assert all(word.rstrip(".") in name for word in found.wrapper)
    assert len(found.wrapper) == len(set(name.split(".")) - {"blocks", "0", "attn", "qkv", "weight"})


def test_two_names_that_differ_by_a_wrapping_module_alone_are_refused() -> None:
    with pytest.raises(WeightsError, match=r"both named 'blocks\.0\.w' once '_orig_mod\.' is taken off"):
        find_weights({"blocks.0._orig_mod.w": 1, "blocks.0.w": 2}, number)


@pytest.mark.parametrize("tree", [[{"w": 1}], ({"w": 1}, "7"), ["note", {"epoch": "7"}, {"w": 1}], {"a": [{"w": 1}]}])
def test_a_list_whose_one_member_is_the_table_opens(tree: Any) -> None:
    assert find_weights(tree, number).tensors == {"w": 1}


@pytest.mark.parametrize("tree", [[1, 2], [], "text", None, {"w": [1]}, [[{"w": 1}] * 20]])
def test_tensors_without_names_are_no_weights(tree: Any) -> None:
    with pytest.raises(WeightsError, match="holds no table of named tensors"):
        find_weights(tree, number)


def test_a_table_within_itself_is_searched_once() -> None:
    tree: dict[str, Any] = {"epoch": "7"}
    tree["again"] = tree["more"] = tree
    with pytest.raises(WeightsError, match="holds no table"):
        find_weights(tree, number)
    tree["model"] = {"w": 1}
    assert find_weights(tree, number).wrapper == ["model"]


def test_the_placeholders_of_deepspeed_are_called_by_their_name(write: Callable[..., Path]) -> None:
    tree = {"module": {**{f"blocks.{i}.w": np.zeros(0, np.float32) for i in range(4)}, "buffer": np.ones(3)}}
    sentence = refusal(write(pickle.dumps(tree)))
    assert "4 of its 5 tensors" in sentence
    assert "zero_to_fp32.py" in sentence


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("blocks.0.attn.qkv.SCB", "quantised"),
        ("blocks.0.attn.qkv.weight_scale", "quantised"),
        ("_fsdp_wrapped_module._flat_param", "FULL_STATE_DICT"),
    ],
)
def test_names_of_quantised_and_sharded_models_are_refused_as_such(
    write: Callable[..., Path], name: str, words: str
) -> None:
    assert words in refusal(write(pickle.dumps({name: np.ones(3, np.float32), "norm.weight": np.ones(3)})))


def test_several_tables_without_a_usual_name_are_refused_with_their_names(write: Callable[..., Path]) -> None:
    assert "('one', 'two')" in (sentence := refusal(write(pickle.dumps({"one": W, "two": W}))))
    assert "part='one'" in sentence


def test_names_that_become_the_same_without_their_prefix_are_refused(write: Callable[..., Path]) -> None:
    tree = {"backbone.w": np.ones(3), "backbone.b": np.ones(3), "w": np.ones(3)}
    assert "both named 'w' once 'backbone.' is taken off" in refusal(write(pickle.dumps(tree)))


def test_a_prefix_that_not_all_names_carry_stays(write: Callable[..., Path]) -> None:
    assert set(read_all(write(pickle.dumps({"module.w": np.ones(3), "b": np.ones(3)})))) == {"module.w", "b"}
