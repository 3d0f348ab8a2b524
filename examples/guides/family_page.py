"""The generated part of a family's page: figures, weights, and commands, on the plan of PaddleClas' pages."""

import functools
from collections.abc import Callable

import vitlib
from vitlib.models import get_config
from vitlib.models.presets import published

QUICK = """```python
import vitlib

vitlib.tune_cpu()
model = vitlib.create_model("{example}", pretrained=True)
model.eval()
print(model.load_report)  # where the weights came from, under which licence
```"""
PREDICT_CLASSES = """```python
for label, probability, index in vitlib.predict(model, "photo.jpg", top_k=5)[0]:
    print(f"{{100 * probability:5.2f}} %  {{label}}")
```

`vitlib.predict` takes a path, a list, a folder or a tensor. From a shell:

```bash
vitlib predict photo.jpg --model {example}
vitlib attention photo.jpg --model {example} --output look.png
```"""
PREDICT_FEATURES = """The model has no classes: a call gives the {what} [B, {width}]. Similar images have similar ones:

```python
import paddle
import paddle.nn.functional as F

with paddle.no_grad():
    features = F.normalize(model(model.preprocess(["photo.jpg", "other.jpg"])))  # [2, {width}]
print(float(features[0] @ features[1]))  # cosine similarity
```

For a folder of images, from a shell:

```bash
vitlib embed photos/ --model {example} --output photos.npz
```"""
ZERO_SHOT = """

With the embeddings of some texts from the same model's text tower, [`zero_shot.py`](../../zero_shot.py) classifies:
`python examples/zero_shot.py photo.jpg --weights {source} --texts texts.npz`."""
EVALUATE = """On ImageNet-1k's validation set, with one folder for each WordNet id (`n01440764`, ...). Sorted, they
are in the order of the model's classes:

```python
from vitlib.images import ImageFolder, load_batches
from vitlib.training import EpochSampler, evaluate

folder = ImageFolder("imagenet/validation", preprocess=model.preprocess)
sampler = EpochSampler(len(folder), batch_size=64, shuffle=False, drop_last=False)
print(evaluate(model, load_batches(folder, sampler), len(folder)).accuracy)  # top-1 in per cent
```

From a shell, with top-5, calibration and confusions:

```bash
vitlib evaluate imagenet/validation --model {example}
```"""
EVALUATE_FEATURES = """These weights have no classes. Their features are judged by the nearest neighbours of each image
in a training folder (kNN), or by a linear classifier:

```bash
vitlib evaluate DATA/validation --knn DATA/train --model {example}
vitlib evaluate DATA/validation --probe DATA/train --model {example}
```"""


DEPLOY = """```python
print(vitlib.export(model, "exported", format="paddle"))  # also "onnx", "openvino"
with vitlib.Predictor("exported") as predictor:
    print(predictor.report)  # engine and precision, and why
```

From a shell:

```bash
vitlib export {example} served/model.onnx
{use} --model served
```

More in the [deployment guide](../deployment.md)."""

figures = functools.cache(vitlib.count)


def family_page(example: str, presets: dict[str, list[str]], hosts: Callable[[list[str]], str]) -> str:
    """Markdown from "Figures" on. presets: {preset: tags}; hosts(names): where the weights of these names are."""
    config = get_config(example)
    name = example.partition(".")[0]
    fields = {"example": example, "name": name, "width": config.num_classes or config.embed_dim}
    has_classes = config.num_classes == 1000
    fields["what"] = "embeddings that CLIP compares with those of texts" if config.num_classes else "pooled features"
    fields["source"] = published(example).locations[0]
    predict = PREDICT_CLASSES if has_classes else PREDICT_FEATURES + (ZERO_SHOT if config.num_classes else "")
    fields["use"] = "vitlib predict photo.jpg" if has_classes else "vitlib embed photos/"
    evaluate = EVALUATE if has_classes else EVALUATE_FEATURES
    sections = [
        ("Figures", _figures(presets)),
        ("Published weights", _weights(presets, hosts)),
        ("Quick experience", QUICK.format(**fields)),
        ("Training", _training(config.distillation_token, example, name)),
        ("Evaluation", evaluate.format(**fields)),
        ("Prediction", predict.format(**fields)),
        ("Deployment", DEPLOY.format(**fields)),
    ]
    return "\n\n".join(f"## {title}\n\n{text}" for title, text in sections)


def _figures(presets: dict[str, list[str]]) -> str:
    lines = [
        "Parameters and multiply-accumulates (MACs) of one image by `vitlib.count`, with the first weights' head.",
        "",
        "| preset | parameters | GMACs | image | patch | width | blocks | heads |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, tags in presets.items():
        full = f"{name}.{tags[0]}" if tags else name
        config, count = get_config(full), figures(full)
        cells = (config.img_size, config.patch_size, config.embed_dim, config.depth, config.num_heads)
        counted = f"{count.parameters:,} | {count.macs / 1e9:.3f} | {' | '.join(map(str, cells))}"
        lines.append(f"| `{name}` | {counted} |")
    return "\n".join(lines)


def _weights(presets: dict[str, list[str]], hosts: Callable[[list[str]], str]) -> str:
    rows = [published(f"{name}.{tag}") for name, tags in presets.items() for tag in tags]
    with_top1 = any(row.top1 is not None for row in rows)
    head = "| weights | output | licence | where |" + (" top-1, % |" if with_top1 else "")
    rule = "Without a tag, `pretrained=True` takes the first weights of a preset"
    others = [name for name, tags in presets.items() if tags and published(name).name != f"{name}.{tags[0]}"]
    if others:  # on this page are not the first
        listed = _listed([f"`{name}`" for name in others])
        rule = f"Give the tag: without one, `pretrained=True` takes other weights for {listed}"
    lines = [f"{rule}.", ""]
    lines += [head, "|---|---|---|---|" + "---|" * with_top1]
    for row in rows:
        cells = [f"`{row.name}`", _output(row.name), row.licence, hosts([row.name])]
        if with_top1:
            cells.append("–" if row.top1 is None else f"{row.top1:g}")
        lines.append(f"| {' | '.join(cells)} |")
    sources = list(dict.fromkeys(row.top1_source for row in rows if row.top1_source))
    if sources:
        lines += [
            "",
            f"Accuracy on ImageNet-1k's validation set as published ({'; '.join(sources)}); not measured here.",
        ]
    bare = [f"`{name}`" for name, tags in presets.items() if not tags]
    if bare:
        lines += ["", f"Nobody has published weights for {_listed(bare)}."]
    return "\n".join(lines)


def _listed(names: list[str]) -> str:
    """ "a, b and c" """
    return " and ".join([", ".join(names[:-1])] * (len(names) > 1) + names[-1:])


def _output(name: str) -> str:
    config = get_config(name)
    if not config.num_classes:
        return f"features, {config.embed_dim}"
    return f"{config.num_classes:,} classes" if config.num_classes >= 1000 else f"embedding, {config.num_classes}"


def _training(distilled: bool, example: str, name: str) -> str:
    lines = []
    if distilled:
        lines = [
            "From scratch, on a folder with `train/CLASS/*.jpg` and `validation/CLASS/*.jpg`: a convnet, then a DeiT",
            "that it teaches:",
            "",
            "```bash",
            "vitlib train DATA --output runs/teacher --model paddle:resnet18 --mixup 0 --cutmix 0",
            f"vitlib train DATA --output runs/student --model {name} --teacher runs/teacher",
            "```",
            "",
        ]
    lines += [
        "Fine-tuning to the classes of a folder with `train/CLASS/*.jpg`:",
        "",
        "```bash",
        f"vitlib finetune DATA --output runs/mine --weights {example} --layer-decay 0.75",
        "```",
        "",
        "More in the [training guide](../training.md).",
    ]
    return "\n".join(lines)
