"""vitlib's exports are opened by the originals themselves, and the originals' models by vitlib, with the same logits.

The originals (extra: parity) are looked for in this environment, or in that of the interpreter which the variable
PARITY_PYTHON names.
"""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import paddle
import pytest

import vitlib
from vitlib.weights.dialects.timm import architectures

PYTHON = os.environ.get("PARITY_PYTHON", sys.executable)
ORIGINALS = ["torch", "torchvision", "timm", "transformers"]
LOOK = f"import importlib.util as u; print([n for n in {ORIGINALS} if u.find_spec(n) is None])"
MISSING = subprocess.run([PYTHON, "-c", LOOK], capture_output=True, text=True, check=True).stdout.strip()
pytestmark = pytest.mark.skipif(
    MISSING != "[]", reason=f"NOT TESTED against the originals: {MISSING} missing (extra: parity)"
)


def original(code, **values):
    """Run code in a process of its own (PyTorch and Paddle do not share one gladly); it reads `v`, stores `logits`."""
    program = f"import json, numpy as np, torch; v = json.loads({json.dumps(json.dumps(values))})\n"
    program += "x = torch.tensor(np.load(v['x']))\n" + code + "\nnp.save(v['out'], logits.detach().numpy())"
    done = subprocess.run([PYTHON, "-c", program], capture_output=True, text=True, timeout=300)
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


def test_every_architecture_of_timm_opens_exactly_or_is_refused(tmp_path):
    """Narrow models of two blocks with random weights, in the hub's own directories."""
    plain, others = architectures()
    names = [*plain, *(name for name, reason in others.items() if reason != "no Vision Transformer")]
    script = pathlib.Path(__file__).parent / "timm_models.py"
    done = subprocess.run([PYTHON, "-W", "ignore", script, tmp_path, *names], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    expected, opened = np.load(tmp_path / "expected.npz"), set()
    for directory in sorted(path for path in tmp_path.iterdir() if path.is_dir()):
        name = directory.name
        if name in others:
            with pytest.raises(vitlib.WeightsError, match=name):
                vitlib.from_pretrained(directory)
            continue
        model = vitlib.from_pretrained(directory)
        model.eval()
        found, logits = model(paddle.to_tensor(expected[f"{name}:x"])).numpy(), expected[f"{name}:logits"]
        # timm in float32 is 2e-5 from itself in float64 where a ResNet of 50 layers stands before the blocks
        rounding = 1e-5 if model.config.stem_blocks is None else 5e-5
        assert np.abs(found - logits).max() < rounding * np.abs(logits).max(), name
        assert not model.load_report.assumed, name
        opened.add(name)
    assert opened >= set(plain)
