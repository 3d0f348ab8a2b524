"""A head that was put in by hand is used as it is, or refused with the name of reset_head."""

import paddle
import pytest
from conftest import TINY, refused
from families import close, computed, eager
from paddle import nn

import vitlib
from vitlib.deploy import describe

D = TINY["embed_dim"]


class Cosine(nn.Layer):
    """Nobody knows its operations."""

    def __init__(self):
        super().__init__()
        self.weight = self.create_parameter([D, 4])

    def forward(self, x):
        return nn.functional.normalize(x) @ nn.functional.normalize(self.weight, axis=0)


HEADS = {
    "Linear": lambda: nn.Linear(D, 4),
    "Sequential": lambda: nn.Sequential(nn.Linear(D, 9), nn.GELU(), nn.Linear(9, 4)),
    "unknown": Cosine,
}
EVERY_HEAD = pytest.mark.parametrize("head", HEADS)


def with_heads(tiny, cls, head):
    """A model of 7 classes, with heads of 4."""
    model = tiny(cls)
    for name in ("head", "head_dist"):
        if hasattr(model, name):
            setattr(model, name, HEADS[head]())
    model.eval()
    return model


@pytest.mark.filterwarnings("ignore:the multiply-accumulates of head")
@EVERY_HEAD
@pytest.mark.parametrize("cls", [vitlib.VisionTransformer, vitlib.DeiT])
def test_a_head_of_another_number_of_classes_is_refused_and_reset_head_named(head, cls, tiny, images, tmp_path):
    model, x = with_heads(tiny, cls, head), images()
    calls = [
        *(lambda format=format: vitlib.export(model, tmp_path, format) for format in ("paddle", "onnx", "openvino")),
        lambda: vitlib.Predictor(model, "paddle"),
        lambda: vitlib.predict(model, x),
        lambda: vitlib.relevance(model, x),
    ]
    for call in calls:
        with refused(ValueError, "is 4", "num_classes=7", "model.reset_head(4)", "config.replace(num_classes=4)"):
            call()
    assert list(tmp_path.iterdir()) == []
    assert vitlib.count(model).parameters == sum(parameter.size for parameter in model.parameters())


@pytest.mark.parametrize("head", ["Linear", "Sequential"])
@pytest.mark.parametrize("cls", [vitlib.VisionTransformer, vitlib.DeiT])
def test_a_head_whose_classes_the_config_was_told_is_used(head, cls, tiny, images):
    model, x = with_heads(tiny, cls, head), images()
    model.config = model.config.replace(num_classes=4)
    graph = describe(model)
    assert graph.outputs["logits"].shape == (None, 4)
    close(computed(graph, x), eager(model, x))
    classes = [prediction.index for prediction in vitlib.predict(model, x)[0]]
    assert sorted(classes) == [0, 1, 2, 3]
    assert classes[0] == eager(model, x)[0].argmax()


def test_a_linear_head_whose_classes_the_config_was_told_is_saved(tiny, images, tmp_path):
    model, x = with_heads(tiny, vitlib.VisionTransformer, "Linear"), images()
    with refused(vitlib.WeightsError, "model.reset_head(4)"):
        model.save_pretrained(tmp_path)
    model.config = model.config.replace(num_classes=4)
    model.save_pretrained(tmp_path)
    opened = vitlib.from_pretrained(tmp_path)
    opened.eval()
    close(eager(opened, x), eager(model, x))


def test_a_head_that_is_not_asked_for_may_be_of_any_width(tiny, images):
    model, x = tiny(), images()
    expected = model.forward_head(model.forward_features(x), pre_logits=True).numpy()
    model.head = nn.Identity()
    close(computed(describe(model, "features"), x), expected)
    with refused(ValueError, "is 48", "num_classes=7", "reset_head(0)"):
        describe(model)


def test_a_head_of_a_model_without_classes_is_refused(tiny):
    model = tiny(num_classes=0)
    model.head = nn.Linear(D, D)
    with refused(ValueError, "num_classes=0", "reset_head(48)"):
        describe(model, "features")


@pytest.mark.parametrize("width", [1, 4])
def test_two_heads_of_different_widths_have_no_mean(width, tiny, images):
    model = tiny(vitlib.DeiT)
    model.head_dist = nn.Linear(D, width)
    for call in (model, lambda x: vitlib.predict(model, x)):
        with refused(ValueError, "head is 7", f"head_dist {width}", "reset_head(7)"):
            call(images())
    with refused(ValueError, "model.head_dist", f"reset_head({width})"):
        describe(model)
    model.train()
    assert [logits.shape[-1] for logits in tuple(model(images()))] == [7, width]


def test_the_width_of_a_head_in_half_precision_is_known(tiny):
    model = with_heads(tiny, vitlib.VisionTransformer, "Sequential")
    model.to(dtype="bfloat16")
    with refused(ValueError, "is 4", "reset_head(4)"):
        describe(model)
    assert model.head[0].weight.dtype == paddle.bfloat16
