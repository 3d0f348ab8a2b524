"""Write the generated parts of the documentation: python make_pages.py [--check]

These are the parts of README.md and of the guides between `<!-- NAME:begin -->` and `<!-- NAME:end -->`: the table of
models, the table of codebases, the table of what was learnt on little data, and the pages of the families below the
introduction. --check writes nothing and exits
with 1 when a file is not as it would be written.
"""

import argparse
import json
import re
import statistics
import sys
from pathlib import Path
from typing import NamedTuple

from family_page import family_page, figures

from vitlib.models.preset_table import PRESETS
from vitlib.models.presets import published
from vitlib.weights.dialects import codebase_table

GUIDES = Path(__file__).parent
ROOT = GUIDES.parents[1]


class Family(NamedTuple):
    """A page of families/. rows: those of preset_table.FAMILIES, or, for models that share a row with others, the
    names of their presets or tags. example: a preset with a tag for the page's commands."""

    page: str
    title: str
    rows: tuple[str, ...]
    example: str
    tags: tuple[str, ...] = ()


FAMILIES = (
    Family("vit", "ViT", ("vit", "gap"), "vit_tiny_patch16_224.augreg_in21k_ft_in1k"),
    Family("hybrid", "Hybrids", ("r", "r26", "r50", "r50_s16"), "vit_small_r26_s32_224.augreg_in21k_ft_in1k"),
    Family("deit", "DeiT", ("deit", "distilled"), "deit_tiny_distilled_patch16_224.fb_in1k"),
    Family("deit3", "DeiT III", ("deit3",), "deit3_small_patch16_224.fb_in1k"),
    Family("dino_mae", "DINO, MAE", ("vit",), "vit_small_patch16_224.dino", ("dino", "mae")),
    Family("dinov2", "DINOv2", ("dinov2", "dinov2_reg"), "vit_small_patch14_dinov2.lvd142m"),
    Family("dinov3", "DINOv3", ("dinov3", "dinov3_no_bias"), "vit_small_patch16_dinov3.lvd1689m"),
    Family("clip", "CLIP", ("clip", "clip_b", "clip_l"), "vit_base_patch32_clip_quickgelu_224.openai"),
    Family("siglip", "SigLIP", ("siglip", "siglip_tanh"), "vit_base_patch16_siglip_224.webli"),
)
# Architectures of README's table, one row each: papers' names, presets of the sizes
ARCHITECTURES = {
    "vit": {
        "ViT-Ti/16": ("vit_tiny_patch16_224", "vit_tiny_patch16_384"),
        "ViT-S/32": ("vit_small_patch32_224", "vit_small_patch32_384"),
        "ViT-S/16": ("vit_small_patch16_224", "vit_small_patch16_384"),
        "ViT-B/32": ("vit_base_patch32_224", "vit_base_patch32_384"),
        "ViT-B/16": ("vit_base_patch16_224", "vit_base_patch16_384"),
        "ViT-B/8": ("vit_base_patch8_224",),
        "ViT-L/32": ("vit_large_patch32_224", "vit_large_patch32_384"),
        "ViT-L/16": ("vit_large_patch16_224", "vit_large_patch16_384"),
        "ViT-H/14": ("vit_huge_patch14_224", "vit_huge_patch14_518"),
    },
    "deit": {
        "DeiT-Ti": ("deit_tiny_patch16_224",),
        "DeiT-S": ("deit_small_patch16_224",),
        "DeiT-B": ("deit_base_patch16_224", "deit_base_patch16_384"),
        "DeiT-Ti distilled": ("deit_tiny_distilled_patch16_224",),
        "DeiT-S distilled": ("deit_small_distilled_patch16_224",),
        "DeiT-B distilled": ("deit_base_distilled_patch16_224", "deit_base_distilled_patch16_384"),
    },
}
# Rows of README's table of learning: names of examples/results/clothing10/
LEARNT = {
    "none": "ViT without a teacher",
    "hard-token": "DeiT, hard distillation with its token",
    "stem-hard-token": "the same with a convolutional stem",
    "teacher": "the teacher, a convnet",
    "clothes": "DeiT with a convolutional stem, the model of `examples/clothes`",
}
CHINESE = {
    "model": "模型",
    "image": "图像尺寸",
    "parameters": "参数量",
    "top-1, %": "top-1，%",
    "weights": "权重来源",
    "seeds": "种子数",
    "validation, %": "验证集，%",
    "test, %": "测试集，%",
    "ViT without a teacher": "无教师的 ViT",
    "DeiT, hard distillation with its token": "DeiT，带蒸馏 token 的硬蒸馏",
    "the same with a convolutional stem": "同上，加卷积 stem",
    "the teacher, a convnet": "教师（卷积网络）",
    "DeiT with a convolutional stem, the model of `examples/clothes`": "带卷积 stem 的 DeiT（`examples/clothes`）",
}
HOSTS = {
    "hf:": "Hugging Face",
    "https://storage.googleapis.com/": "Google",
    "https://dl.fbaipublicfiles.com/": "Meta",
    "https://github.com/rwightman/": "timm's releases",
    "https://paddle-imagenet-models-name.bj.bcebos.com/": "PaddleClas",
    "https://paddle-model-ecology.bj.bcebos.com/": "PaddleClas",
}


def presets_of(family: Family) -> dict[str, list[str]]:
    """{preset: its tags} of a page, in the order of the table of presets."""
    named_elsewhere = {tag for other in FAMILIES if other is not family for tag in other.tags}
    found = {}
    for name, preset in PRESETS.items():
        if preset.family not in family.rows:
            continue
        tags = [
            w.tag for w in preset.weights if (w.tag in family.tags if family.tags else w.tag not in named_elsewhere)
        ]
        if tags or not (family.tags or preset.weights):
            found[name] = tags
    return found


def hosts(names: list[str]) -> str:
    """Where weights called preset.tag are, each place once."""
    places = [
        host
        for name in names
        for location in published(name).locations
        for start, host in HOSTS.items()
        if location.startswith(start)
    ]
    return ", ".join(place for place in dict.fromkeys(HOSTS.values()) if place in places) or "–"


def top1(name: str) -> float | None:
    """The published accuracy of the first weights of a preset that have one."""
    rows = PRESETS[name].weights
    return next((row.top1 for row in rows if row.top1 is not None), None)


def model_table(link: str) -> str:
    """README's table; link: from the page to the folder of the families."""
    lines = ["| model | image | parameters | GMACs | top-1, % | weights |", "|---|---|---|---|---|---|"]
    for page, rows in ARCHITECTURES.items():
        presets = presets_of(next(family for family in FAMILIES if family.page == page))
        for title, names in rows.items():
            counts = [figures(name) for name in names]
            cells = [
                f"[{title}]({link}{page}.md)",
                ", ".join(str(PRESETS[name].image) for name in names),
                f"{counts[0].parameters:,}",
                ", ".join(f"{count.macs / 1e9:.3f}" for count in counts),
                ", ".join("–" if top1(name) is None else f"{top1(name):g}" for name in names),
                hosts([f"{name}.{tag}" for name in names for tag in presets[name]]),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    for family in FAMILIES:
        if family.page not in ARCHITECTURES:
            lines.append(_family_row(family, link))
    return "\n".join(lines)


def _family_row(family: Family, link: str) -> str:
    presets = presets_of(family)
    images = sorted({PRESETS[name].image for name in presets})
    counts = [figures(f"{name}.{tags[0]}") for name, tags in presets.items()]
    parameters, macs = sorted(count.parameters for count in counts), sorted(count.macs for count in counts)
    cells = [
        f"[{family.title}]({link}{family.page}.md), {len(presets)} presets",
        ", ".join(map(str, images)),
        f"{parameters[0]:,} to {parameters[-1]:,}",
        f"{macs[0] / 1e9:.3f} to {macs[-1] / 1e9:.3f}",
        "–",
        hosts([f"{name}.{tag}" for name, tags in presets.items() for tag in tags]),
    ]
    return f"| {' | '.join(cells)} |"


def learning_table() -> str:
    """README's table of accuracy on photographs of clothes, the mean over seeds."""
    lines = ["| | seeds | parameters | validation, % | test, % |", "|---|---|---|---|---|"]
    for row, title in LEARNT.items():
        paths = (GUIDES.parent / "results").glob(f"{'clothes' if row == 'clothes' else 'clothing10'}/{row}-seed*.json")
        if results := [json.loads(path.read_text()) for path in paths]:
            means = [statistics.mean(result[part]["model"] for result in results) for part in ("validation", "test")]
            cells = [title, str(len(results)), f"{results[0]['parameters']:,}", *(f"{mean:.1f}" for mean in means)]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def in_chinese(table: str) -> str:
    """A table with those of its cells translated that `CHINESE` has."""

    def translated(cell: str) -> str:
        return f" {CHINESE[cell.strip()]} " if cell.strip() in CHINESE else cell

    return "\n".join("|".join(map(translated, line.split("|"))) for line in table.split("\n"))


def generated() -> dict[tuple[Path, str], str]:
    """{(file, name of the part): its text}"""
    parts = {
        (ROOT / "README.md", "models"): model_table("examples/guides/families/"),
        (GUIDES / "zh" / "README.md", "models"): in_chinese(model_table("../families/")),
        (ROOT / "README.md", "learning"): learning_table(),
        (GUIDES / "zh" / "README.md", "learning"): in_chinese(learning_table()),
        (GUIDES / "weights.md", "codebases"): codebase_table(),
    }
    for family in FAMILIES:
        path = GUIDES / "families" / f"{family.page}.md"
        parts[path, "page"] = family_page(family.example, presets_of(family), hosts)
    return parts


def with_part(text: str, name: str, part: str) -> str:
    """A file's text with one generated part replaced. Raises ValueError where its place is not marked."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    replaced, count = re.subn(
        f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: f"{begin}\n{part}\n{end}", text, count=1, flags=re.DOTALL
    )
    if not count:
        raise ValueError(f"there is no place marked {begin} ... {end}")
    return replaced


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare the files instead of writing them")
    check = parser.parse_args().check
    stale = []
    for (path, name), part in generated().items():
        old = path.read_text(encoding="utf-8")
        try:
            new = with_part(old, name, part)
        except ValueError as error:
            sys.exit(f"make_pages.py: {path}: {error}")
        if new != old:
            stale.append(str(path.relative_to(ROOT)))
            if not check:
                path.write_text(new, encoding="utf-8")
    if check and stale:
        sys.exit(f"make_pages.py: not as they would be written: {', '.join(stale)}; run it without --check")
    print("\n".join(f"wrote {path}" for path in stale) or "every page is up to date")


if __name__ == "__main__":
    main()
