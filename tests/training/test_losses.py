"""Losses equal numbers computed by hand, timm's losses and the original code of DeiT.

references/losses.npz is written by make_references.py, in float64.
"""

import math
import pathlib

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from conftest import difference, refused

import vitlib
from vitlib.training import BinaryCrossEntropy, DistillationLoss, SoftTargetCrossEntropy

REFERENCES = np.load(pathlib.Path(__file__).parent / "references" / "losses.npz")


def tensor(name, trained=False):
    value = paddle.to_tensor(REFERENCES[name])
    value.stop_gradient = not trained
    return value


CASES = {
    "soft_target": lambda x, y: SoftTargetCrossEntropy()(x, tensor("soft")),
    "label_smoothing": lambda x, y: SoftTargetCrossEntropy(0.1)(x, tensor("labels")),
    "soft_and_smoothing": lambda x, y: SoftTargetCrossEntropy(0.1)(x, tensor("soft")),
    "bce": lambda x, y: BinaryCrossEntropy()(x, tensor("labels")),
    "bce_sum": lambda x, y: BinaryCrossEntropy(sum_classes=True)(x, tensor("labels")),
    "bce_soft": lambda x, y: BinaryCrossEntropy()(x, tensor("soft")),
    "bce_threshold": lambda x, y: BinaryCrossEntropy(threshold=0.0)(x, tensor("soft")),
}


def distillation(kind, alpha, temperature, targets):
    loss = DistillationLoss(
        kind,
        alpha=float(alpha),
        temperature=float(temperature),
        reduction="original",
        label_smoothing=0.1 if targets == "labels" else 0.0,
    )
    return lambda x, y: loss((x, y), tensor(targets), tensor("teacher_logits", trained=True))


for key in REFERENCES.files:
    if key.startswith("loss:") and key[5:] not in CASES:
        CASES[key[5:]] = distillation(*key[5:].split("_"))


@pytest.mark.parametrize("name", list(CASES))
def test_losses_and_their_gradients_equal_the_originals(name):
    heads = [tensor(head, trained=True) for head in ("logits", "distillation_logits")]
    loss = CASES[name](*heads)
    loss.backward()
    assert abs(float(loss) - float(REFERENCES[f"loss:{name}"])) < 1e-6
    for key, head in zip(("grad", "grad_dist"), heads, strict=True):
        if f"{key}:{name}" in REFERENCES.files:
            assert np.abs(head.grad.numpy() - REFERENCES[f"{key}:{name}"]).max() < 1e-6
        else:
            assert head.grad is None, "the original gives this head no gradient"


def test_cross_entropy_of_uniform_logits_is_the_logarithm_of_the_number_of_classes():
    logits = paddle.zeros([3, 7])
    for smoothing in (0.0, 0.1):
        assert float(SoftTargetCrossEntropy(smoothing)(logits, paddle.to_tensor([0, 3, 6]))) == pytest.approx(
            math.log(7)
        )
    # a sigmoid at 0 costs log 2, whatever its target
    assert float(BinaryCrossEntropy()(logits, paddle.to_tensor([0, 3, 6]))) == pytest.approx(math.log(2))


def test_soft_distillation_by_hand():
    """p = (3/4, 1/4) against q = (1/2, 1/2): KL = 3/4 ln 3 - ln 2 = 0.13081; temperature 2 undoes doubled logits."""
    teacher = paddle.to_tensor([[math.log(3.0), 0.0]])
    student, labels = paddle.zeros([1, 2]), paddle.to_tensor([0])
    divergence = 0.75 * math.log(3) - math.log(2)
    loss = DistillationLoss("soft", alpha=1.0, temperature=1.0)
    assert float(loss(student, labels, teacher)) == pytest.approx(divergence, rel=1e-5)
    warm = DistillationLoss("soft", alpha=1.0, temperature=2.0)
    assert float(warm(student, labels, 2 * teacher)) == pytest.approx(4 * divergence, rel=1e-5)
    original = DistillationLoss("soft", alpha=1.0, temperature=2.0, reduction="original")
    assert float(original(student, labels, 2 * teacher)) == pytest.approx(2 * divergence, rel=1e-5)
    mixed = DistillationLoss("soft", alpha=0.25, temperature=1.0)
    assert float(mixed(student, labels, teacher)) == pytest.approx(0.75 * math.log(2) + 0.25 * divergence, rel=1e-5)


def test_soft_distillation_vanishes_only_where_the_student_equals_its_teacher():
    teacher, labels = paddle.randn([4, 6]), paddle.arange(4)
    loss = DistillationLoss("soft", alpha=1.0)
    assert abs(float(loss(teacher + 5.0, labels, teacher))) < 1e-6
    assert float(loss(teacher.flip(0), labels, teacher)) > 1e-2


def test_hard_distillation_is_cross_entropy_with_the_teachers_most_probable_class():
    heads, labels, teacher = (paddle.randn([4, 6]), paddle.randn([4, 6])), paddle.arange(4), paddle.randn([4, 6])
    expected = (F.cross_entropy(heads[0], labels) + F.cross_entropy(heads[1], teacher.argmax(axis=1))) / 2
    assert difference(DistillationLoss()(heads, labels, teacher), expected) < 1e-6
    assert difference(DistillationLoss()(list(heads), labels.unsqueeze(1), teacher), expected) < 1e-6


def test_one_tensor_takes_both_terms():
    logits, labels, teacher = paddle.randn([4, 6]), paddle.arange(4), paddle.randn([4, 6])
    for kind in ("hard", "soft"):
        loss = DistillationLoss(kind)
        assert difference(loss(logits, labels, teacher), loss((logits, logits), labels, teacher)) == 0


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_the_teacher_trains_the_second_head_and_token_and_the_labels_the_first(tiny, images, kind):
    """The heads' gradients are those of the two terms alone, scaled by their shares."""
    model = tiny(vitlib.DeiT)
    model.train()
    labels, teacher = paddle.to_tensor([1, 4]), 2 * paddle.randn([2, 7])
    teacher.stop_gradient = False

    def gradients(alpha, use_kind):
        model.clear_gradients()
        DistillationLoss(use_kind, alpha=alpha)(model(images()), labels, teacher).backward()
        found = (model.head.weight, model.head_dist.weight, model.dist_token)
        return [paddle.zeros_like(p) if p.grad is None else p.grad.clone() for p in found]

    both, base, term = gradients(0.25, kind), gradients(0.0, "none"), gradients(1.0, kind)
    assert difference(both[0], 0.75 * base[0]) < 1e-6
    assert difference(both[1], 0.25 * term[1]) < 1e-6
    assert float(base[1].abs().max()) == 0
    assert float(term[0].abs().max()) == 0
    assert min(float(g.abs().max()) for g in (both[0], both[1], term[2])) > 1e-4
    assert teacher.grad is None


def test_deit_with_distillation_trains_through_paddles_high_level_fit(tiny):
    model = tiny(vitlib.DeiT)
    before = {name: p.numpy() for name, p in model.named_parameters()}
    data = paddle.io.TensorDataset([paddle.randn([4, 3, 32, 32]), paddle.arange(4), paddle.randn([4, 7])])
    loss = DistillationLoss("soft", alpha=0.5)
    high = paddle.Model(model, inputs=[paddle.static.InputSpec([None, 3, 32, 32], "float32", "x")])
    high.prepare(paddle.optimizer.AdamW(1e-3, parameters=model.parameters()), loss.for_model_fit)
    first = high.evaluate(data, batch_size=4, verbose=0)["loss"][0]
    high.fit(data, batch_size=4, epochs=5, verbose=0)
    assert high.evaluate(data, batch_size=4, verbose=0)["loss"][0] < first
    for name in ("head.weight", "head_dist.weight", "dist_token"):
        assert np.abs(dict(model.named_parameters())[name].numpy() - before[name]).max() > 1e-4, name


def test_fit_without_a_teacher_passes_no_teacher_logits():
    heads, labels = (paddle.randn([4, 6]), paddle.randn([4, 6])), paddle.arange(4)
    loss = DistillationLoss("none")
    assert difference(loss.for_model_fit(*heads, labels), F.cross_entropy(heads[0], labels)) < 1e-6
    assert difference(loss.for_model_fit(heads[0], labels), F.cross_entropy(heads[0], labels)) < 1e-6
    with refused(TypeError, "4 tensors", "labels"):
        loss.for_model_fit(*heads, labels, heads[0])


def test_another_base_loss_is_used():
    heads, soft, teacher = (
        (paddle.randn([4, 6]), paddle.randn([4, 6])),
        F.softmax(paddle.randn([4, 6])),
        paddle.eye(4, 6),
    )
    base = BinaryCrossEntropy(threshold=0.2)
    expected = 0.5 * base(heads[0], soft) + 0.5 * F.cross_entropy(heads[1], paddle.arange(4))
    assert difference(DistillationLoss(base=base)(heads, soft, teacher), expected) < 1e-6


def test_half_precision_logits_are_computed_in_single_precision():
    logits, labels = paddle.randn([4, 6]), paddle.arange(4)
    for dtype in ("float16", "bfloat16"):
        half = logits.astype(dtype)
        for loss in (SoftTargetCrossEntropy(), BinaryCrossEntropy()):
            assert loss(half, labels).dtype == paddle.float32
            assert difference(loss(half, labels), loss(half.astype("float32"), labels)) == 0
        hard = DistillationLoss()(half, labels, half)
        assert difference(hard, DistillationLoss()(half.astype("float32"), labels, half)) == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "Hard"}, ("'Hard'", "'hard'")),
        ({"alpha": 1.5}, ("alpha=1.5", "[0, 1]")),
        ({"alpha": float("nan")}, ("alpha=nan",)),
        ({"temperature": 0}, ("temperature=0", "(0, 1e6]")),
        ({"temperature": float("nan")}, ("temperature=nan",)),
        ({"reduction": "mean"}, ("'mean'", "'batchmean'", "'original'")),
        ({"label_smoothing": -0.1}, ("label_smoothing=-0.1",)),
        ({"label_smoothing": 0.1, "base": SoftTargetCrossEntropy()}, ("base", "label_smoothing=0.1")),
    ],
)
def test_options_that_cannot_work_are_refused(options, words):
    with refused(ValueError, *words):
        DistillationLoss(**options)


def test_tensors_that_do_not_fit_are_refused():
    logits, labels = paddle.randn([4, 6]), paddle.arange(4)
    with refused(ValueError, "[4, 6]", "[4, 1000]", "classes"):
        DistillationLoss()((logits, logits), labels, paddle.randn([4, 1000]))
    with refused(ValueError, "teacher_logits"):
        DistillationLoss()((logits, logits), labels)
    with refused(ValueError, "3 outputs", "distillation_logits"):
        DistillationLoss()((logits, logits, logits), labels, logits)
    for loss in (SoftTargetCrossEntropy(), BinaryCrossEntropy()):
        for shape in ([4, 5], [1, 6], [8, 6], [4], [6]):
            with refused(ValueError, f"soft targets have shape {shape}", "logits [4, 6]"):
                loss(logits, paddle.rand(shape))
        for shape in ([2, 2], [1], [1, 1], [8], [4, 6]):
            with refused(ValueError, f"integer labels have shape {shape}", "logits [4, 6]"):
                loss(logits, paddle.ones(shape, "int64"))


@pytest.mark.skipif(paddle.get_device() != "cpu", reason="on accelerators looking at labels would cost time")
@pytest.mark.parametrize("label", [-1, 6])
def test_class_indices_that_no_class_has_are_refused_on_the_cpu(label):
    for loss in (SoftTargetCrossEntropy(), BinaryCrossEntropy()):
        with refused(ValueError, str(label)):
            loss(paddle.randn([2, 6]), paddle.to_tensor([0, label]))


@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.95])
def test_with_a_threshold_a_class_index_is_its_class_alone(threshold):
    logits, labels = paddle.randn([4, 6]), paddle.arange(4)
    expected = F.binary_cross_entropy_with_logits(logits, paddle.eye(4, 6))
    assert difference(BinaryCrossEntropy(0.1, threshold=threshold)(logits, labels), expected) < 1e-6
