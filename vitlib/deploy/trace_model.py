"""A model whose operations are not known, as a Paddle program that Paddle traces."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import paddle
from paddle import nn

from ..layers.patch_embed import to_pair
from ..models import VisionTransformer
from ..models.evaluation import evaluation_mode
from ..models.structure import check_classes
from .graph import Images, Output
from .model_images import images_of


def save_traced(
    model: VisionTransformer,
    prefix: Path,
    outputs: tuple[str, ...],
    img_size: int | tuple[int, int] | None,
    pixels: bool,
) -> tuple[Images, dict[str, Output]]:
    """Write `prefix`.json and `prefix`.pdiparams of what a model gives in evaluation; its input and its output.

    Raises ValueError for outputs other than what a call gives, for logits of another number than the config's classes,
    and for weights in another precision than float32; TypeError for a forward that gives anything but one tensor.
    """
    answer, name = "logits" if model.config.num_classes else "features", type(model).__name__
    if outputs != (answer,):
        raise ValueError(
            f"outputs={outputs}: {name} is traced, since its operations are not known, and a traced model gives "
            f"{answer!r} alone"
        )
    precision = str(model.parameters()[0].dtype).rpartition(".")[2]
    if precision != "float32":
        raise ValueError(
            f"the weights of this model are {precision}, and {name}, whose operations are not known, is traced in "
            "float32: convert it with model.to(dtype='float32')"
        )
    images = images_of(model, img_size, pixels)
    shape = [-1 if side is None else side for side in images.shape]
    traced = _Traced(model, pixels)
    with evaluation_mode(model), _forwards_kept(model):
        found = _run_once(traced, images, to_pair(model.config.img_size))
        if not isinstance(found, paddle.Tensor):
            raise TypeError(f"a call of {name} gives a {type(found).__name__}; an export needs one that gives a tensor")
        if answer == "logits":
            check_classes(model, found.shape[-1])
        spec = paddle.static.InputSpec(shape, images.dtype, images.name)
        static = paddle.jit.to_static(traced, input_spec=[spec], full_graph=True)
        paddle.jit.save(static, str(prefix))
        (output,) = static.forward.concrete_program.outputs
    return images, {answer: Output("0", tuple(None if side < 0 else side for side in output.shape))}


class _Traced(nn.Layer):
    """A model from normalised images or from pixels."""

    def __init__(self, model: VisionTransformer, pixels: bool) -> None:
        super().__init__()
        self.model, self.pixels = model, pixels

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        if self.pixels:
            record = self.model.preprocess
            mean, std = (paddle.to_tensor(list(values)).reshape([1, -1, 1, 1]) for values in (record.mean, record.std))
            images = (images.astype("float32").transpose([0, 3, 1, 2]) / 255 - mean) / std
        return self.model(images)


def _run_once(traced: _Traced, images: Images, size: tuple[int, int]) -> object:
    """What the model gives for one black image, of `size` where the input is open.

    A hook such as that of paddle.nn.utils.weight_norm sets a weight when its layer is called, and a trace would take
    the weight as it was before.
    """
    height, width = (given or side for given, side in zip(images.size, size, strict=True))
    shape = [height, width, images.channels] if traced.pixels else [images.channels, height, width]
    with paddle.no_grad():
        return traced(paddle.zeros([1, *shape], images.dtype))


@contextmanager
def _forwards_kept(model: nn.Layer) -> Iterator[None]:
    """Take back what a trace of Paddle 3.0 leaves behind: a forward that it converted, on every layer."""
    before = {layer: vars(layer).get("forward") for layer in model.sublayers(include_self=True)}
    try:
        yield
    finally:
        for layer, forward in before.items():
            if vars(layer).get("forward") is not forward:
                del layer.forward
                if forward is not None:
                    layer.forward = forward
