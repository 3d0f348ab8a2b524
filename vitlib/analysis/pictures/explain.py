"""One image with the evidence for a class, or with where a model looks."""

from __future__ import annotations

from typing import Any

from PIL import Image

from ...images import ImageSource
from ...models import VisionTransformer, predict
from .captions import captioned
from .maps import patch_map, prediction_for, resolve_class
from .overlay import open_photo, overlay
from .text import percent


def draw_attention(
    model: VisionTransformer,
    image: ImageSource,
    *,
    method: str = "relevance",
    class_index: int | str | None = None,
    layer: int = -1,
) -> Image.Image:
    """The image at its own resolution in grey, over it in colours how much each patch matters; below it the class with
    its probability, and the scale. What the crop of the preprocessing left out is pale.

    Args:
        model: the model. It is left as it was, and other threads may evaluate it meanwhile.
        image: an image as `model.preprocess` takes it (path, Pillow image, uint8 array). Orientation tags are followed.
        method: "relevance" (the evidence for a class, see `vitlib.relevance`), "rollout" (the attention through all
            layers, see `vitlib.attention_rollout`) or "attention" (of the token that the output reads, mean of the
            heads of one layer).
        class_index: of relevance: an index or a label; None for the most probable class.
        layer: of attention; negative ones count from the end.

    When they mislead: Attention and rollout are the same for every class: they show where a model looks, not why it
    decides. Attention of late layers often sits on a few patches of the background that large models use as registers
    (arXiv 2309.16588). Rollout ignores what values and MLPs do, and tends towards the same map for every image; its
    scale begins at the least value, so that small differences look large. Relevance shows evidence for the class and
    none against it, and always has a brightest patch, even where the class is improbable: read the probability beside
    it. All are as coarse as the patches: the smooth transitions are interpolation.

    Returns a Pillow image, RGB. Raises ValueError for another method, class or layer, and as `model.preprocess` and
    `vitlib.relevance` do.
    """
    photo, shown = open_photo(model, image), patch_map(model, image, method, class_index, layer)
    picture = overlay(photo, shown.values, shown.scale)
    if not model.config.num_classes or model.config.global_pool == "none":
        return captioned(picture, shown.about, "", shown.scale)
    said = prediction_for(model, image, resolve_class(model, class_index))
    return captioned(picture, f"{said.label} · {percent(said.probability)}", shown.about, shown.scale)


def draw_classes(
    model: VisionTransformer, image: ImageSource, classes: tuple[int | str, int | str] | None = None
) -> Image.Image:
    """The evidence for two classes in one image, side by side on one scale.

    classes: two indices or labels; None for the two most probable classes.

    When it misleads: evidence for the two classes often overlaps, as both are recognised by the object's outline; what
    differs decides. As each map is at least 0, evidence against a class is not shown. See `draw_attention`.

    Returns a Pillow image, RGB. Raises ValueError for other than two classes, and as `draw_attention` does.
    """
    if classes is None:
        classes = tuple(row.index for row in predict(model, image, top_k=2)[0])
    if len(classes) != 2:
        raise ValueError(f"classes={classes!r}: expected two indices or labels")
    photo = open_photo(model, image)
    maps = [patch_map(model, image, "relevance", index) for index in classes]
    scale = max((shown.scale for shown in maps), key=lambda scale: scale.high)
    panels: list[Any] = []
    for index, shown in zip(classes, maps, strict=True):
        said = prediction_for(model, image, resolve_class(model, index))
        picture = overlay(photo, shown.values, scale)
        panels.append(captioned(picture, f"{said.label} · {percent(said.probability)}", shown.about, scale))
    gap = max(4, photo.image.width // 60)
    canvas = Image.new("RGB", (2 * panels[0].width + gap, panels[0].height), "#ffffff")
    canvas.paste(panels[0])
    canvas.paste(panels[1], (panels[0].width + gap, 0))
    return canvas
