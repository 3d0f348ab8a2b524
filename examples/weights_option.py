"""The model of the options --weights and --model, which classify.py and finetune.py share."""

import difflib
from pathlib import Path

import vitlib


def open_weights(weights, preset=None, size=None, **options):
    """The model of --weights: published weights by the name of their preset; or a file, a folder, that of a run of
    these scripts, hf:org/repo or a URL, in the preset --model where it is given.

    size: --size, of images, one number or height and width.
    """
    if size is not None:
        options["img_size"] = size[0] if len(size) == 1 else tuple(size)
    if preset is not None:
        check_preset("--model", preset)
    folder = Path(weights)
    if (folder / "run.json").exists():
        if not (folder / "model").is_dir():
            raise FileNotFoundError(
                f"--weights {weights}: this run has no model/; its first epoch is not done, or it "
                "trains another kind of network"
            )
        weights = str(folder / "model")
    is_source = weights.startswith(("hf:", "http://", "https://")) or Path(weights).exists()
    if not is_source:
        check_preset("--weights", weights, "there is no such file or folder, and")
        if preset is not None:
            raise ValueError(f"--weights {weights} is a preset's name; leave --model {preset} out, or give a file")
    try:
        if preset is not None:
            return vitlib.create_model(preset, pretrained=weights, **options)
        if is_source:
            return vitlib.from_pretrained(weights, **options)
        return vitlib.create_model(weights, pretrained=True, **options)
    except ValueError as error:
        reason, padding, _ = str(error).partition(", or dynamic_img_pad")
        if size is None or not padding:
            raise
        raise ValueError(f"--size {' '.join(map(str, size))}: {reason}") from error


def check_preset(option, name, reason="there is"):
    """Raise ValueError in the words of the option unless there is a preset of that name."""
    try:
        vitlib.get_config(name)
    except ValueError as error:
        nearest = difflib.get_close_matches(name, [*vitlib.list_models(), *vitlib.list_models(tags=True)])
        others = f"; the nearest are {', '.join(nearest)}" if nearest else ", such as vit_tiny_patch16_224"
        raise ValueError(f"{option} {name}: {reason} no preset of that name{others}") from error
