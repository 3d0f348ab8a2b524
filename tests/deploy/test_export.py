"""An export is exact, complete or not there, and read back only when it is what was written."""

import json
import shutil

import numpy as np
import paddle
import pytest
from conftest import TINY, refused
from families import EVERY_FAMILY, build, close, eager

import vitlib
from vitlib.deploy import DescriptionError, ExportError, read_exported
from vitlib.deploy import onnx_model as onnx_writer

onnx = pytest.importorskip("onnx")
FORMATS = {"onnx": "onnxruntime", "openvino": "openvino", "paddle": "paddle"}
EVERY_FORMAT = pytest.mark.parametrize("format", FORMATS)


def need(format):
    pytest.importorskip(FORMATS[format])


@EVERY_FAMILY
def test_onnx_passes_the_full_checker_and_equals_eager_at_other_batches_and_sizes(family, tiny, images, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    model, sizes = build(tiny, family)
    report = vitlib.export(model, tmp_path / "model.onnx")
    onnx.checker.check_model(str(report.path), full_check=True)
    session = onnxruntime.InferenceSession(report.path)
    for size, batch in zip(sizes, (3, 1, 5), strict=False):
        x = images(*size, batch=batch)
        (found,) = session.run(None, {"images": x.numpy()})
        close(found, eager(model, x))


def test_onnx_is_of_an_opset_that_older_engines_read(tiny, tmp_path):
    found = onnx.load(vitlib.export(tiny(dynamic_img_size=True), tmp_path / "model.onnx").path)
    assert [(entry.domain, entry.version) for entry in found.opset_import] == [("", 20)]
    assert found.ir_version <= 9
    assert {node.domain for node in found.graph.node} == {""}


def test_onnx_outputs_equal_those_of_the_reference_implementation(tiny, images, tmp_path):
    from onnx.reference import ReferenceEvaluator

    model, x = tiny(vitlib.DeiT, dynamic_img_size=True, init_values=0.5), images(16, 48)
    report = vitlib.export(model, tmp_path / "model.onnx")
    (found,) = ReferenceEvaluator(str(report.path)).run(None, {"images": x.numpy()})
    close(found, eager(model, x))


@EVERY_FORMAT
def test_an_export_is_opened_by_its_directory_or_file(format, tiny, images, tmp_path):
    need(format)
    model, x = tiny(), images()
    model.labels = [f"label {index}" for index in range(7)]
    report = vitlib.export(model, tmp_path / "here", format, outputs=("logits", "features"))
    assert report.path.parent == tmp_path / "here"
    assert report.difference < 1e-5
    for path in (tmp_path / "here", report.path):
        with vitlib.Predictor(path, precision="float32") as predictor:
            found = predictor.run(x)
            assert predictor.report.engine in (FORMATS[format], "openvino")
        close(found["logits"], eager(model, x))
        assert found["features"].shape == (2, 48)


@EVERY_FORMAT
def test_what_a_model_needs_travels_with_it(format, tiny, tmp_path):
    need(format)
    model = tiny(preprocess=vitlib.Preprocess(mean=(0.1, 0.2, 0.3), crop_fraction=0.8))
    model.labels = list("abcdefg")
    vitlib.export(model, tmp_path, format, verify=False)
    record = json.loads((tmp_path / "vitlib.json").read_text())
    assert record["labels"] == list("abcdefg")
    assert vitlib.Preprocess.from_dict(record["preprocess"]) == model.preprocess
    assert record["input"]["layout"] == "BCHW"
    assert record["input"]["shape"] == [None, 3, 32, 32]
    assert record["outputs"]["logits"]["shape"] == [None, 7]
    assert vitlib.ViTConfig.from_dict(record["made_from"]["config"]) == model.config
    found = read_exported(tmp_path)
    assert (found.preprocess, found.labels) == (model.preprocess, tuple("abcdefg"))


def test_a_distilled_model_in_training_mode_is_exported_as_in_evaluation(tiny, images, tmp_path):
    pytest.importorskip("onnxruntime")
    model, x = tiny(vitlib.DeiT, drop_path_rate=0.9), images()
    expected = eager(model, x)
    model.train()
    report = vitlib.export(model, tmp_path)
    assert model.training
    assert model.blocks[2].drop_path1.training
    assert "training mode" in str(report)
    assert "evaluation" in str(report)
    with vitlib.Predictor(tmp_path, "onnxruntime") as predictor:
        close(predictor.run(x), expected)


def test_weights_above_the_limit_of_one_file_lie_beside_it(tiny, images, tmp_path, monkeypatch):
    onnxruntime = pytest.importorskip("onnxruntime")
    monkeypatch.setattr(onnx_writer, "MAX_BYTES", 1000)
    model, x = tiny(), images()
    report = vitlib.export(model, tmp_path / "large.onnx")
    assert {path.name for path in tmp_path.iterdir()} == {"large.onnx", "large.onnx.data", "vitlib.json"}
    assert (tmp_path / "large.onnx").stat().st_size < (tmp_path / "large.onnx.data").stat().st_size
    onnx.checker.check_model(str(report.path), full_check=True)
    close(onnxruntime.InferenceSession(report.path).run(None, {"images": x.numpy()})[0], eager(model, x))
    (tmp_path / "large.onnx.data").unlink()
    with refused(ExportError, "large.onnx.data", "missing"):
        vitlib.Predictor(tmp_path)


def test_an_export_that_differs_from_the_model_is_refused_and_leaves_nothing(tiny, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr("vitlib.deploy.describe_block._FUNCTIONS", {paddle.nn.functional.gelu: "gelu_tanh"})
    with refused(ExportError, "differs from the model", "verify=False"):
        vitlib.export(tiny(), tmp_path / "new" / "newer" / "model.onnx")
    assert list(tmp_path.iterdir()) == []
    report = vitlib.export(tiny(), tmp_path / "model.onnx", verify=False)
    assert report.difference is None


@pytest.mark.parametrize("failing", ["save_onnx", "_move"])
def test_an_export_that_fails_leaves_the_older_one(failing, tiny, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    vitlib.export(tiny(), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*args, **options):
        raise OSError(28, "No space left on device")

    module = "write_model" if failing == "save_onnx" else "export_model"
    monkeypatch.setattr(f"vitlib.deploy.{module}.{failing}", full)
    with refused(OSError, "No space left"):
        vitlib.export(tiny(init_values=0.5), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_an_export_takes_the_place_of_an_older_one_of_its_name_alone(tiny, tmp_path):
    vitlib.export(tiny(), tmp_path / "a.onnx", verify=False)
    vitlib.export(tiny(init_values=0.5), tmp_path / "a.onnx", verify=False)
    assert read_exported(tmp_path).made_from["config"]["init_values"] == 0.5
    with refused(FileExistsError, "a.onnx", "another directory"):
        vitlib.export(tiny(), tmp_path / "b.onnx", verify=False)


@pytest.mark.parametrize(
    ("path", "format", "error", "words"),
    [
        ("model.onnx", "paddle", ValueError, [".json"]),
        ("model.onnx", "torch", ValueError, ["'onnx'", "'paddle'"]),
        ("file/model.onnx", "onnx", NotADirectoryError, ["file"]),
        ("vitlib.json", "paddle", ValueError, ["vitlib.json"]),
    ],
)
def test_a_place_or_format_that_cannot_be_is_refused(path, format, error, words, tiny, tmp_path):
    (tmp_path / "file").write_text("")
    with refused(error, *words):
        vitlib.export(tiny(), tmp_path / path, format)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_layer_that_is_no_model_is_refused(tmp_path):
    with refused(TypeError, "Linear", "jit.save"):
        vitlib.export(paddle.nn.Linear(2, 2), tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_cannot_be_described_is_refused_before_anything_is_written(tiny, tmp_path):
    with paddle.LazyGuard():
        empty = vitlib.VisionTransformer(**TINY)
    with refused(RuntimeError, "no values"):
        vitlib.export(empty, tmp_path / "new")
    model = tiny()
    model.norm = paddle.nn.BatchNorm1D(48)
    with refused(DescriptionError, "BatchNorm1D"):
        vitlib.export(model, tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


# Reading


@pytest.fixture
def written(tiny, tmp_path):
    vitlib.export(tiny(), tmp_path, verify=False)
    return tmp_path


def test_a_file_that_is_cut_short_changed_or_missing_is_refused(written):
    path = written / "model.onnx"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with refused(ExportError, "model.onnx", "cut short", "again"):
        vitlib.Predictor(written)
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with refused(ExportError, "model.onnx", "changed or damaged"):
        vitlib.Predictor(written)
    path.unlink()
    with refused(ExportError, "model.onnx", "missing", "vitlib.json"):
        vitlib.Predictor(written)


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record.update(vitlib_export=99),
        lambda record: record.pop("files"),
        lambda record: record.update(files={"../model.onnx": {}}),
        lambda record: record["input"].update(shape=[1, 2]),
        lambda record: record["input"].update(dtype="float16"),
        lambda record: record.update(preprocess={"mean": "none"}),
        lambda record: record.update(outputs={}),
        lambda record: record.update(format="torch"),
        lambda record: record.update(labels=3),
    ],
)
def test_a_manifest_that_is_damaged_or_foreign_is_refused(change, written):
    record = json.loads((written / "vitlib.json").read_text())
    change(record)
    (written / "vitlib.json").write_text(json.dumps(record))
    with refused(ExportError, "vitlib.json", "again"):
        vitlib.Predictor(written)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"vitlib_export": 1}'])
def test_a_manifest_that_is_no_manifest_is_refused(text, written):
    (written / "vitlib.json").write_text(text)
    with refused(ExportError, "vitlib.json"):
        vitlib.Predictor(written)


def test_a_foreign_model_is_refused(written):
    shutil.copy(written / "model.onnx", written.parent / "foreign.onnx")
    with refused(ExportError, "foreign.onnx", "vitlib.json", "vitlib.export"):
        vitlib.Predictor(written.parent / "foreign.onnx")
    (written / "model.onnx").write_bytes(b"not ONNX at all")
    found = json.loads((written / "vitlib.json").read_text())
    import hashlib

    found["files"]["model.onnx"] = {"bytes": 15, "sha256": hashlib.sha256(b"not ONNX at all").hexdigest()}
    (written / "vitlib.json").write_text(json.dumps(found))
    for engine in ("onnxruntime", "openvino"):
        pytest.importorskip(engine)
        with refused(ExportError, "model.onnx", "cannot be opened"):
            vitlib.Predictor(written, engine)


def test_an_engine_output_or_input_that_an_export_does_not_have_is_refused(written):
    with refused(ValueError, "onnx", "'paddle'"):
        vitlib.Predictor(written, "paddle")
    with refused(ValueError, "tokens", "logits"):
        vitlib.Predictor(written, outputs="tokens")
    with refused(ValueError, "vitlib.export"):
        vitlib.Predictor(written, input_dtype="uint8")
    with vitlib.Predictor(written) as predictor, refused(ValueError, "no features"):
        predictor.embed(np.zeros((9, 9, 3), np.uint8))
