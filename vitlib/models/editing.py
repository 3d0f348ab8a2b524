"""Changing a model after it was made: head, depth, image size, frozen parameters, recomputation, saving."""

from __future__ import annotations

import os
from collections.abc import Iterable

import paddle
from paddle import nn

from ..images import Preprocess
from ..images.checks import check_count, is_whole
from ..layers import resample_positions
from ..layers.norm import is_running_statistic
from ..layers.patch_embed import Size, grid_of, to_pair
from .config import ViTConfig
from .initial_values import draw


def set_mode(layer: nn.Layer, training: bool) -> None:
    """Training or evaluation; a new layer begins in training."""
    if training:
        layer.train()
    else:
        layer.eval()


class Editable:
    """The part of `VisionTransformer` that changes it; it computes nothing."""

    config: ViTConfig

    @property
    def preprocess(self) -> Preprocess:
        """Preprocessing of images for this model. Assign another to change it; it travels with the config."""
        record = self.config.preprocess
        if record.size is None:
            record = record.replace(size=self.config.img_size)
        return record.with_channels(self.config.in_chans)

    @preprocess.setter
    def preprocess(self, record: Preprocess) -> None:
        size = None if record.size == self.config.img_size else record.size  # it follows the model's
        self.config = self.config.replace(preprocess=record.replace(size=size))

    def save_pretrained(self, directory: str | os.PathLike[str]) -> None:
        """Write config.json (architecture, preprocessing, labels) and model.safetensors (timm's names), which
        `vitlib.from_pretrained(directory)` opens. Each file appears whole or not at all.

        Raises RuntimeError for a model without values, and OSError when the disk does.
        """
        from ..pretrained import save_pretrained

        save_pretrained(self, directory)

    def reset_head(self, num_classes: int) -> None:
        """A fresh head (of a DeiT, both) for another number of classes, without labels; 0 removes it.

        An optimiser made before does not know its parameters. Raises ValueError below 0.
        """
        self.config = self.config.replace(num_classes=num_classes)
        self.labels = None
        self.head = self.make_head()
        set_mode(self.head, self.training)

    def set_image_size(self, size: Size) -> None:
        """Expect images of another size, int or (height, width), from now on.

        The position table is resampled by config.position_resize and stays the same Parameter object. Call it before
        training: an optimiser that has made a step keeps moments of the old shape. A table without values is drawn for
        the new grid instead. The size of `preprocess` follows.
        Raises ValueError, and changes nothing, when the patch does not fit the size.
        """
        old_grid = self.patch_embed.grid_size
        new_grid = grid_of(to_pair(size, "img_size"), self.patch_embed.patch_size, self.patch_embed.dynamic_img_pad)
        if self.config.has_position_table and new_grid != old_grid and self.pos_embed._is_initialized():
            with paddle.no_grad():
                table, dtype = self.pos_embed, self.pos_embed.dtype
                if dtype != paddle.float64:  # a CPU has no matrix product in half precision
                    table = table.astype("float32")
                table = resample_positions(table, old_grid, new_grid, self.config.position_resize).astype(dtype)
            self.pos_embed._set_impl(table)  # set_value refuses another shape
            self.pos_embed.clear_gradient(False)
        self.patch_embed.set_image_size(size)
        self.config = self.config.replace(img_size=size, preprocess=self.config.preprocess.replace(size=None))
        if self.config.has_position_table and not self.pos_embed._is_initialized():
            self._reshape_unfilled(self.pos_embed)

    def _reshape_unfilled(self, parameter: paddle.Tensor) -> None:
        """Give a table without values the shape and initialiser it would be built with now; the object stays."""
        with paddle.LazyGuard():
            fresh = self.make_position_table()
        parameter.__init__(list(fresh.shape), fresh.dtype, name=parameter.name, trainable=parameter.trainable)
        parameter._init_func, parameter._init_op_creator = fresh._init_func, fresh._init_op_creator

    def prune_blocks(self, count: int) -> None:
        """Keep the first `count` encoder blocks alone; each keeps its weights and its drop path rate.

        Features of the last block left then go to the final norm and the head, which were not trained for them.
        Raises ValueError when count is not from 1 to the number of blocks.
        """
        depth = len(self.blocks)
        if check_count("count", count, 1) > depth:
            raise ValueError(f"count={count}: expected 1 to {depth}, the number of blocks of this model")
        config, rate = self.config, self.config.drop_path_rate
        if config.drop_path_schedule == "linear" and depth > 1:
            rate *= (count - 1) / (depth - 1)
        self.blocks = self.blocks[:count]
        self.config = config.replace(depth=count, drop_path_rate=rate)

    def reinitialise(self, names: Iterable[str]) -> None:
        """Give parameters new initial values, drawn by config.weight_init; the Parameter objects stay.

        names: as in `named_parameters`. Raises ValueError for names that a plain ViT or DeiT does not have; parameters
        without values are drawn whatever their names, since they have an initialiser of their own.
        """
        parameters = dict(self.named_parameters())
        for name in names:
            draw(self, name, parameters)

    def freeze(self, blocks: int | None = None) -> None:
        """Stop training everything but the head(s); or, given a number, the embedding and the first `blocks` blocks.

        Frozen parameters have `trainable` False, so optimisers and `backward` leave them alone. `unfreeze` undoes it.
        Raises ValueError for more blocks than there are.
        """
        if blocks is not None and not (is_whole(blocks) and 0 <= blocks <= len(self.blocks)):
            raise ValueError(f"blocks={blocks!r}: expected 0 to {len(self.blocks)}, the number of blocks of this model")
        for name, parameter in self.named_parameters():
            part, _, rest = name.partition(".")
            if blocks is None:
                frozen = part not in ("head", "head_dist")
            elif part == "blocks":
                frozen = int(rest.partition(".")[0]) < blocks
            else:
                frozen = part in ("patch_embed", "pos_embed", "norm_pre", *self.prefix_names)
            if frozen:
                parameter.trainable = False

    def unfreeze(self) -> None:
        """Train every parameter again (a fixed sin-cos table stays fixed)."""
        for name, parameter in self.named_parameters():
            fixed = is_running_statistic(name) or (name == "pos_embed" and self.config.pos_embed != "learned")
            parameter.trainable = not fixed

    def set_recompute(self, enabled: bool = True) -> None:
        """In training, keep only the input of each block and run the block again for its gradient: less memory, the
        same gradients, a third to a half more time. Blocks in which nothing needs a gradient run once.

        It is Paddle's own recomputation (`use_reentrant=False`), which makes some 24 tensors a block and step. On
        Paddle 3.3, making a tensor with `paddle.Tensor(...)` leaks an empty list: 1.7 KB a block and step, 2 GB in
        100,000 steps of 12 blocks. Paddle 3.0 does not leak.
        """
        self.recompute = enabled

    def no_weight_decay(self) -> set[str]:
        """Names of the position table and prefix tokens, which weight decay leaves alone beside all 1-D parameters."""
        return {name for name in ("pos_embed", *self.prefix_names) if name in dict(self.named_parameters())}
