import itertools

import numpy as np
import paddle
import pytest
from conftest import refused

from vitlib.training import EpochSampler


def epochs(sampler, count):
    for epoch in range(count):
        sampler.set_epoch(epoch)
        yield list(sampler)


def test_an_epoch_is_a_permutation_that_follows_from_seed_and_epoch():
    first, second = epochs(EpochSampler(12, 4, seed=5), 2)
    for epoch, batches in enumerate((first, second)):
        expected = np.random.default_rng([5, epoch]).permutation(12)
        assert [index for batch in batches for index, _ in batch] == expected.tolist()
        assert [len(batch) for batch in batches] == [4, 4, 4]


@pytest.mark.parametrize("repeats", [1, 3])
def test_no_two_draws_of_a_run_are_equal(repeats):
    keys = [key for batches in epochs(EpochSampler(13, 2, repeats=repeats), 4) for batch in batches for key in batch]
    assert len({draw for _, draw in keys}) == len(keys) == 48


@pytest.mark.parametrize("world_size", [2, 3, 5])
@pytest.mark.parametrize("options", [{}, {"repeats": 3}, {"shuffle": False, "drop_last": False}])
def test_all_processes_together_see_the_batches_of_one(world_size, options):
    one = EpochSampler(101, 4 * world_size, seed=2, **options)
    ranks = [EpochSampler(101, 4, seed=2, rank=rank, world_size=world_size, **options) for rank in range(world_size)]
    for whole, *parts in zip(epochs(one, 3), *(epochs(rank, 3) for rank in ranks), strict=True):
        joined = itertools.zip_longest(*parts, fillvalue=[])
        assert [sorted(itertools.chain(*batches)) for batches in joined] == [sorted(batch) for batch in whole]
        for part, sampler in zip(parts, ranks, strict=True):
            assert len(part) == len(sampler)
            assert all(part)


def test_training_processes_have_equally_many_full_batches():
    for rank in range(3):
        batches = list(EpochSampler(100, 4, rank=rank, world_size=3))
        assert [len(batch) for batch in batches] == [4] * 8


def test_evaluation_sees_every_sample_once_over_all_processes():
    for length in range(1, 40):
        ranks = [EpochSampler(length, 4, shuffle=False, drop_last=False, rank=rank, world_size=3) for rank in range(3)]
        seen = [index for sampler in ranks for batch in sampler for index, _ in batch]
        assert sorted(seen) == list(range(length))


def test_repeated_augmentation_is_the_list_of_facebooks_sampler():
    """RASampler (deit/samplers.py): [0, 0, 0, 1, 1, 1, ...] of the shuffled indices, every world_size-th for a rank,
    cut so that the ranks together have as many as the dataset (here a multiple of 256)."""
    shuffled = np.random.default_rng([0, 0]).permutation(512)
    tripled = [index for index in shuffled.tolist() for _ in range(3)][:512]
    ranks = [EpochSampler(512, 16, repeats=3, rank=rank, world_size=4) for rank in range(4)]
    for number, parts in enumerate(zip(*ranks, strict=True)):
        rows = [[index for index, _ in row] for row in zip(*parts, strict=True)]
        rows[8:] = [row[::-1] for row in rows[8:]]  # ours are dealt out backwards in the second half of a batch
        assert [index for row in rows for index in row] == tripled[64 * number : 64 * number + 64]


def test_repeated_augmentation_works_on_one_process():
    batches = list(EpochSampler(12, 6, repeats=3))
    for batch in batches:
        indices = [index for index, _ in batch]
        assert indices[0] == indices[1] == indices[2] != indices[3] == indices[4] == indices[5]


@pytest.mark.parametrize("world_size", [2, 3])
def test_a_sample_and_its_partner_from_the_end_of_the_batch_come_to_one_process(world_size):
    """Which makes Mixup of each process that of all together."""
    whole = next(iter(EpochSampler(50, 4 * world_size)))
    partners = dict(zip(whole, whole[::-1], strict=True))
    for rank in range(world_size):
        own = next(iter(EpochSampler(50, 4, rank=rank, world_size=world_size)))
        assert own[::-1] == [partners[key] for key in own]


def test_an_epoch_is_resumed_in_its_middle():
    whole = [batch for batches in epochs(EpochSampler(20, 4, seed=1), 2) for batch in batches]
    for done in range(9):
        sampler = EpochSampler(20, 4, seed=1)
        for _ in range(done):
            sampler.advance()
        resumed = EpochSampler(20, 4, seed=1)
        resumed.set_state_dict(sampler.state_dict())
        rest = []
        for epoch in range(resumed.epoch, 2):
            resumed.set_epoch(epoch)
            for batch in resumed:
                rest.append(batch)
                resumed.advance()
        assert rest == whole[done:]
        assert (resumed.epoch, resumed.batch) == (2, 0)


def test_an_epoch_is_resumed_on_another_number_of_processes():
    one = EpochSampler(20, 4, seed=1)
    one.advance()
    resumed = [EpochSampler(20, 2, seed=1, rank=rank, world_size=2) for rank in range(2)]
    for sampler in resumed:
        sampler.set_state_dict(one.state_dict())
    assert [sorted(a + b) for a, b in zip(*resumed, strict=True)] == [sorted(batch) for batch in one]


def test_a_loader_that_reads_ahead_does_not_move_the_sampler():
    class Keys(paddle.io.Dataset):
        def __getitem__(self, key):
            return np.array(key)

        def __len__(self):
            return 20

    sampler, expected = EpochSampler(20, 4), list(EpochSampler(20, 4))
    for count, batch in enumerate(paddle.io.DataLoader(Keys(), batch_sampler=sampler)):
        assert (sampler.epoch, sampler.batch) == (0, count)
        assert batch.numpy().tolist() == [list(key) for key in expected[count]]
        sampler.advance()
    assert (sampler.epoch, sampler.batch) == (1, 0)


def test_a_state_of_another_order_is_refused():
    state = EpochSampler(20, 4).state_dict()
    for other in (
        EpochSampler(21, 4),
        EpochSampler(20, 2),
        EpochSampler(20, 4, seed=1),
        EpochSampler(20, 4, repeats=3),
        EpochSampler(20, 4, drop_last=False),
    ):
        with refused(ValueError, "the state is of"):
            other.set_state_dict({**state, "batch": 2})
        assert other.batch == 0


def test_numbers_that_cannot_work_are_refused():
    with refused(ValueError, "3 samples", "2 on 2"):
        EpochSampler(3, 2, world_size=2)
    with refused(ValueError, "rank=2", "0 to 1"):
        EpochSampler(30, 2, rank=2, world_size=2)
    with refused(ValueError, "last batch of 1"):
        EpochSampler(9, 2, world_size=2, drop_last=False)
    with refused(ValueError, "repeats=3"):
        EpochSampler(30, 2, repeats=3, shuffle=False)
    with refused(ValueError, "batch_size=0"):
        EpochSampler(30, 0)


def test_without_being_moved_it_goes_through_the_epochs_by_itself():
    placed, alone = EpochSampler(12, 4, seed=2), EpochSampler(12, 4, seed=2)
    for epoch, batches in enumerate(epochs(placed, 3)):
        assert list(alone) == batches
        assert alone.passes == epoch
    alone.set_epoch(0)
    assert list(alone) == list(alone) == next(epochs(EpochSampler(12, 4, seed=2), 1))


@pytest.mark.parametrize("done", [1, 3])
def test_one_that_is_not_moved_goes_on_with_the_next_epoch_after_a_resume(done):
    sampler = EpochSampler(12, 4, seed=2)
    unbroken = [list(sampler) for _ in range(5)]
    first = EpochSampler(12, 4, seed=2)
    for _ in range(done):
        list(first)
    resumed = EpochSampler(12, 4, seed=2)
    resumed.set_state_dict(first.state_dict())
    assert [list(resumed) for _ in range(5 - done)] == unbroken[done:]
    next(iter(first))  # and within an epoch, with this epoch
    resumed.set_state_dict(first.state_dict())
    assert [list(resumed) for _ in range(5 - done)] == unbroken[done:]


def test_one_that_was_looked_at_before_training_has_all_its_epochs_and_goes_on_where_it_was():
    sampler, batches = EpochSampler(12, 4, seed=2), []
    next(iter(sampler))
    states = []
    while sampler.epoch < 2:
        for batch in sampler:
            states.append(sampler.state_dict())
            batches.append(batch)
            sampler.advance()
    assert batches == [batch for epoch in [*epochs(EpochSampler(12, 4, seed=2), 3)][1:] for batch in epoch]
    for done in (1, 4):
        again = EpochSampler(12, 4, seed=2)
        again.set_state_dict(states[done])
        assert next(iter(again)) == batches[done]
