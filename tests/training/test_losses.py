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
from vitlib.images import Mixup
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


def test_standardized_soft_distillation_by_hand():
    """Logits (a, -a) have the standard deviation a · sqrt(2), so they become (1, -1) / sqrt(2), whatever a > 0."""
    student, teacher = paddle.to_tensor([[-5.0, 5.0]]), paddle.to_tensor([[0.2, -0.2]])
    loss = DistillationLoss("soft", alpha=1.0, temperature=2.0, standardize=True)
    assert "standardize=True" in repr(loss)
    p = 1 / (1 + math.exp(-math.sqrt(2) / 2))  # of the teacher's first class, a difference of sqrt(2) at temperature 2
    divergence = p * math.log(p / (1 - p)) + (1 - p) * math.log((1 - p) / p)
    assert float(loss(student, paddle.to_tensor([0]), teacher)) == pytest.approx(4 * divergence, rel=1e-5)
    assert abs(float(loss(-student, paddle.to_tensor([0]), teacher))) < 1e-6


def test_standardized_soft_distillation_does_not_change_with_shift_and_scale_of_either():
    student, teacher, labels = paddle.randn([4, 6]), paddle.randn([4, 6]), paddle.arange(4)
    loss = DistillationLoss("soft", alpha=1.0, standardize=True)
    expected = float(loss(student, labels, teacher))
    assert expected > 1e-3
    assert float(loss(3 * student + 1, labels, 0.5 * teacher - 2)) == pytest.approx(expected, rel=1e-4)
    plain = DistillationLoss("soft", alpha=1.0)
    scaled = [(x - x.mean(-1, keepdim=True)) / x.std(-1, keepdim=True) for x in (student, teacher)]
    assert float(plain(scaled[0], labels, scaled[1])) == pytest.approx(expected, rel=1e-4)


def test_a_head_of_zeros_has_a_finite_gradient_in_standardized_distillation():
    student = paddle.zeros([2, 4])
    student.stop_gradient = False
    DistillationLoss("soft", alpha=1.0, standardize=True)(student, paddle.arange(2), paddle.randn([2, 4])).backward()
    assert 0 < float(student.grad.abs().max()) < 100


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
        ({"standardize": True}, ("standardize", "kind='hard'")),
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
        for shape in ([2, 2], [1], [1, 1], [8], [4, 5]):
            with refused(ValueError, f"integer labels have shape {shape}", "logits [4, 6]"):
                loss(logits, paddle.ones(shape, "int64"))


@pytest.mark.skipif(paddle.get_device() != "cpu", reason="on accelerators looking at labels would cost time")
@pytest.mark.parametrize("label", [-1, 6])
def test_class_indices_that_no_class_has_are_refused_on_the_cpu(label):
    low, high = min(0, label), max(0, label)
    for loss in (SoftTargetCrossEntropy(), BinaryCrossEntropy(), DistillationLoss("none")):
        with refused(ValueError, f"labels from {low} to {high}", "expected 0 to 5 for num_classes=6"):
            loss(paddle.randn([2, 6]), paddle.to_tensor([0, label]))


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "int64", "bool"])
@pytest.mark.parametrize("array", [np.array, paddle.to_tensor])
def test_class_indices_may_be_integers_of_any_size_or_booleans_and_arrays(dtype, array):
    logits, labels = paddle.randn([3, 4]), np.array([0, 1, 1])
    for loss in (SoftTargetCrossEntropy(0.1), BinaryCrossEntropy(0.1)):
        expected = loss(logits, paddle.to_tensor(labels))
        assert difference(loss(logits, array(labels.astype(dtype))), expected) == 0
        assert difference(loss(logits, array(labels.astype(dtype)[:, None])), expected) == 0


def test_targets_of_mixup_are_taken_as_the_arrays_that_it_gives():
    _, targets = Mixup(6)(np.zeros((4, 3, 8, 8), "float32"), np.arange(4), np.random.default_rng(0))
    logits, teacher = paddle.randn([4, 6]), paddle.randn([4, 6])
    for loss in (SoftTargetCrossEntropy(), BinaryCrossEntropy()):
        assert difference(loss(logits, targets), loss(logits, paddle.to_tensor(targets))) == 0
    expected = DistillationLoss()(logits, paddle.to_tensor(targets), teacher)
    assert difference(DistillationLoss()(logits, targets, teacher), expected) == 0


@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool"])
def test_several_classes_are_present_for_sigmoids_and_refused_for_a_softmax(dtype):
    logits, several = paddle.randn([2, 4]), np.array([[1, 0, 1, 0], [0, 0, 0, 1]])
    expected = F.binary_cross_entropy_with_logits(logits, paddle.to_tensor(several, dtype="float32"))
    assert difference(BinaryCrossEntropy(0.1)(logits, paddle.to_tensor(several.astype(dtype))), expected) < 1e-6
    with refused(ValueError, "[2, 4]", dtype, "from 1 to 2 of 4 classes", "BinaryCrossEntropy"):
        SoftTargetCrossEntropy()(logits, paddle.to_tensor(several.astype(dtype)))
    one = paddle.to_tensor(np.eye(4)[[2, 0]].astype(dtype))
    assert difference(SoftTargetCrossEntropy()(logits, one), F.cross_entropy(logits, paddle.to_tensor([2, 0]))) < 1e-6


def test_labels_per_class_are_0_or_1():
    with refused(ValueError, "between 0 and 2", "0 and 1 for each class"):
        BinaryCrossEntropy()(paddle.randn([1, 3]), paddle.to_tensor([[2, 0, 1]]))
    with refused(ValueError, "between -1 and 2", "0 and 1 for each class"):
        SoftTargetCrossEntropy()(paddle.randn([1, 3]), paddle.to_tensor([[2, 0, -1]]))


@pytest.mark.parametrize("shape", [[4], [4, 1]])
@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool", "float32"])
def test_one_logit_is_trained_towards_its_targets_of_0_and_1(shape, dtype):
    targets = np.array([0, 0, 1, 0])
    logits = paddle.zeros([4, 1])
    logits.stop_gradient = False
    loss = BinaryCrossEntropy(0.0)(logits, paddle.to_tensor(targets.reshape(shape).astype(dtype)))
    loss.backward()
    assert float(loss) == pytest.approx(math.log(2))
    assert np.abs(logits.grad.numpy()[:, 0] - (0.5 - targets) / 4).max() < 1e-7  # of log(1 + exp(x)) - t x at 0
    if dtype != "float32":
        smoothed = BinaryCrossEntropy(0.1)(paddle.full([4, 1], 3.0), paddle.to_tensor(targets.astype(dtype)))
        expected = np.log1p(np.exp(3)) - 3 * (0.9 * targets + 0.05).mean()
        assert float(smoothed) == pytest.approx(expected, rel=1e-6)


def test_the_gradient_of_a_sigmoid_is_right_where_logits_are_zero_and_large():
    for value in (0.0, 50.0, -50.0):
        logits, targets = paddle.full([2, 3], value), paddle.eye(2, 3)
        logits.stop_gradient = False
        BinaryCrossEntropy(sum_classes=True)(logits, targets).backward()
        expected = (1 / (1 + math.exp(-value)) - np.eye(2, 3)) / 2
        assert np.abs(logits.grad.numpy() - expected).max() < 1e-7


def test_what_one_logit_cannot_learn_is_refused():
    logits = paddle.zeros([2, 1])
    for labels in (paddle.to_tensor([0, 0]), paddle.zeros([2, 1])):
        with refused(ValueError, "over one class", "BinaryCrossEntropy", "num_classes=2"):
            SoftTargetCrossEntropy()(logits, labels)
    with refused(ValueError, "labels from 0 to 2", "expected 0 to 1 for a single logit"):
        BinaryCrossEntropy()(logits, paddle.to_tensor([0, 2]))
    with refused(ValueError, "one class alone"):
        DistillationLoss(base=BinaryCrossEntropy())(logits, paddle.to_tensor([0, 1]), logits)


@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.95])
def test_with_a_threshold_a_class_index_is_its_class_alone(threshold):
    logits, labels = paddle.randn([4, 6]), paddle.arange(4)
    expected = F.binary_cross_entropy_with_logits(logits, paddle.eye(4, 6))
    assert difference(BinaryCrossEntropy(0.1, threshold=threshold)(logits, labels), expected) < 1e-6


def test_class_weights_multiply_the_term_of_each_class():
    rng = np.random.default_rng(0)
    logits, weights = rng.normal(size=(6, 3)).astype("float32"), [0.5, 2.0, 3.0]
    x, classes = paddle.to_tensor(logits), np.array([0, 1, 2, 2, 1, 0])
    log_softmax = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    targets = 0.9 * np.eye(3)[classes] + 0.1 / 3
    expected = -(np.array(weights) * targets * log_softmax).sum(1).mean()
    assert float(SoftTargetCrossEntropy(0.1, weights)(x, classes)) == pytest.approx(expected, rel=1e-6)

    several = rng.random((6, 3)) < 0.5
    probabilities = 1 / (1 + np.exp(-logits))
    terms = -np.log(np.where(several, probabilities, 1 - probabilities))
    expected = (np.array(weights) * terms).mean()
    found = BinaryCrossEntropy(0.0, class_weights=weights)(x, paddle.to_tensor(several.astype("float32")))
    assert float(found) == pytest.approx(expected, rel=1e-6)


def test_class_weights_of_a_half_are_half_the_loss_and_wrong_ones_are_refused():
    x = paddle.to_tensor([[1.0, 2.0], [0.5, -1.0]])
    whole = float(SoftTargetCrossEntropy()(x, np.array([0, 1])))
    assert float(SoftTargetCrossEntropy(class_weights=[0.5, 0.5])(x, np.array([0, 1]))) == pytest.approx(whole / 2)
    with refused(ValueError, "class_weights has 3 numbers for 2 classes"):
        SoftTargetCrossEntropy(class_weights=[1, 1, 1])(x, np.array([0, 1]))
    with refused(ValueError, "class_weights=0"):
        BinaryCrossEntropy(class_weights=[1, 0])
