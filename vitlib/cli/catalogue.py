"""list, info and inspect: what there is, and what something is."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

from .errors import UsageError
from .model_argument import image_size, locate
from .parsing import Command, Parser, add_json, whole


def list_options(parser: Parser) -> None:
    parser.describe(
        "List the presets by name.",
        "vitlib list",
        "vitlib list deit3                 all that have deit3 in their name",
        "vitlib list 'vit_*_384' 'ViT-B*'  by patterns of the shell, of timm's names or the papers'",
        "vitlib list --weights --json      each set of published weights, as a table for programs",
        usage="[PATTERN ...] [OPTIONS]",
    )
    parser.add_argument("patterns", nargs="*", metavar="PATTERN", help="a part of a name, or a pattern with * or ?")
    parser.add_argument(
        "--weights",
        action="store_true",
        help="list published weights by preset.tag, with their classes, published ImageNet-1k top-1 and licence",
    )
    add_json(parser, "a list of objects")


def list_presets(arguments: argparse.Namespace) -> int:
    from ..models import list_models

    patterns = [text if any(c in text for c in "*?[") else f"*{text}*" for text in arguments.patterns] or "*"
    names = list_models(patterns, pretrained=arguments.weights)
    if not names:
        kind = "preset with published weights" if arguments.weights else "preset"
        arguments.say(f"no {kind} is called {' or '.join(arguments.patterns)}; vitlib list shows all")
        return 1
    if arguments.json:
        rows = [_weights(name) if arguments.weights else _preset(name) for name in names]
        print(json.dumps(rows, indent=1, ensure_ascii=False))
    elif arguments.weights:
        rows = [_weights(name) for name in names]
        width = max(len(name) for name in names)
        for row in rows:
            top1 = "" if row["top1"] is None else f"{row['top1']:.2f} %"
            classes = f"{row['classes']} classes" if row["classes"] else "features"
            print(f"{row['name']:<{width}}  {classes:>13}  {top1:>7}  {row['licence']}")
    else:
        print("\n".join(names))
    return 0


def _preset(name: str) -> dict[str, Any]:
    from ..models import get_config, list_models

    config = get_config(name)
    return {
        "name": name,
        "image_size": config.img_size,
        "patch_size": config.patch_size,
        "embed_dim": config.embed_dim,
        "depth": config.depth,
        "num_heads": config.num_heads,
        "weights": list_models(f"{name}.*", tags=True),
    }


def _weights(name: str) -> dict[str, Any]:
    from ..models.presets import published

    row = published(name)
    return {
        "name": row.name,
        "classes": row.num_classes,
        "top1": row.top1,
        "top1_source": row.top1_source or None,
        "licence": row.licence,
        "locations": list(row.locations),
    }


def info_options(parser: Parser) -> None:
    parser.describe(
        "Show what a model is: parameters, multiply-accumulates (MACs), preprocessing,\n"
        "classes, and where published weights are and under which licence. No weights of\n"
        "presets are fetched.",
        "vitlib info vit_base_patch16_224",
        "vitlib info ViT-B/16 --size 384    its costs for images of 384 x 384",
        "vitlib info runs/mine --layers     the costs of each layer of a trained model",
        usage="MODEL [OPTIONS]",
    )
    parser.add_argument("model", metavar="MODEL", help='see "vitlib --help"')
    parser.add_argument(
        "--size",
        type=whole(1),
        nargs="+",
        metavar="PIXELS",
        help="count for images of this size, or height and width (default: the model's)",
    )
    parser.add_argument("--layers", action="store_true", help="add a table of all layers")
    add_json(parser, "an object")


def info(arguments: argparse.Namespace) -> None:
    located = locate(arguments.model)
    if located.kind == "export":
        found = _info_of_export(arguments, located.source)
    else:
        found = _info_of_model(arguments, located.kind, located.source)
    if arguments.json:
        print(json.dumps(found, indent=1, ensure_ascii=False))
        return
    for name, value in found.items():
        if name == "layers":
            print(f"\n{value['table']}")
        elif name == "weights":
            for row in value:
                print(f"{name:<13} {_sentence(row)}")
        else:
            print(f"{name.replace('_', ' '):<13} {_readable(name, value)}")


def _info_of_model(arguments: argparse.Namespace, kind: str, source: str) -> dict[str, Any]:
    import paddle

    from ..analysis import count, summary
    from ..models import ViTConfig, build_model, get_config, list_models
    from ..models.presets import split_name
    from ..pretrained import open_source
    from ..weights.inspection import inspect_opened
    from ..weights.load import LoadOptions

    img_size = image_size(arguments.size)
    found: dict[str, Any] = {"model": source}
    if kind == "preset":
        config, (stem, tag) = get_config(source), split_name(source)
        found["model"] = f"{stem}.{tag}" if tag else stem
    else:
        opened = open_source(source)
        looked = inspect_opened(opened, LoadOptions(), values=False)
        if looked.problem:
            raise ValueError(f"{source}: {looked.problem}; vitlib inspect {source} shows more")
        config = ViTConfig.from_dict(looked.options)
        found["file"] = f"{looked.source}, {looked.format}"
    with paddle.LazyGuard():
        model = build_model(config)
    counted = count(model, img_size)
    found |= {
        "kind": type(model).__name__,
        "parameters": counted.parameters,
        "macs": counted.macs,
        "image_size": config.img_size if img_size is None else img_size,
        "patch_size": config.patch_size,
        "embed_dim": config.embed_dim,
        "depth": config.depth,
        "num_heads": config.num_heads,
        "classes": config.num_classes,
        "preprocess": model.preprocess.to_dict(),
    }
    if kind == "preset":
        tags = [found["model"]] if tag else list_models(f"{stem}.*", tags=True)
        found["weights"] = [_weights(name) for name in tags if "." in name]
    else:
        labels = opened.config.labels
        found["labels"] = None if labels is None else list(labels)
        found["assumed"] = list(looked.assumed)
    if arguments.layers:
        table = summary(model, img_size)
        found["layers"] = [asdict(row) for row in table.rows] if arguments.json else {"table": str(table)}
    return found


def _info_of_export(arguments: argparse.Namespace, source: str) -> dict[str, Any]:
    from ..deploy import read_exported

    if arguments.size or arguments.layers:
        raise UsageError(f"{arguments.model} is an export, of whose layers and costs nothing is known")
    found = read_exported(source).manifest()
    return {
        "model": arguments.model,
        "kind": f"export, {found['format']}",
        "files": [f"{name}, {record['bytes'] / 1e6:.1f} MB" for name, record in found["files"].items()],
        "made_from": (found["made_from"] or {}).get("class"),
        "input": found["input"],
        "outputs": {name: record["shape"] for name, record in found["outputs"].items()},
        "labels": found["labels"],
        "preprocess": found["preprocess"],
    }


def _readable(name: str, value: Any) -> str:
    if name == "macs":
        return f"{value / 1e9:.3f} G, for one image"
    if name == "parameters":
        return f"{value:,}"
    if name == "classes":
        return str(value) if value else "none, it gives features"
    if name in ("image_size", "patch_size"):
        height, width = (value, value) if isinstance(value, int) else value
        return f"{height} x {width}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(inner)}" for key, inner in value.items())
    if name == "labels":
        return "no names" if value is None else ", ".join(value[:10]) + (", ..." if len(value) > 10 else "")
    if isinstance(value, list):
        return "; ".join(map(str, value)) or "nothing"
    return str(value)


def _plain(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "(" + ", ".join("any" if part is None else f"{part:g}" for part in value) + ")"
    return str(value)


def _sentence(row: dict[str, Any]) -> str:
    top1 = "" if row["top1"] is None else f"; published top-1 {row['top1']} % ({row['top1_source']})"
    classes = f"{row['classes']} classes" if row["classes"] else "features"
    return f"{row['name']}: {classes}, licence {row['licence']}{top1}; {' or '.join(row['locations'])}"


def inspect_options(parser: Parser) -> None:
    parser.describe(
        "Show what a file of weights is and which model it would load as. Up to 500\n"
        "million values are read, to find those that are not finite; nothing in the file\n"
        "runs. The exit code is 1 for one that would be refused.",
        "vitlib inspect model.pth",
        "vitlib inspect checkpoint.pth --part model_ema",
        "vitlib inspect hf:org/repo --json",
        usage="FILE [OPTIONS]",
    )
    parser.add_argument("file", metavar="FILE", help="a file, a folder, a run, hf:org/repo or a URL; or a preset")
    parser.add_argument("--part", metavar="KEY", help="look at these of several weights in the file (default: all)")
    parser.add_argument("--dialect", default="auto", help="whose names the file has, such as timm or google")
    add_json(parser, "an object")


def inspect_file(arguments: argparse.Namespace) -> int:
    from ..pretrained import open_published, open_source
    from ..weights.inspection import inspect_opened
    from ..weights.load import LoadOptions

    located = locate(arguments.file)
    if located.kind == "export":
        raise UsageError(f"{arguments.file} is an export, not weights; see vitlib info {arguments.file}")
    options = LoadOptions(arguments.dialect)
    if located.kind == "preset":
        _, opened = open_published(located.source, arguments.part)
    else:
        opened = open_source(located.source, arguments.part)
    found = inspect_opened(opened, options)
    print(json.dumps(asdict(found), indent=1, default=str) if arguments.json else arguments.spoken(str(found)))
    return int(bool(found.problem))


COMMANDS = (
    Command("list", "the presets, and their published weights", list_options, list_presets),
    Command("info", "what a model is and costs, and where its weights are", info_options, info),
    Command("inspect", "what a file of weights is, and would load as", inspect_options, inspect_file),
)
