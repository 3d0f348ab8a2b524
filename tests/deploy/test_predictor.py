"""A Predictor answers for arrays, images, lists and folders, the same from any thread, and says what it runs on."""

import concurrent.futures
import gc
import sys
import weakref

import numpy as np
import paddle
import pytest
from conftest import refused
from families import ENGINES, EVERY_ENGINE, close, eager, need
from measure_memory import resident
from PIL import Image

import vitlib
from vitlib.deploy import ExportError, engines, running_engine
from vitlib.deploy.cpu import has_bfloat16, return_freed_memory

BFLOAT16 = pytest.mark.skipif(not has_bfloat16(), reason="needs a processor with bfloat16")


@pytest.fixture
def folder(tmp_path):
    """Ten images of several sizes and kinds, in two folders; one of them cannot be read."""
    rng = np.random.default_rng(0)
    for index in range(10):
        place = tmp_path / "images" / "ab"[index % 2]
        place.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (40 + index, 60 - index, 3), np.uint8)
        Image.fromarray(pixels).save(place / f"{index}.{'jpg' if index % 3 else 'png'}")
    (tmp_path / "images" / "a" / "4.jpg").write_bytes(b"\xff\xd8 no more")
    (tmp_path / "images" / "notes.txt").write_text("no image")
    return tmp_path / "images"


def readable(folder):
    return [path for path in sorted(folder.rglob("*.*")) if path.name not in ("4.jpg", "notes.txt")]


@EVERY_ENGINE
@pytest.mark.parametrize("batch_size", [1, 4, 20])
def test_predictions_are_those_of_the_model(engine, batch_size, tiny, folder):
    need(engine)
    model, paths = tiny(), readable(folder)
    model.labels = list("abcdefg")
    expected = vitlib.predict(model, paths, top_k=3)
    with vitlib.Predictor(model, engine, "float32") as predictor:
        found = predictor.predict(paths, 3, batch_size=batch_size)
    assert [[p.label for p in row] for row in found] == [[p.label for p in row] for row in expected]
    assert [[p.index for p in row] for row in found] == [[p.index for p in row] for row in expected]
    np.testing.assert_allclose([[p[1] for p in row] for row in found], [[p[1] for p in row] for row in expected], 1e-4)


def test_embeddings_are_the_pooled_features(tiny, folder):
    model = tiny(global_pool="avg")
    paths = readable(folder)
    bare = tiny(global_pool="avg", num_classes=0)
    expected = eager(bare, model.preprocess(paths))
    with vitlib.Predictor(model, "paddle", "float32") as predictor:
        close(predictor.embed(paths, batch_size=4), expected)
    with vitlib.Predictor(bare, "paddle", "float32") as predictor:
        close(predictor.embed(paths), expected)
        close(predictor.run(model.preprocess(paths)), expected)
        with refused(ValueError, "no logits"):
            predictor.predict(paths)


@pytest.mark.parametrize("input_dtype", ["float32", "uint8"])
def test_images_come_as_folders_lists_generators_files_and_arrays(input_dtype, tiny, folder):
    path = readable(folder)[0]
    image = Image.open(path)
    with vitlib.Predictor(tiny(), "paddle", "float32", input_dtype=input_dtype) as predictor:
        (expected,) = predictor.predict(path)
        for source in (str(path), [path], (p for p in [path]), path.read_bytes(), image, np.asarray(image), [image]):
            assert predictor.predict(source) == [expected]
        assert len(list(predictor.items(readable(folder)))) == 9


@pytest.mark.parametrize("batch_size", [1, 3, 50])
def test_an_unreadable_image_is_named_and_the_rest_go_on(batch_size, tiny, folder):
    with vitlib.Predictor(tiny(), "paddle", "float32") as predictor:
        with refused(vitlib.ImageError, "4.jpg"):
            predictor.predict(folder, batch_size=batch_size)
        with pytest.warns(UserWarning, match=r"1 of 10 images could not be read: .*4\.jpg"):
            found = predictor.predict(folder, batch_size=batch_size, on_unreadable="skip")
        assert [len(row) for row in found] == [5, 5, 0, 5, 5, 5, 5, 5, 5, 5]
        items = list(predictor.items(folder, batch_size=batch_size, on_unreadable="skip"))
        assert [item.index for item in items] == list(range(10))
        assert [item.source for item in items if item.outputs is None] == [str(folder / "a" / "4.jpg")]
        assert [bool(item.reason) for item in items] == [item.outputs is None for item in items]
        with pytest.warns(UserWarning, match=r"4\.jpg"):
            embedded = predictor.embed(folder, batch_size=batch_size, on_unreadable="skip")
        assert np.isnan(embedded[2]).all()
        assert np.isfinite(np.delete(embedded, 2, axis=0)).all()
        with refused(vitlib.ImageError, "missing.png"):
            predictor.predict([folder / "missing.png"])


def test_a_list_of_unreadable_images_is_answered(tiny):
    with vitlib.Predictor(tiny(), "paddle", "float32") as predictor, pytest.warns(UserWarning, match="5 of 5"):
        assert predictor.predict([b"no image"] * 5, batch_size=1, on_unreadable="skip") == [[]] * 5


def test_nothing_to_do_is_refused(tiny, tmp_path):
    (tmp_path / "empty").mkdir()
    with vitlib.Predictor(tiny(), "paddle", "float32") as predictor:
        for nothing in ([], (), iter([]), tmp_path / "empty"):
            with refused(vitlib.ImageError, "no images" if nothing != [] and nothing != () else "empty"):
                predictor.predict(nothing)
        with refused(ValueError, "empty batch"):
            predictor.run(np.zeros((0, 3, 32, 32), np.float32))


@pytest.mark.parametrize(
    ("array", "error", "words"),
    [
        (np.zeros((1, 3, 32, 40), np.float32), ValueError, ["32 x 32", "32 x 40"]),
        (np.zeros((1, 32, 32, 3), np.float32), ValueError, ["channels", "other order"]),
        (np.zeros((3, 32, 32), np.float32), ValueError, ["array[None]"]),
        (np.zeros((1, 3, 32, 32), np.uint8), TypeError, ["uint8", "input_dtype"]),
        (np.zeros((1, 3, 32, 32), np.int64), TypeError, ["int64"]),
        ([[0.0]], TypeError, ["list", "predict"]),
        ("image.jpg", TypeError, ["str", "predict"]),
    ],
)
def test_an_array_that_does_not_fit_is_refused(array, error, words, tiny):
    with vitlib.Predictor(tiny(), "paddle", "float32") as predictor, refused(error, *words):
        predictor.run(array)


def test_a_size_that_the_patch_does_not_divide_is_refused(tiny, images):
    model = tiny(dynamic_img_size=True)
    with vitlib.Predictor(model, "paddle", "float32") as predictor, refused(ValueError, "multiple of 8"):
        predictor.run(images(32, 36))


def test_double_precision_and_tensors_and_views_are_taken(tiny, images):
    model, x = tiny(), images(batch=3)
    with vitlib.Predictor(model, "paddle", "float32") as predictor:
        expected = predictor.run(x.numpy())
        for same in (x, x.numpy().astype("float64"), x.numpy().transpose(3, 2, 1, 0).copy().transpose(3, 2, 1, 0)):
            assert (predictor.run(same) == expected).all()


@pytest.mark.parametrize(
    ("engine", "precision"),
    [
        *((engine, "float32") for engine in ENGINES),
        *(pytest.param(engine, "bfloat16", marks=BFLOAT16) for engine in ("paddle", "openvino")),
    ],
)
def test_eight_threads_get_the_bits_that_one_gets(engine, precision, tiny, images):
    need(engine)
    batches = [images(batch=1 + index % 5).numpy() + index for index in range(40)]
    with vitlib.Predictor(tiny(), engine, precision, verify=False) as predictor:
        expected = [predictor.run(batch) for batch in batches]
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            found = list(pool.map(predictor.run, batches))
    for one, other in zip(found, expected, strict=True):
        assert (one == other).all()


@EVERY_ENGINE
def test_answers_are_arrays_of_their_own(engine, tiny, images):
    need(engine)
    x = images().numpy()
    with vitlib.Predictor(tiny(), engine, "float32", verify=False) as predictor:
        first = predictor.run(x)
        kept = first.copy()
        predictor.run(x + 1)
        assert (first == kept).all()
        first += 1
        assert (predictor.run(x) == kept).all()


def test_a_closed_predictor_says_so(tiny, images):
    predictor = vitlib.Predictor(tiny(), "paddle", "float32")
    predictor.close()
    predictor.close()
    with refused(ValueError, "closed"):
        predictor.run(images())


@BFLOAT16
def test_a_closed_predictor_says_so_before_it_has_taken_a_precision(tiny, images):
    predictor = vitlib.Predictor(tiny(), "paddle", "auto")
    predictor.close()
    with refused(ValueError, "closed"):
        predictor.run(images())


def test_an_export_on_disk_needs_no_onnx_to_be_run(tiny, images, tmp_path, monkeypatch):
    need("onnxruntime")
    model = tiny()
    vitlib.export(model, tmp_path, format="onnx")
    find_spec = engines.importlib.util.find_spec
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: None if name == "onnx" else find_spec(name))
    with vitlib.Predictor(tmp_path, precision="float32") as predictor:
        close(predictor.run(images().numpy()), eager(model, images()))
    with vitlib.Predictor(model, precision="float32") as predictor:
        assert predictor.report.engine == "paddle"  # the others would need a file


def test_no_answers_come_from_two_models(tiny, images, tmp_path):
    need("openvino")
    vitlib.export(tiny(), tmp_path, format="openvino")
    with vitlib.Predictor(tmp_path, "openvino", "float32", threads=2) as predictor:
        first = predictor.run(images(batch=1))
        vitlib.export(tiny(depth=1), tmp_path, format="openvino")
        assert (predictor.run(images(batch=1)) == first).all()
        with refused(ExportError, "was replaced or removed since it was opened"):
            predictor.run(images(batch=2))  # would need another model of the same file


def test_a_generator_may_use_one_array_for_all_its_images(tiny, folder):
    frames = [np.full([40, 40, 3], 10 * number, np.uint8) for number in range(25)]

    def video():
        frame = np.empty([40, 40, 3], np.uint8)
        for each in frames:
            frame[...] = each
            yield frame

    with vitlib.Predictor(tiny(num_classes=0), "paddle", "float32") as predictor:
        assert (predictor.embed(video(), batch_size=4) == predictor.embed(frames, batch_size=4)).all()


def test_images_are_not_kept_until_the_end(tiny):
    alive, most = weakref.WeakValueDictionary(), []

    def photos():
        for number in range(60):
            photo = alive[number] = Image.new("RGB", (40, 40), (number, 0, 0))
            most.append(len(alive))
            yield photo

    with vitlib.Predictor(tiny(), "paddle", "float32", threads=1) as predictor:
        predictor.predict(photos(), batch_size=2)
    assert max(most) < 20


@BFLOAT16
def test_a_closed_predictor_still_has_a_report(tiny, images):
    predictor = vitlib.Predictor(tiny(), "paddle", "bfloat16")
    predictor.run(images())
    predictor.close()
    assert predictor.report.precision == "bfloat16"
    assert predictor.report.comparison is None


def test_leaving_a_long_list_early_stops_the_threads(tiny, folder):
    import threading

    before = threading.active_count()
    with vitlib.Predictor(tiny(), "paddle", "float32") as predictor:
        items = predictor.items(readable(folder) * 50, batch_size=2)
        next(items)
        items.close()
    assert threading.active_count() <= before


def test_an_endless_list_is_read_only_as_far_as_needed(tiny, folder):
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield readable(folder)[0]

    with vitlib.Predictor(tiny(), "paddle", "float32", threads=2) as predictor:
        items = predictor.items(endless(), batch_size=2)
        for _ in range(20):
            next(items)
        items.close()
    assert len(taken) < 60


# Choosing


def test_the_report_says_engine_precision_and_why(tiny, images):
    with vitlib.Predictor(tiny(), "paddle", "float32", threads=1) as predictor:
        predictor.run(images())
        report = predictor.report
    assert (report.engine, report.precision, report.threads, report.comparison) == ("paddle", "float32", 1, None)
    assert "asked for" in str(report)


def test_auto_takes_the_fastest_engine_that_is_installed_and_names_faster_ones(tiny, monkeypatch):
    monkeypatch.setattr(engines, "is_installed", lambda name, writes: name == "paddle")
    with vitlib.Predictor(tiny()) as predictor:
        assert predictor.report.engine == "paddle"
        assert "vitlib[openvino]" in predictor.report.engine_reason
    monkeypatch.setattr(engines, "is_installed", lambda name, writes: False)
    with refused(ImportError, "vitlib[openvino]", "paddle"):
        vitlib.Predictor(tiny())


@BFLOAT16
def test_auto_takes_bfloat16_where_it_is_close_enough_and_else_float32(tiny, images, monkeypatch):
    model, x = tiny(), images()
    monkeypatch.setattr(running_engine, "LARGEST_DEVIATION", 1.0)
    with vitlib.Predictor(model, "paddle") as predictor:
        assert predictor.report.precision == "float32"
        predictor.run(x)
        report = predictor.report
        assert report.precision == "bfloat16"
        assert 0 < report.comparison.deviation < 1
        assert report.comparison.num_images == 2
    monkeypatch.setattr(running_engine, "LARGEST_DEVIATION", 1e-9)
    with vitlib.Predictor(model, "paddle") as predictor:
        close(predictor.run(x), eager(model, x))
        assert predictor.report.precision == "float32"
        assert "bfloat16" in predictor.report.precision_reason


@BFLOAT16
def test_auto_decides_before_the_first_call_where_there_is_calibration(tiny, folder, monkeypatch):
    monkeypatch.setattr(running_engine, "LARGEST_DEVIATION", 1.0)
    with vitlib.Predictor(tiny(), "paddle", calibration=folder) as predictor:
        assert predictor.report.precision == "bfloat16"
        assert predictor.report.comparison.num_images == 9


def test_without_bfloat16_it_is_refused_and_auto_takes_float32(tiny, monkeypatch):
    for module in (engines, running_engine):
        monkeypatch.setattr(module, "has_bfloat16", lambda: False)
    with refused(ValueError, "processor", "float32"):
        vitlib.Predictor(tiny(), "paddle", "bfloat16")
    with vitlib.Predictor(tiny(), "paddle") as predictor:
        assert predictor.report.precision == "float32"
        assert "bfloat16" in predictor.report.precision_reason


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"engine": "tensorrt"}, ValueError, ["tensorrt", "'paddle'"]),
        ({"precision": "float16"}, ValueError, ["float16", "'bfloat16'"]),
        ({"engine": "onnxruntime", "precision": "bfloat16"}, ValueError, ["onnxruntime", "'paddle'"]),
        ({"engine": "paddle", "precision": "int8"}, ValueError, ["paddle", "'openvino'"]),
        ({"threads": 0}, ValueError, ["threads"]),
        ({"threads": 1.5}, ValueError, ["threads"]),
        ({"outputs": "probabilities"}, ValueError, ["probabilities"]),
        ({"input_dtype": "float16"}, ValueError, ["input_dtype"]),
        ({"img_size": 31}, ValueError, ["31"]),
    ],
)
def test_a_choice_that_cannot_be_is_refused(arguments, error, words, tiny):
    with refused(error, *words):
        vitlib.Predictor(tiny(), **{"engine": "paddle", **arguments})


@pytest.mark.parametrize(("engine", "package"), [("onnxruntime", "onnxruntime"), ("openvino", "openvino")])
def test_a_missing_extra_is_named(engine, package, tiny, monkeypatch):
    need(engine)
    for missing in ("onnx", package):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, missing, None)
            with refused(ImportError, missing, "vitlib["):
                vitlib.Predictor(tiny(), engine)


def test_an_engine_that_computes_something_else_is_refused(tiny, monkeypatch):
    monkeypatch.setattr("vitlib.deploy.describe_block._FUNCTIONS", {paddle.nn.functional.gelu: "relu"})
    with refused(vitlib.deploy.ExportError, "differs from the model", "verify=False"):
        vitlib.Predictor(tiny(), "paddle", "float32")


def test_models_are_taken_by_name_directory_and_file(tiny, images, tmp_path, monkeypatch):
    model, x = tiny(), images()
    model.save_pretrained(tmp_path)
    for source in (tmp_path, tmp_path / "model.safetensors"):
        with vitlib.Predictor(source, "paddle", "float32") as predictor:
            close(predictor.run(x), eager(model, x))
    asked = []
    monkeypatch.setattr("vitlib.pretrained.create_model", lambda *a, **k: asked.append((a, k)) or model)
    with vitlib.Predictor("vit_tiny_patch16_224", "paddle", "float32"):
        assert asked == [(("vit_tiny_patch16_224",), {"pretrained": True})]
    with refused(TypeError, "int"):
        vitlib.Predictor(3)
    for missing in (tmp_path / "missing", str(tmp_path / "missing.safetensors")):
        with refused(FileNotFoundError, "missing"):
            vitlib.Predictor(missing)


def test_progress_goes_to_standard_error(tiny, folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with vitlib.Predictor(tiny(), "paddle", "float32") as predictor:
        predictor.predict(readable(folder), batch_size=4, progress=True)
        written = capsys.readouterr()
        assert "9 of 9 images" in written.err
        predictor.predict(readable(folder), batch_size=4)
        assert capsys.readouterr().err == ""


def held():
    """Bytes of this process without those that are free: what other tests freed would hide a leak, or look like one."""
    gc.collect()
    return_freed_memory()
    return resident()


@EVERY_ENGINE
def test_many_calls_take_no_more_memory(engine, tiny, images):
    """`measure_memory.py --calls 1000` is the same at full length, in a process of its own."""
    need(engine)
    if not sys.platform.startswith("linux"):
        pytest.skip("reads /proc")
    x = images(batch=16).numpy()  # 200 kB, and 52 kB of tokens
    with vitlib.Predictor(tiny(), engine, "float32", outputs="tokens", verify=False) as predictor:
        grown = []
        while min(grown, default=1 << 30) > 1 << 20:  # the engine's own buffers come with the first calls
            before = held()
            for _ in range(200):
                predictor.run(x)
            grown.append(held() - before)
            assert len(grown) <= 5, grown


def test_other_batch_sizes_take_no_copy_of_the_weights_each(images):
    if not sys.platform.startswith("linux"):
        pytest.skip("reads /proc")
    paddle.seed(0)
    model = vitlib.VisionTransformer(img_size=32, patch_size=16, embed_dim=384, depth=3, num_heads=6)  # 24 MB
    with vitlib.Predictor(model, "paddle", "float32", verify=False) as predictor:
        predictor.run(images(batch=8).numpy())
        before = held()
        for batch in range(1, 8):
            predictor.run(images(batch=batch).numpy())
        assert held() - before < 80 << 20
