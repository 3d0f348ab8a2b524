"""A written model is compared with the model, and differences of any kind are told."""

from dataclasses import replace

import numpy as np
import paddle
import pytest
from conftest import refused
from families import close, eager

import vitlib
from vitlib.deploy import ExportError, read_exported
from vitlib.deploy.engines import open_engine
from vitlib.deploy.graph import Output
from vitlib.deploy.verify import largest_deviation


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("options", [{"global_pool": "map"}, {"pos_embed": "rotary"}, {"conv_stem": (6, 8, 10)}])
def test_weights_in_half_precision_are_exported_as_the_numbers_they_are(precision, options, tiny, images, tmp_path):
    model, rounded, x = tiny(**options), tiny(**options), images()
    for p in rounded.parameters():
        p.set_value(p.astype(precision).astype("float32"))
    model.to(dtype=precision)
    vitlib.export(model, tmp_path, "paddle")
    with vitlib.Predictor(tmp_path, precision="float32") as predictor:
        close(predictor.run(x), eager(rounded, x))
    assert str(model.head.weight.dtype).endswith(precision)


@pytest.fixture
def written(tiny, tmp_path):
    """A model, an export of it, and the engine that runs it."""
    model = tiny()
    vitlib.export(model, tmp_path, "paddle", verify=False)
    engine = open_engine("paddle", read_exported(tmp_path), "float32", 1)
    yield model, read_exported(tmp_path), engine
    engine.close()


def test_a_shape_that_the_export_does_not_say_is_told(written):
    model, exported, engine = written
    assert largest_deviation(engine, model, exported) < 1e-5
    for shape in ((None, 9), (None,), (None, 1, 7)):
        wrong = replace(exported, outputs={"logits": Output("0", shape)})
        with refused(ExportError, "[2, 7]", str(list(shape)), "verify=False"):
            largest_deviation(engine, model, wrong)


def test_an_engine_whose_output_would_broadcast_is_told(written, monkeypatch):
    model, exported, engine = written
    same = np.zeros((2, 1), np.float32)
    monkeypatch.setattr(engine, "run", lambda images: {"logits": same})
    model.head.weight.set_value(paddle.zeros_like(model.head.weight))
    model.head.bias.set_value(paddle.zeros_like(model.head.bias))  # all logits 0, as the engine's one
    with refused(ExportError, "[2, 1]", "[2, 7]"):
        largest_deviation(engine, model, exported)
