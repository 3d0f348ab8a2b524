"""`paddle.Model` trains the models without being told their inputs, and losses on one output are refused for a DeiT."""

import paddle
import pytest
from conftest import difference, refused
from paddle import nn
from paddle.static import InputSpec

import vitlib

BOTH = pytest.mark.parametrize("cls", [vitlib.VisionTransformer, vitlib.DeiT])


class EveryHead(nn.Layer):
    def forward(self, *outputs_and_labels):
        *outputs, labels = outputs_and_labels
        return sum(nn.functional.cross_entropy(logits, labels) for logits in outputs)


def data(*targets):
    paddle.seed(0)
    return paddle.io.TensorDataset([paddle.randn([4, 3, 32, 32]), paddle.arange(4), *targets])


def prepared(network, loss, **options):
    model = paddle.Model(network, **options)
    model.prepare(paddle.optimizer.SGD(0.1, parameters=network.parameters()), loss)
    return model


@BOTH
@pytest.mark.parametrize("told", [False, True])
def test_fit_evaluate_and_predict_work_with_and_without_inputs(tiny, cls, told):
    network = tiny(cls)
    options = {"inputs": [InputSpec([None, 3, 32, 32], "float32", "x")]} if told else {}
    model = prepared(network, EveryHead(), **options)
    before = network.head.weight.clone()
    model.fit(data(), batch_size=2, epochs=1, verbose=0)
    assert difference(network.head.weight, before) > 0
    assert model.evaluate(data(), batch_size=2, verbose=0)["loss"]
    (logits,) = model.predict(data(), batch_size=2, verbose=0, stack_outputs=True)
    assert logits.shape == (4, 7)


@BOTH
def test_a_fitted_model_is_saved_for_inference(tiny, cls, tmp_path):
    network = tiny(cls)
    model = prepared(network, EveryHead())
    model.fit(data(), batch_size=2, epochs=1, verbose=0)
    network.eval()
    model.save(str(tmp_path / "model"), training=False)
    loaded = paddle.jit.load(str(tmp_path / "model"))
    x = data().tensors[0]
    assert difference(loaded(x), network(x)) < 1e-5


def test_masks_are_given_by_position_and_by_name_and_traced(tiny, images, tmp_path):
    model = tiny()
    mask = paddle.tril(paddle.ones([17, 17], "bool"))
    expected = model(images(), mask=mask)
    assert difference(model(images(), mask), expected) == 0
    assert difference(model(images()), expected) > 1e-2
    spec = [InputSpec([None, 3, 32, 32], "float32", "x"), InputSpec([17, 17], "bool", "mask")]
    paddle.jit.save(model, str(tmp_path / "masked"), input_spec=spec)
    assert difference(paddle.jit.load(str(tmp_path / "masked"))(images(), mask), expected) < 1e-5
    # the default tracer of Paddle 3.3 ends the process here on Python 3.13, with a mask by keyword in a block
    traced = paddle.jit.to_static(tiny(), full_graph=True)
    assert difference(traced(images(), mask), expected) < 1e-5


def soft_margin(logits, labels):
    return nn.functional.cross_entropy(logits, labels)


@pytest.mark.parametrize(
    "loss", [nn.CrossEntropyLoss(), nn.functional.cross_entropy, soft_margin], ids=["layer", "function", "own"]
)
def test_a_loss_on_one_output_is_refused_for_a_deit_with_the_two_ways_out(tiny, loss):
    model = prepared(tiny(vitlib.DeiT), loss)
    with refused(TypeError, "two", "(logits, distillation_logits)", "DistillationLoss", "deit_tiny_patch16_224"):
        model.fit(data(), batch_size=2, epochs=1, verbose=0)
    prepared(tiny(), loss).fit(data(), batch_size=2, epochs=1, verbose=0)


def test_a_metric_that_would_compare_the_two_heads_is_refused(tiny):
    network = tiny(vitlib.DeiT)
    model = paddle.Model(network)
    model.prepare(paddle.optimizer.SGD(0.1, parameters=network.parameters()), EveryHead(), paddle.metric.Accuracy())
    with refused(TypeError, "Accuracy", "two outputs"):
        model.fit(data(), batch_size=2, epochs=1, verbose=0)


def test_the_distillation_loss_trains_a_deit(tiny):
    network = tiny(vitlib.DeiT)
    model = prepared(network, vitlib.DistillationLoss().for_model_fit)
    before = network.head_dist.weight.clone()
    model.fit(data(paddle.randn([4, 7])), batch_size=2, epochs=1, verbose=0)
    assert difference(network.head_dist.weight, before) > 0


def test_the_pair_of_a_deit_in_a_usual_loop_says_what_it_is(tiny, images):
    model = tiny(vitlib.DeiT)
    model.train()
    outputs = model(images())
    labels = paddle.to_tensor([0, 1])
    for use in (
        lambda: nn.CrossEntropyLoss()(outputs, labels),
        lambda: nn.functional.cross_entropy(outputs, labels),
        lambda: outputs.argmax(axis=-1),
        lambda: outputs.softmax(),
        lambda: outputs.shape,
    ):
        with refused(AttributeError, "DeiTLogits", "DistillationLoss", "deit_tiny_patch16_224", "eval()"):
            use()
    logits, distillation_logits = outputs
    assert difference(logits, outputs.logits) == difference(distillation_logits, outputs[1]) == 0
    assert outputs._replace(logits=labels).logits is labels
