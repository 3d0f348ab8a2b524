"""What vitlib exports is opened by the originals themselves, with the same logits (extra: parity)."""

import importlib.util
import json
import pathlib
import subprocess
import sys

import numpy as np
import paddle
import pytest

import vitlib

MISSING = [name for name in ("torch", "timm", "transformers") if importlib.util.find_spec(name) is None]
pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"NOT TESTED against real clients: {', '.join(MISSING)} missing (extra: parity)"
)


def original(code, **values):
    """Run code in a process of its own (PyTorch and Paddle do not share one gladly); it reads `v`, stores `logits`."""
    program = f"import json, numpy as np, torch; v = json.loads({json.dumps(json.dumps(values))})\n"
    program += "x = torch.tensor(np.load(v['x']))\n" + code + "\nnp.save(v['out'], logits.detach().numpy())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return np.load(values["out"])


def check(model, tmp_path, code, size=224, **values):
    paddle.seed(3)
    for parameter in model.parameters():
        parameter.set_value(parameter + 0.03 * paddle.randn(parameter.shape))
    model.eval()
    x = paddle.randn([2, 3, size, size])
    np.save(tmp_path / "x.npy", x.numpy())
    with paddle.no_grad():
        expected = model(x).numpy()
    yield
    found = original(code, x=str(tmp_path / "x.npy"), out=str(tmp_path / "out.npy"), **values)
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


NAMES = (
    "vit_tiny_patch16_224",
    "deit_tiny_distilled_patch16_224",
    "deit3_small_patch16_224",
    "vit_base_patch16_gap_224",
)


@pytest.mark.parametrize("name", NAMES)
def test_timm_opens_the_export_as_a_checkpoint(name, tmp_path):
    model = vitlib.create_model(name, num_classes=10)
    path = tmp_path / "model.safetensors"
    code = "import timm; logits = timm.create_model(v['name'], num_classes=10, checkpoint_path=v['path']).eval()(x)"
    for _ in check(model, tmp_path, code, name=name, path=str(path)):
        vitlib.save_weights(model, path, format="timm")


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224"])
def test_transformers_opens_the_export_with_from_pretrained(name, tmp_path):
    model = vitlib.create_model(name, num_classes=10)
    auto = "DeiTForImageClassificationWithTeacher" if "distilled" in name else "AutoModelForImageClassification"
    code = f"import transformers as t; m = t.{auto}.from_pretrained(v['path']).eval(); logits = m(x).logits"
    for _ in check(model, tmp_path, code, path=str(tmp_path / "model")):
        vitlib.save_weights(model, tmp_path / "model", format="huggingface")


def test_torchvision_takes_the_export_as_a_state_dict(tmp_path):
    model = vitlib.create_model("vit_tiny_patch16_224", num_classes=10)
    code = (
        "import torchvision, safetensors.torch as s\n"
        "m = torchvision.models.VisionTransformer(224, 16, 12, 3, 192, 768, num_classes=10).eval()\n"
        "m.load_state_dict(s.load_file(v['path'])); logits = m(x)"
    )
    for _ in check(model, tmp_path, code, path=str(tmp_path / "model.safetensors")):
        vitlib.save_weights(model, tmp_path / "model.safetensors", format="torchvision")


def test_transformers_processor_prepares_a_photo_as_vitlib_does(tmp_path):
    from PIL import Image

    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (12, 16, 3), dtype="uint8")
    photo = pathlib.Path(tmp_path / "photo.png")
    Image.fromarray(pixels).resize((400, 300), Image.BICUBIC).save(photo)
    model = vitlib.create_model("deit_tiny_distilled_patch16_224", num_classes=10, depth=1)
    model.preprocess = model.config.preprocess.replace(resize="squash", crop_fraction=224 / 256)
    vitlib.save_weights(model, tmp_path / "model", format="huggingface")
    np.save(tmp_path / "x.npy", np.zeros(1))
    code = (
        "import transformers as t; from PIL import Image\n"
        "p = t.AutoImageProcessor.from_pretrained(v['path'])\n"
        "logits = p(Image.open(v['photo']), return_tensors='pt')['pixel_values']"
    )
    values = {"path": str(tmp_path / "model"), "photo": str(photo)}
    found = original(code, x=str(tmp_path / "x.npy"), out=str(tmp_path / "out.npy"), **values)
    assert np.abs(found - model.preprocess(photo).numpy()).max() < 2.5 / 255 / 0.224
