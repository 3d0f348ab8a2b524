"""Pickles by Paddle and by NumPy."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile_files import Calls, array_of_shape
from reading import W, read_all, refusal

from vitlib.checkpoint import WeightsError, open_weights


@pytest.fixture(scope="module")
def paddle() -> Any:
    return pytest.importorskip("paddle")


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_a_state_dict_of_paddle_is_read(tmp_path: Path, paddle: Any, protocol: int) -> None:
    layer = paddle.nn.Linear(300, 3)  # more than 1,024 bytes, and less for the bias
    state = layer.state_dict()
    state["half"] = paddle.to_tensor([1.5, -0.25]).astype("bfloat16")
    paddle.save(state, str(tmp_path / "w.pdparams"), protocol=protocol)
    with open_weights(tmp_path / "w.pdparams") as weights:
        assert (weights.format, weights.wrapper, weights.extras) == ("pdparams", "", [])
        np.testing.assert_array_equal(weights.read("weight"), layer.weight.numpy())
        np.testing.assert_array_equal(weights.read("bias"), layer.bias.numpy())
        assert weights.spec("half") == ((2,), "bfloat16")
        np.testing.assert_array_equal(weights.read("half"), np.array([1.5, -0.25], np.float32))


def test_nested_tensors_and_tensors_of_static_graphs_of_paddle_are_read(tmp_path: Path, paddle: Any) -> None:
    layer = paddle.nn.Linear(2, 3)
    dense = layer.bias.get_tensor()
    paddle.save({"model": {"weight": layer.weight, "bias": dense}, "epoch": 3}, str(tmp_path / "w.pdparams"))
    with open_weights(tmp_path / "w.pdparams") as weights:
        assert (weights.wrapper, weights.extras) == ("model", ["epoch"])
        np.testing.assert_array_equal(weights.read("weight"), layer.weight.numpy())
        np.testing.assert_array_equal(weights.read("bias"), layer.bias.numpy())


def test_an_optimiser_of_paddle_is_refused_and_the_way_out_named(tmp_path: Path, paddle: Any) -> None:
    layer = paddle.nn.Linear(2, 3)
    optimiser = paddle.optimizer.AdamW(parameters=layer.parameters())
    layer(paddle.ones([1, 2])).sum().backward()
    optimiser.step()
    paddle.save(optimiser.state_dict(), str(tmp_path / "w.pdopt"))
    assert ".pdopt" in refusal(tmp_path / "w.pdopt")


@pytest.mark.parametrize("protocol", [2, 4])
def test_chunks_of_paddle_are_put_together(write: Callable[..., Path], protocol: int) -> None:
    whole = np.arange(600, dtype=np.float32)
    table = {"w": {"OriginShape": (20, 30), "slices": ["w@@.0", "w@@.1"]}}
    state = {"w@@.0": whole[:500], "w@@.1": whole[500:], "UnpackBigParamInfor@@": table}
    arrays = read_all(write(pickle.dumps(state, protocol)))
    assert list(arrays) == ["w"]
    np.testing.assert_array_equal(arrays["w"], whole.reshape(20, 30))


@pytest.mark.parametrize("slices", [["w@@.0", "w@@.0"], ["w@@.0", "absent"], ["w@@.0"], [], None, [[]]])
def test_chunks_that_do_not_make_up_a_tensor_are_refused(write: Callable[..., Path], slices: Any) -> None:
    table = {"w": {"OriginShape": (20, 30), "slices": slices}}
    assert "chunk" in refusal(write(pickle.dumps({"w@@.0": np.ones(300), "UnpackBigParamInfor@@": table})))


def test_arrays_that_python_2_pickled_are_read(write: Callable[..., Path]) -> None:
    long = np.arange(500, dtype="<f4")
    data = b"T" + struct.pack("<i", long.nbytes) + long.tobytes()
    short = b"U\x08" + np.array([1, 2], "<f4").tobytes()
    template = array_of_shape(b"%s\x85", b"%s")[2:-2].replace(b"\x8c\x01w", b"U\x01%s").replace(b"C\x01b", b"U\x01b")
    template = template.replace(b"\x8c\x02f4", b"U\x02f4").replace(b"\x8c\x01<", b"U\x01<")[1:]
    body = template % (b"a", b"M\xf4\x01", data) + b"s" + template % (b"b", b"K\x02", short) + b"s"
    arrays = read_all(write(b"\x80\x02}" + body + b"."))
    np.testing.assert_array_equal(arrays["a"], long)
    np.testing.assert_array_equal(arrays["b"], [1, 2])


def test_a_fortran_ordered_array_in_a_pickle_keeps_its_values(write: Callable[..., Path]) -> None:
    array = np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3))
    for protocol in (2, 4, 5):
        np.testing.assert_array_equal(read_all(write(pickle.dumps({"w": array}, protocol)))["w"], array)


def test_a_large_array_that_protocol_2_wrote_as_text_is_read(write: Callable[..., Path]) -> None:
    array = np.random.default_rng(0).standard_normal((1500, 1500)).astype(np.float32)
    np.testing.assert_array_equal(read_all(write(pickle.dumps({"w": array}, 2)))["w"], array)


def array_as_text(text: str) -> bytes:
    """2,000 bytes of an array as protocol 2 writes them, whatever `text` is."""
    utf8 = text.encode()
    data = b"c_codecs\nencode\nX" + struct.pack("<I", len(utf8)) + utf8 + b"X\6\0\0\0latin1\x86R"
    return array_of_shape(b"M\xf4\x01\x85", data)


def test_text_in_place_of_an_array_s_bytes_is_refused(write: Callable[..., Path]) -> None:
    assert read_all(write(array_as_text("\xe9" * 2000)))["w"].tobytes() == b"\xe9" * 2000
    assert "text that is not bytes" in refusal(write(array_as_text("\u0100" + "x" * 1999)))


def test_data_that_cannot_be_as_long_as_the_shape_says_are_refused_at_opening(write: Callable[..., Path]) -> None:
    for data in (array_as_text("x" * 1999), array_of_shape(b"K\x02\x85", b"C\x04abcd")):
        with pytest.raises(WeightsError, match="whose data are not of"):
            open_weights(write(data))


@pytest.mark.parametrize("value", [np.ones(2, np.complex64), np.array([{}], object), np.zeros(2, "f4,i4")])
def test_arrays_that_are_no_weights_are_refused_in_a_pickle(write: Callable[..., Path], value: np.ndarray) -> None:
    assert "weights are real numbers" in refusal(write(pickle.dumps({"w": value})))


def test_bytes_behind_a_pickle_are_refused(write: Callable[..., Path]) -> None:
    assert "3 bytes follow the end of its pickle" in refusal(write(pickle.dumps(W) + b"abc"))


def test_paddle_s_own_eval_is_data_and_every_other_is_refused(write: Callable[..., Path]) -> None:
    array = np.ones(3, np.float32)
    assert list(read_all(write(pickle.dumps({"w": Calls(eval, "data", {"data": array})})))) == ["w"]
    for arguments in (("data.x", {"data": array}), ("data", {"data": array, "x": 1}), ("data", {"data": 1}), ("1",)):
        assert "refuses to run `builtins.eval`" in refusal(write(pickle.dumps({"w": Calls(eval, *arguments)})))


def test_a_pickle_that_names_a_tensor_twice_is_refused(write: Callable[..., Path]) -> None:
    assert "names 'w' twice" in refusal(write(b"\x80\x02}(X\1\0\0\0wNX\1\0\0\0wNu."))
