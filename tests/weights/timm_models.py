"""Saves narrow models of timm's architectures as timm's own hub directories, with what they compute.

Runs where timm is installed: python timm_models.py DIRECTORY NAME...

Each DIRECTORY/NAME gets config.json and model.safetensors: two blocks, 96 wide, patches of 4 x 4, every parameter
random and large enough that another activation, epsilon, norm or position shows. Hybrids keep their ResNet.
DIRECTORY/expected.npz has NAME:x and NAME:logits of each, in float64. Names that cannot be built so narrow are left
out; DIRECTORY/skipped.txt names them with the reason.
"""

import pathlib
import re
import sys

import numpy as np
import timm
import torch
from safetensors.torch import save_file
from timm.models._hub import save_config_for_hf

NARROW = {"img_size": 12, "patch_size": 4, "embed_dim": 96, "depth": 2, "num_heads": 4, "num_classes": 5}
HYBRID = {**{key: value for key, value in NARROW.items() if key != "patch_size"}, "img_size": 64}  # strides of 16 or 32


def randomise(model, seed):
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        values = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        if "norm" in name and name.endswith("weight"):
            parameter.data = 1 + 0.25 * values
        elif parameter.ndim < 2 or "token" in name or "pos" in name:
            parameter.data = 0.25 * values
        else:
            parameter.data = values * (1.5 / parameter[0].numel() ** 0.5)


def main():
    out, expected, skipped = pathlib.Path(sys.argv[1]), {}, []
    for seed, name in enumerate(sys.argv[2:]):
        options = HYBRID if re.search(r"_r\d*_s\d", name) else NARROW
        size = options["img_size"]
        x = np.random.default_rng(seed).standard_normal((2, 3, size, size)).astype("float32")
        try:
            model = timm.create_model(name, **options).double().eval()
            randomise(model, seed)
            with torch.no_grad():
                logits = model(torch.tensor(x).double()).numpy()
            (out / name).mkdir(parents=True)
            arguments = {key: value for key, value in options.items() if key != "num_classes"}
            save_config_for_hf(model, out / name / "config.json", model_args=arguments)
            state = {key: value.float().contiguous() for key, value in model.state_dict().items()}
            save_file(state, out / name / "model.safetensors")
        except Exception as error:
            skipped.append(f"{name}: {type(error).__name__}: {error}")
            continue
        expected[f"{name}:x"], expected[f"{name}:logits"] = x, logits
    np.savez_compressed(out / "expected.npz", **expected)
    (out / "skipped.txt").write_text("\n".join(skipped))


if __name__ == "__main__":
    main()
