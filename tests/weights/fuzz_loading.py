"""Feeds damaged and hostile weights and configs to `from_pretrained` and `load_weights`.

Each must either give a model whose parameters are finite, or exactly one `WeightsError` of readable length, within
seconds and in memory proportional to its size. Long runs:

    python tests/weights/fuzz_loading.py --kind torch --count 20000

Kinds: the file formats, "names" (real weights under other names, of other shapes and types) and "configs" (config files
of vitlib, Hugging Face and timm with other values).
"""

import argparse
import copy
import functools
import json
import pathlib
import random
import shutil
import sys
import tempfile
import time
import warnings
from collections import Counter

import numpy as np

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "checkpoint"))
import fuzz_formats  # noqa: E402
import hybrid_weights  # noqa: E402

import vitlib  # noqa: E402
from vitlib.checkpoint import write_safetensors  # noqa: E402
from vitlib.models import build_model  # noqa: E402

CHECKPOINTS = HERE / "checkpoints"
FAMILIES = HERE / "families"
LEGACY = "torchvision_old_names.pth"  # in PyTorch's first format


def files(*patterns):
    """Undamaged checkpoints of every codebase, one file each."""
    found = {path for place in (CHECKPOINTS, FAMILIES) for pattern in patterns for path in place.glob(pattern)}
    return sorted(path for path in found if not path.name.startswith(("expected", LEGACY)))


STARTS = {
    "safetensors": files("*.safetensors", "*/*.safetensors"),
    "npz": files("*.npz"),
    "pdparams": files("*.pdparams"),
    "torch": files("*.pth", "*.pt", "*.bin"),
    "torch-legacy": [CHECKPOINTS / LEGACY],
}
KINDS = (*STARTS, "names", "configs")
SHAPE = {"img_size": 16, "patch_size": 4, "num_classes": 5, "embed_dim": 24, "depth": 2, "num_heads": 3}
ALLOWANCES = ["head", "position", "patch", "channels", "class_row", "distillation", "extra", "missing", "architecture"]
STRANGE = [
    None,
    True,
    -1,
    0,
    1,
    3,
    10**6,
    10**12,
    2**63,
    1e-3,
    1e308,
    float("nan"),
    "",
    "x" * 2000,
    "relu",
    "\n\x1b[0m",
]
STRANGE += [[], [1], [3, 10**9], {}, {"a": []}, [[[]]], "hf:a/b", "../../etc/passwd"]


def mutated_names(rng):
    """Arrays of a real checkpoint, some renamed, reshaped, retyped, doubled, emptied or left out."""
    arrays = dict(rng.choice(TABLES))
    for _ in range(rng.choice((1, 1, 2, 5))):
        name = rng.choice(list(arrays))
        array = arrays[name]
        change = rng.randrange(9)
        if change == 0:
            del arrays[name]
        elif change == 1:
            arrays[name.replace("0", rng.choice(("1", "7", "999", "9" * 50)), 1)] = array
        elif change == 2:
            arrays[name] = np.atleast_1d(array)[..., :0]
        elif change == 3:
            arrays[name] = array.astype(rng.choice(("float16", "float64", "int32", "uint8", "bool")))
        elif change == 4:
            arrays[name] = array.reshape(rng.choice(([-1], [1, *array.shape], [*array.shape, 1])))
        elif change == 5:
            arrays[rng.choice(("module.", "encoder.", "\x1b[31m", "x" * 500)) + name] = array
        elif change == 6:
            arrays[name] = np.full(array.shape, rng.choice((np.nan, np.inf, 3e38)), "float32")
        elif change == 7:
            arrays[rng.choice(("cls_token", "pos_embed", "reg_token", "fc_norm.weight", "head.weight"))] = array
        else:
            arrays[name] = np.broadcast_to(array, (2, *array.shape)).copy()
        if not arrays:
            arrays[name] = array
    return arrays


def mutated_config(values, rng):
    values = copy.deepcopy(values)
    for _ in range(rng.choice((1, 1, 2, 4))):
        node = values
        while True:
            key = rng.choice(list(node))
            if not (isinstance(node[key], dict) and node[key]) or rng.random() < 0.2:
                break
            node = node[key]
        change = rng.randrange(4)
        if change == 0:
            del node[key]
        elif change == 1:
            node[rng.choice(("depth", "hidden_size", "architecture", "class", "size", "extra", "crop_fraction"))] = key
        else:
            node[key] = rng.choice(STRANGE)
        if not values:
            break
    return values


def hybrids(directory, kind):
    """Files of a ResNet before the tokens, in formats that they are published in."""
    if kind == "npz":
        np.savez(directory / "hybrid.npz", **hybrid_weights.google("two_stages"))
        return [directory / "hybrid.npz"]
    if kind == "safetensors":
        write_safetensors(directory / "hybrid.safetensors", hybrid_weights.weights("two_stages"))
        return [directory / "hybrid.safetensors"]
    return []


def tables():
    from vitlib.checkpoint import open_weights

    found = [hybrid_weights.weights("two_stages"), hybrid_weights.google("two_stages")]
    for path in (path for paths in STARTS.values() for path in paths):
        with open_weights(path) as file:
            found.append({key: file.read(key) for key in file})
    return found


TABLES = tables()
PLAIN = vitlib.ViTConfig(**SHAPE)
UNTOUCHED = {}  # models by their config


@functools.cache
def config_of(path):
    """That of an undamaged file."""
    return vitlib.from_pretrained(path, num_heads=3).config


def open_it(path, rng, config):
    """A model or one WeightsError. config: of the model that the weights are loaded into."""
    options = {"allow": rng.sample(ALLOWANCES, rng.choice((0, 0, 1, 3)))}
    if rng.random() < 0.3:
        options["part"] = rng.choice(("model", "module", "blocks", "teacher", "visual", "backbone"))
    if rng.random() < 0.3:
        options["source_grid"] = rng.choice(((4, 4), (2, 8)))
    try:
        if rng.random() < 0.5:
            model = vitlib.from_pretrained(path, **options, **({"num_heads": 3} if rng.random() < 0.8 else {}))
        else:
            model = UNTOUCHED.pop(config, None) or build_model(config)
            UNTOUCHED[config] = model  # a refusal leaves it as it was
            vitlib.load_weights(model, path, **options)
            del UNTOUCHED[config]
    except vitlib.WeightsError as error:
        text = str(error)
    else:
        text = ""
    if text:
        assert len(text) < 12_000, text[:2000]
        assert text.replace("\n", "").isprintable(), ascii(text)[:2000]
        return "refused"
    assert all(np.isfinite(p.numpy()).all() for p in model.parameters())
    return "read"


def run(kind, count, seed):
    rng, outcomes, slowest, largest = random.Random(seed), Counter(), 0.0, 0
    warnings.simplefilter("ignore")
    directories = sorted({path.parent for place in (CHECKPOINTS, FAMILIES) for path in place.glob("*/config.json")})
    directories.append(HERE / "timm" / "vit_base_patch16_clip_224")
    with tempfile.TemporaryDirectory() as place:
        starts = [*STARTS.get(kind, ()), *hybrids(pathlib.Path(place), kind)]
        own = pathlib.Path(place, "own")
        vitlib.DeiT(**SHAPE).save_pretrained(own)
        directories.append(own)
        for number in range(count):
            config = PLAIN
            path = pathlib.Path(place, "weights" if kind in STARTS else "weights.safetensors")
            if kind == "configs":
                start = rng.choice(directories)
                path = pathlib.Path(place, "model")
                shutil.rmtree(path, ignore_errors=True)
                shutil.copytree(start, path)
                file = rng.choice(sorted(path.glob("*.json")))
                file.write_text(json.dumps(mutated_config(json.loads(file.read_text()), rng)))
            elif kind == "names":
                write_safetensors(path, mutated_names(rng))
            else:
                start = rng.choice(starts)
                path.write_bytes(rng.choice(fuzz_formats.BLIND)(start.read_bytes(), rng))
                config = config_of(start) if rng.random() < 0.8 else PLAIN
            size = sum(f.stat().st_size for f in ([path] if path.is_file() else path.iterdir()))
            measured = number % 20 == 0
            before = fuzz_formats.reset_peak() if measured else 0
            began = time.process_time()
            try:
                outcome = open_it(path, rng, config)
            except BaseException:
                kept = pathlib.Path(tempfile.gettempdir(), f"vitlib-fuzz-{kind}")
                shutil.rmtree(kept, ignore_errors=True)
                shutil.copytree(path, kept) if path.is_dir() else shutil.copy(path, kept)
                print(f"seed {seed}, number {number}, kept as {kept}", file=sys.stderr)
                raise
            seconds = time.process_time() - began
            growth = (fuzz_formats.peak_memory() or 0) - before - 2 * size if measured else 0
            assert seconds < fuzz_formats.MAX_SECONDS, f"{seconds:.1f} s for number {number}"
            assert growth < fuzz_formats.ALLOWED_BYTES, f"{growth:,} bytes for number {number}"
            slowest, largest = max(slowest, seconds), max(largest, growth)
            outcomes[outcome] += 1
    return {
        "kind": kind,
        **outcomes,
        "slowest_seconds": round(slowest, 3),
        "most_MiB_beyond_twice_the_size": round(largest / 2**20, 1),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=(*KINDS, "all"), default="all")
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for kind in KINDS if options.kind == "all" else (options.kind,):
        print(json.dumps(run(kind, options.count, options.seed)), flush=True)


if __name__ == "__main__":
    main()
