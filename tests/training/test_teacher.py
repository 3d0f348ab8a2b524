"""Teachers stay frozen, see images as they were trained to, and can be asked once for a whole data set."""

import numpy as np
import paddle
import pytest
from conftest import difference, refused
from PIL import Image

import vitlib
from vitlib.images import ImageFolder
from vitlib.training import DistillationLoss, EpochSampler, Teacher, TeacherLogits, final_logits


class Convolutional(paddle.nn.Layer):
    """A network with BatchNorm and dropout, which show at once when it is not in evaluation mode."""

    def __init__(self, wrap=lambda logits: logits):
        super().__init__()
        self.layers = paddle.nn.Sequential(
            paddle.nn.Conv2D(3, 8, 3, stride=2), paddle.nn.BatchNorm2D(8), paddle.nn.ReLU(), paddle.nn.Dropout(0.5)
        )
        self.fc = paddle.nn.Linear(8, 7)
        self.wrap = wrap

    def forward(self, x):
        return self.wrap(self.fc(self.layers(x).mean([2, 3])))


def test_a_teacher_has_no_gradient_and_no_state_that_changes(tiny, images):
    model = Convolutional()
    before = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    teacher, student = Teacher(model), tiny(vitlib.DeiT)
    student.train()
    for _ in range(2):
        model.train()
        logits = teacher(images())
        DistillationLoss("soft")(student(images()), paddle.to_tensor([0, 1]), logits).backward()
    assert logits.stop_gradient
    assert difference(logits, teacher(images())) == 0, "dropout is off"
    assert all(p.grad is None for p in model.parameters())
    for name, value in model.state_dict().items():
        assert (value.numpy() == before[name]).all(), name


def test_what_holds_a_teacher_neither_registers_nor_trains_it(images):
    class Holder(paddle.nn.Layer):
        def __init__(self):
            super().__init__()
            self.student = paddle.nn.Linear(2, 2)
            self.teacher = Teacher(Convolutional())

    holder = Holder()
    expected = holder.teacher(images())
    holder.train()
    assert [name for name, _ in holder.named_parameters()] == ["student.weight", "student.bias"]
    assert set(holder.state_dict()) == {"student.weight", "student.bias"}
    assert difference(holder.teacher(images()), expected) == 0


def test_an_image_normalised_for_the_student_reaches_the_teacher_as_its_own_preprocessing_makes_it():
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    student = vitlib.Preprocess(size=32, crop_fraction=1.0)
    theirs = student.replace(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    teacher = Teacher(paddle.nn.Flatten(), theirs, student=student)
    assert difference(teacher(student(image)), theirs(image).flatten(1)) < 1e-5
    assert difference(Teacher(paddle.nn.Flatten(), theirs)(student(image)), student(image).flatten(1)) == 0


def test_the_records_of_models_are_used(tiny, images):
    teacher_model = tiny(img_size=48, preprocess=vitlib.Preprocess(mean=(0.1, 0.2, 0.3), std=(0.2, 0.3, 0.4)))
    student = tiny(vitlib.DeiT)
    teacher = Teacher(teacher_model, student=paddle.DataParallel(student))
    converted = teacher.convert(images())
    assert list(converted.shape) == [2, 3, 48, 48]
    assert list(teacher(images()).shape) == [2, 7]
    grey = paddle.zeros([1, 3, 32, 32])  # 0.5 on the scale of 0 to 1, by the student's mean
    expected = [(0.5 - mean) / std for mean, std in ((0.1, 0.2), (0.2, 0.3), (0.3, 0.4))]
    assert np.abs(teacher.convert(grey).numpy()[0].mean((1, 2)) - expected).max() < 1e-5


def test_two_heads_count_as_their_mean_and_auxiliary_outputs_do_not_count(tiny, images):
    deit = tiny(vitlib.DeiT)
    pair = deit(images(), return_heads=True)
    assert difference(Teacher(deit)(images()), (pair.logits + pair.distillation_logits) / 2) < 1e-6
    both = Convolutional(lambda logits: vitlib.DeiTLogits(logits, logits + 2.0))
    alone = Convolutional(lambda logits: (logits, logits * 0.0))
    for model, shift in ((both, 1.0), (alone, 0.0)):
        found = Teacher(model)(images())
        model.wrap = lambda logits: logits
        assert difference(found, Teacher(model)(images()) + shift) < 1e-5


def test_unknown_normalisation_and_other_channels_are_refused(tiny):
    with refused(ValueError, "Convolutional", "preprocess=vitlib.Preprocess"):
        Teacher(Convolutional(), student=tiny())
    with refused(ValueError, "1 channels", "3"):
        Teacher(tiny(), student=tiny(in_chans=1))


def test_logits_of_a_data_set_are_those_of_the_teacher_by_index(tmp_path, images):
    teacher = Teacher(Convolutional())
    data = paddle.io.TensorDataset([images(batch=5), paddle.arange(5)])
    logits = TeacherLogits.compute(teacher, data, batch_size=2)
    direct = teacher(images(batch=5)).numpy()
    assert len(logits) == 5
    assert np.abs(logits[np.array([4, 0, 3])] - direct[[4, 0, 3]]).max() < 1e-5
    assert np.abs(logits[paddle.to_tensor([2])] - direct[[2]]).max() < 1e-5
    logits.save(tmp_path / "logits.npy")
    assert [path.name for path in tmp_path.iterdir()] == ["logits.npy"]
    loaded = TeacherLogits.load(tmp_path / "logits.npy")
    assert (loaded[[0, 1, 2, 3, 4]] == logits.array).all()
    half = TeacherLogits(logits.array.astype("float16"))
    assert half[[1]].dtype == np.float32

    order = [3, 1, 4, 0, 2]
    loader = paddle.io.DataLoader(loaded.attach(data), batch_sampler=[order[:3], order[3:]])
    batches = list(loader)
    assert np.concatenate([labels.numpy() for _, labels, _ in batches]).tolist() == order
    assert np.abs(np.concatenate([rows.numpy() for *_, rows in batches]) - direct[order]).max() < 1e-5


def test_logits_are_attached_to_augmented_samples_too():
    """As `EpochSampler` asks for them: (index, draw)."""

    class Augmented:
        def __len__(self):
            return 6

        def __getitem__(self, key):
            return key

    attached = TeacherLogits(np.arange(12, dtype="float32").reshape(6, 2)).attach(Augmented())
    for keys in EpochSampler(6, 3):
        for index, draw in keys:
            *sample, logits = attached[index, draw]
            assert sample == [index, draw]
            assert logits.tolist() == [2 * index, 2 * index + 1]


def test_an_image_that_cannot_be_read_is_named(tmp_path):
    folder = tmp_path / "cat"
    folder.mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (32, 32)).save(folder / f"{name}.png")
    (folder / "b.png").write_bytes(b"x")
    data = ImageFolder(tmp_path, preprocess=vitlib.Preprocess(size=32))
    for batch_size in (1, 2):
        with refused(ValueError, "sample 1", "b.png"):
            TeacherLogits.compute(Teacher(Convolutional()), data, batch_size=batch_size)


def test_files_and_arrays_that_hold_no_logits_are_refused(tmp_path):
    whole = tmp_path / "logits.npy"
    TeacherLogits(np.zeros((4, 3), "float32")).save(whole)
    data = whole.read_bytes()
    pickled = np.array([{"a": 1}], dtype=object)
    np.save(tmp_path / "objects.npy", pickled, allow_pickle=True)
    np.savez(tmp_path / "archive.npz", a=np.zeros((4, 3)))
    (tmp_path / "cut.npy").write_bytes(data[:-4])
    (tmp_path / "short.npy").write_bytes(data[:5])
    (tmp_path / "empty.npy").write_bytes(b"")
    (tmp_path / "unclosed.npy").write_bytes(data.replace(b"}", b" "))
    (tmp_path / "no_shape.npy").write_bytes(data.replace(b"(4, 3)", b"('', )"))
    np.save(tmp_path / "labels.npy", np.arange(4))
    for name in (
        "objects.npy",
        "archive.npz",
        "cut.npy",
        "short.npy",
        "empty.npy",
        "labels.npy",
        "unclosed.npy",
        "no_shape.npy",
    ):
        with refused(ValueError, name, "TeacherLogits.save"):
            TeacherLogits.load(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        TeacherLogits.load(tmp_path / "missing.npy")
    with refused(ValueError, "4 rows", "5 samples"):
        TeacherLogits.load(whole).attach(range(5))
    with refused(ValueError, "empty"):
        TeacherLogits.compute(lambda x: x, [])


def test_what_a_model_says_is_the_mean_of_distilled_heads_and_the_first_of_others():
    heads = paddle.to_tensor([[1.0, 0.0]]), paddle.to_tensor([[0.0, 3.0]])
    assert final_logits(vitlib.DeiTLogits(*heads)).tolist() == [[0.5, 1.5]]
    assert final_logits(list(heads)) is heads[0]  # auxiliary classifiers, such as GoogLeNet's
    assert final_logits(heads[1]) is heads[1]
