"""Copies, pickles and state dicts hold everything, train on their own, and leave the original alone."""

import copy
import pickle

import numpy as np
import paddle
import pytest
from conftest import TINY, difference, refused

import vitlib


class Subclass(vitlib.VisionTransformer):
    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.register_buffer("centre", paddle.to_tensor([1.0, 2.0]))
        self.register_buffer("scratch", paddle.to_tensor([3, 4]), persistable=False)
        self.note = {"made": "here"}


def by_pickle(model):
    return pickle.loads(pickle.dumps(model))


COPIES = pytest.mark.parametrize("duplicate", [copy.deepcopy, by_pickle], ids=["deepcopy", "pickle"])
CLASSES = pytest.mark.parametrize("cls", [vitlib.VisionTransformer, vitlib.DeiT, Subclass])


def numbers(model):
    return {name: p.numpy() for name, p in model.state_dict().items()}


@COPIES
@CLASSES
def test_a_copy_computes_the_same_and_has_its_own_parameters(tiny, images, cls, duplicate):
    model = tiny(cls)
    twin = duplicate(model)
    assert type(twin) is cls
    assert difference(twin(images()), model(images())) == 0
    assert list(twin.state_dict()) == list(model.state_dict())
    assert twin.config == model.config
    assert not {id(p) for p in twin.parameters()} & {id(p) for p in model.parameters()}
    assert not {p.name for p in twin.parameters()} & {p.name for p in model.parameters()}
    assert not twin.training


@COPIES
@CLASSES
def test_every_parameter_of_a_copy_trains_and_the_original_stays(tiny, images, cls, duplicate):
    model = tiny(cls)
    twin = duplicate(model)
    twin.train()
    before = numbers(model)
    start = numbers(twin)
    optimizer = paddle.optimizer.SGD(0.1, parameters=twin.parameters())
    outputs = twin(images())
    sum((head**2).sum() for head in (outputs if isinstance(outputs, tuple) else [outputs])).backward()
    optimizer.step()
    parameters = dict(twin.named_parameters())
    for name, array in numbers(twin).items():
        assert (np.abs(array - start[name]).max() > 0) == (name in parameters), name
    assert all((array == before[name]).all() for name, array in numbers(model).items())
    assert all(p.grad is None for p in model.parameters())


@COPIES
def test_frozen_parameters_stay_frozen(tiny, duplicate):
    model = tiny(pos_embed="sincos2d")
    model.freeze(blocks=2)
    twin = duplicate(model)
    originals = dict(model.named_parameters())
    for name, parameter in twin.named_parameters():
        assert parameter.trainable == originals[name].trainable, name
        assert parameter.stop_gradient == originals[name].stop_gradient, name
    assert not twin.pos_embed.trainable
    assert twin.head.weight.trainable


@COPIES
def test_tied_parameters_stay_tied(tiny, images, duplicate):
    model = tiny(vitlib.DeiT)
    model.head_dist.weight = model.head.weight
    model.blocks[2].mlp = model.blocks[0].mlp
    twin = duplicate(model)
    assert twin.head_dist.weight is twin.head.weight
    assert twin.blocks[2].mlp is twin.blocks[0].mlp
    assert len(twin.parameters()) == len(model.parameters())
    assert difference(twin(images()), model(images())) == 0


@COPIES
def test_buffers_and_attributes_come_along(tiny, duplicate):
    model = tiny(Subclass)
    twin = duplicate(model)
    assert twin.centre.numpy().tolist() == [1, 2]
    assert (twin.scratch.numpy().tolist(), twin.scratch.dtype) == ([3, 4], paddle.int64)
    assert "centre" in twin.state_dict()
    assert "scratch" not in twin.state_dict()
    twin.centre.set_value(np.zeros(2, "float32"))
    twin.note["made"] = "there"
    assert model.centre.numpy().tolist() == [1, 2]
    assert model.note == {"made": "here"}


@COPIES
def test_what_a_user_set_on_a_parameter_comes_along(tiny, duplicate):
    """Layer-wise learning rates, regularisers and exemption from clipping are attributes of Paddle's parameters."""
    model = tiny()
    model.pos_embed.optimize_attr["learning_rate"] = 0.1
    model.cls_token.need_clip = False
    model.head.weight.regularizer = paddle.regularizer.L2Decay(0.5)
    twin = duplicate(model)
    assert twin.pos_embed.optimize_attr["learning_rate"] == 0.1
    assert twin.head.weight.optimize_attr["learning_rate"] == 1.0
    assert not twin.cls_token.need_clip
    assert twin.pos_embed.need_clip
    assert isinstance(twin.head.weight.regularizer, paddle.regularizer.L2Decay)


@COPIES
def test_a_copy_can_change_its_size_and_head(tiny, images, duplicate):
    model = tiny()
    twin = duplicate(model)
    twin.set_image_size(48)
    twin.reset_head(3)
    assert list(twin(images(48, 48)).shape) == [2, 3]
    assert list(model(images()).shape) == [2, 7]


@COPIES
@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "float16"])
def test_precision_is_kept(tiny, duplicate, dtype):
    model = tiny()
    model.to(dtype=dtype)
    for name, parameter in duplicate(model).named_parameters():
        assert str(parameter.dtype) == f"paddle.{dtype}", name
        same = parameter.astype("float32").numpy() == dict(model.named_parameters())[name].astype("float32").numpy()
        assert same.all(), name


@pytest.mark.parametrize("cls", [vitlib.VisionTransformer, vitlib.DeiT])
def test_an_unfilled_model_cannot_be_pickled_and_says_so(cls):
    with paddle.LazyGuard():
        model = cls(**TINY)
    with refused(pickle.PicklingError, "no values yet", "load or initialise the model first"):
        pickle.dumps(model)


def test_a_deep_copy_of_an_unfilled_model_is_unfilled_and_can_be_filled_alone(images):
    with paddle.LazyGuard():
        model = vitlib.DeiT(**TINY)
    twin = copy.deepcopy(model)
    with refused(RuntimeError, "no values yet"):
        twin(images())
    for parameter in twin.parameters():
        parameter.initialize()
    twin.eval()
    assert list(twin(images()).shape) == [2, 7]
    assert not any(p._is_initialized() for p in model.parameters())


@COPIES
def test_the_mode_of_each_layer_comes_along(tiny, duplicate):
    model = tiny()
    model.train()
    model.blocks[1].eval()
    twin = duplicate(model)
    assert [layer.training for layer in twin.sublayers(True)] == [layer.training for layer in model.sublayers(True)]


@CLASSES
def test_a_state_dict_fills_another_model(tiny, images, cls):
    model = tiny(cls)
    other = cls(**TINY)
    other.eval()
    assert difference(other(images()), model(images())) > 1e-2
    missing, unexpected = other.set_state_dict(model.state_dict())
    assert (list(missing), list(unexpected)) == ([], [])
    assert difference(other(images()), model(images())) == 0


def test_a_state_dict_survives_a_file(tiny, images, tmp_path):
    model = tiny(vitlib.DeiT)
    path = str(tmp_path / "model.pdparams")
    paddle.save(model.state_dict(), path)
    other = vitlib.DeiT(**TINY)
    other.eval()
    other.set_state_dict(paddle.load(path))
    assert difference(other(images()), model(images())) == 0


def test_a_copy_inside_a_larger_layer_is_a_copy(tiny, images):
    model = paddle.nn.Sequential(tiny(), paddle.nn.Linear(7, 2))
    twin = copy.deepcopy(model)
    assert difference(twin(images()), model(images())) == 0
    assert not {id(p) for p in twin.parameters()} & {id(p) for p in model.parameters()}
