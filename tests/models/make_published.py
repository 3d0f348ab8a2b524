"""Writes data/timm_registry.json: what timm's registry says of the weights of vitlib's presets.

Run with Python >= 3.10 where both timm and vitlib's source are importable (Paddle is not needed):

    python tests/models/make_published.py
"""

from __future__ import annotations

import ast
import json
from pathlib import Path

import timm
from timm.models import get_arch_pretrained_cfgs, get_pretrained_cfg

HERE = Path(__file__).parent
FIELDS = ("num_classes", "mean", "std", "crop_pct", "crop_mode", "interpolation", "license", "url")


def presets() -> list[str]:
    """The keys of PRESETS, read without importing vitlib, which would import Paddle."""
    tree = ast.parse((HERE / "../../vitlib/models/preset_table.py").read_text())
    table = next(n for n in tree.body if isinstance(n, ast.AnnAssign) and n.target.id == "PRESETS")
    return [key.value for key in table.value.keys]


def main() -> None:
    models = {}
    for preset in presets():
        try:
            default = get_pretrained_cfg(preset).tag
            records = get_arch_pretrained_cfgs(preset)
        except (RuntimeError, KeyError, AttributeError):  # timm has the architecture without any weights
            continue
        for name, record in records.items():
            if not record.hf_hub_id:  # declared, never trained
                continue
            # a trailing slash stands for the name itself
            hub_id = record.hf_hub_id + name if record.hf_hub_id.endswith("/") else record.hf_hub_id
            models[name] = {"hub_id": hub_id, "default": record.tag == default, "size": record.input_size[-1]}
            models[name] |= {field: getattr(record, field) for field in FIELDS}
    rows = ",\n".join(f"  {json.dumps(name)}: {json.dumps(row)}" for name, row in models.items())
    text = f'{{\n "timm": {json.dumps(timm.__version__)},\n "models": {{\n{rows}\n }}\n}}\n'
    (HERE / "data" / "timm_registry.json").write_text(text)
    print(f"{len(models)} tags of timm {timm.__version__}")


if __name__ == "__main__":
    main()
