"""The order in which training sees its samples: a pure function of (seed, epoch), the same on one process or many."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..images.checks import check_count


class EpochSampler:
    """Batches of (index, draw), for `ImageFolder` and as the `batch_sampler` of `paddle.io.DataLoader`.

    Args:
        length: samples in the dataset.
        batch_size: per process.
        shuffle: a new order in each epoch; False gives 0, 1, 2, ... in each.
        seed: of the orders. That of an epoch is `numpy.random.default_rng([seed, epoch]).permutation(length)`.
        repeats: copies of each sample, one after the other in the shuffled order (repeated augmentation, Hoffer et al.
            2020, arXiv 1901.09335; DeiT takes 3). The order is cut to `length`, so an epoch is as long as without and
            sees length / repeats different samples, as with `RASampler` of facebook's DeiT code. That cuts epochs to
            multiples of 256, too, and is left out on one process; this is not.
        rank, world_size: this process and their number. All processes together see, batch by batch, the samples and
            draws that one process with batch_size * world_size would see. Such a batch is dealt out in rows of
            world_size samples, in its second half from the last rank to the first: sample i and the i-th from the end
            so come to one process, whose `Mixup` then pairs what one process would pair, if batch_size is even. The
            last, smaller batch is dealt out from the first rank on.
        drop_last: leave out the last, smaller batch of an epoch. False, for evaluation: every sample once over all
            processes, none twice; a process that has no part in the last batch has a batch less.

    `draw` is the number of the sample over the entire run: epoch * length + position in the epoch's order. No two draws
    of a run are equal, on any process, and they do not depend on the batch size.

    `epoch` and `batch` tell where training is. Loaders read ahead, so iterating changes neither: call `advance` after
    each batch that was trained on. An iteration starts at `batch`, so after `set_state_dict` an epoch is taken up
    where it was left:

        while sampler.epoch < epochs:
            for images, labels, indices, unreadable in load_batches(dataset, sampler):
                ...
                sampler.advance()

    Or call `set_epoch` before each epoch. Where neither is done, an iteration takes the order and draws of the epoch
    after that of the iteration before: `passes` counts these.

    Raises ValueError when a number cannot work, an epoch would have no batch, or training processes would have
    different numbers of batches and wait for each other for ever.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        *,
        shuffle: bool = True,
        seed: int = 0,
        repeats: int = 1,
        rank: int = 0,
        world_size: int = 1,
        drop_last: bool = True,
    ) -> None:
        for name, value, least in (
            ("length", length, 1),
            ("batch_size", batch_size, 1),
            ("seed", seed, 0),
            ("repeats", repeats, 1),
            ("world_size", world_size, 1),
        ):
            check_count(name, value, least)
        if not 0 <= rank < world_size:
            raise ValueError(f"rank={rank}: expected 0 to {world_size - 1}, since world_size={world_size}")
        if repeats > 1 and not shuffle:
            raise ValueError(f"repeats={repeats} without shuffling would only ever see the first samples")
        if drop_last and length < batch_size * world_size:
            raise ValueError(
                f"{length} samples do not fill one batch of {batch_size} on {world_size} processes; "
                "take a smaller batch_size or drop_last=False"
            )
        if shuffle and not drop_last and 0 < length % (batch_size * world_size) < world_size:
            raise ValueError(
                f"the last batch of {length % (batch_size * world_size)} samples does not reach all {world_size} "
                "processes; take drop_last=True or another batch_size"
            )
        self.length = length
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.repeats = repeats
        self.rank = rank
        self.world_size = world_size
        self.drop_last = drop_last
        self.epoch = 0
        self.batch = 0
        self.passes = 0
        self._iterated = self._ended = False  # the last iteration, if there was one, to its end
        self._placed = False  # by advance or set_epoch

    def __len__(self) -> int:
        """Batches of this process in an entire epoch."""
        full, rest = divmod(self.length, self.batch_size * self.world_size)
        return full if self.drop_last else full + (rest > self.rank)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        """The rest of the present epoch: one list of (index, draw) per batch."""
        self.passes += self._iterated and not self._placed
        self._iterated, self._ended = True, False
        # of the present position, though a loader's thread may come to it later
        return self._batches(self.epoch + self.passes, self.batch)

    def _batches(self, epoch: int, start: int) -> Iterator[list[tuple[int, int]]]:
        order = self._order(epoch)
        stride = self.batch_size * self.world_size
        for batch in range(start, len(self)):
            begin, end = batch * stride, min((batch + 1) * stride, self.length)
            positions = range(begin + self.rank, end, self.world_size)
            if end - begin == stride:
                half = (self.batch_size + 1) // 2
                mirrored = range(begin + self.world_size - 1 - self.rank, end, self.world_size)
                positions = [*positions[:half], *mirrored[half:]]
            yield [(int(order[i]), epoch * self.length + i) for i in positions]
        self._ended = True

    def _order(self, epoch: int) -> np.ndarray:
        if not self.shuffle:
            return np.arange(self.length)
        permutation = np.random.default_rng([self.seed, epoch]).permutation(self.length)
        return np.repeat(permutation[: -(-self.length // self.repeats)], self.repeats)[: self.length]

    def advance(self) -> None:
        """Counts one batch as done; after the last of an epoch comes the first of the next."""
        self._placed = True
        self.batch += 1
        if self.batch >= len(self):
            self.epoch, self.batch = self.epoch + 1, 0

    def set_epoch(self, epoch: int) -> None:
        """Goes to the beginning of `epoch`; the present one goes on where it is."""
        check_count("epoch", epoch)
        if epoch != self.epoch:
            self.epoch, self.batch = epoch, 0
        self.passes, self._placed = 0, True

    def state_dict(self) -> dict[str, Any]:
        """Where training is, and what the order depends on, as plain JSON values."""
        place = {name: getattr(self, name) for name in ("epoch", "batch", "passes")}
        return {**place, "iterated": self._iterated and self._ended, "placed": self._placed, **self._settings()}

    def set_state_dict(self, state: dict[str, Any]) -> None:
        """Goes to where `state_dict` was made. The number of processes may differ if they take as much together.

        Raises ValueError, before anything is changed, when the order of samples would be another one.
        """
        for name, value in self._settings().items():
            if state.get(name) != value:
                raise ValueError(
                    f"the sampler has {name} {value} and the state is of one with {state.get(name)}; "
                    "resume with the same data and settings, or start anew"
                )
        self.epoch, self.batch, self.passes = (state[name] for name in ("epoch", "batch", "passes"))
        self._iterated, self._placed = state.get("iterated", False), state.get("placed", True)

    def _settings(self) -> dict[str, Any]:
        return {
            "length": self.length,
            "batch_size_of_all_processes": self.batch_size * self.world_size,
            "shuffle": self.shuffle,
            "seed": self.seed,
            "repeats": self.repeats,
            "drop_last": self.drop_last,
        }
