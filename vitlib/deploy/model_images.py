"""The images that a model's graph takes."""

from __future__ import annotations

from ..layers.patch_embed import grid_of, to_pair
from ..models import VisionTransformer
from .graph import Images


def images_of(model: VisionTransformer, img_size: int | tuple[int, int] | None, pixels: bool) -> Images:
    """The input of a model's graph; arguments and errors as of `vitlib.deploy.describe`."""
    size, channels = _image_size(model, img_size), model.config.in_chans
    patch = None if model.config.dynamic_img_pad else to_pair(model.config.patch_size)
    if pixels:
        return Images((None, *size, channels), "uint8", patch=patch)
    return Images((None, channels, *size), patch=patch)


def _image_size(model: VisionTransformer, img_size: int | tuple[int, int] | None) -> tuple[int | None, int | None]:
    config = model.config
    if img_size is None:
        return (None, None) if config.dynamic_img_size else to_pair(config.img_size)
    size = to_pair(img_size, "img_size")
    grid_of(size, to_pair(config.patch_size), config.dynamic_img_pad)
    if size != to_pair(config.img_size) and not config.dynamic_img_size:
        raise ValueError(
            f"img_size={img_size}: this model takes images of {config.img_size} alone; call "
            f"model.set_image_size({img_size}) first, or build it with dynamic_img_size=True"
        )
    return size
