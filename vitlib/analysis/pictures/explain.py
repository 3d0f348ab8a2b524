"""One image with the evidence for a class, or with where a model looks."""

from __future__ import annotations

from PIL import Image

from ...images import ImageSource
from ...models import VisionTransformer, predict
from .captions import PAPER, captioned
from .maps import PatchMap, patch_map
from .overlay import Photo, open_photo, overlay
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
    photo = open_photo(model, image)
    return _explained(photo, patch_map(model, photo.source, method, class_index, layer))


def draw_classes(
    model: VisionTransformer, image: ImageSource, classes: tuple[int | str, int | str] | None = None
) -> Image.Image:
    """The evidence for two classes in one image, side by side on one scale.

    classes: two indices or labels; None for the two most probable classes.

    When it misleads: evidence for the two classes often overlaps, as both are recognised by the object's outline; what
    differs decides. As each map is at least 0, evidence against a class is not shown. See `draw_attention`.

    Returns a Pillow image, RGB. Raises ValueError for other than two classes, and as `draw_attention` does.
    """
    photo = open_photo(model, image)
    if classes is None:
        classes = tuple(row.index for row in predict(model, photo.source, top_k=2)[0])
    if len(classes) != 2:
        raise ValueError(f"classes={classes!r}: expected two indices or labels")
    maps = [patch_map(model, photo.source, "relevance", index) for index in classes]
    scale = max((shown.scale for shown in maps), key=lambda scale: scale.high)
    left, right = (_explained(photo, shown._replace(scale=scale)) for shown in maps)
    gap = max(4, left.width // 60)
    canvas = Image.new("RGB", (left.width + gap + right.width, left.height), PAPER)
    canvas.paste(left)
    canvas.paste(right, (left.width + gap, 0))
    return canvas


def _explained(photo: Photo, shown: PatchMap) -> Image.Image:
    picture, said = overlay(photo, shown.values, shown.scale), shown.prediction
    if said is None:
        return captioned(picture, shown.about, "", shown.scale)
    return captioned(picture, f"{said.label} · {percent(said.probability)}", shown.about, shown.scale)
