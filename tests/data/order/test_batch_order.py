"""The order of the samples: complete, disjoint, and the same for any number of processes."""

import itertools

import numpy as np
import pytest

from hpc_dl.data.order.batch_order import BatchOrder, Blocks, cut, epoch_order
from hpc_dl.errors import DataError

CASES = [(7, 1, 1), (7, 3, 2), (64, 8, 2), (65, 8, 2), (100, 7, 3), (5, 1, 4), (12, 5, 4), (129, 64, 2), (33, 4, 8)]


def orders(num_samples: int, batch_size: int, num_ranks: int, *, shuffle: bool, epoch: int = 0) -> list[BatchOrder]:
    made = [
        BatchOrder(num_samples, batch_size, shuffle=shuffle, seed=3, rank=rank, num_ranks=num_ranks)
        for rank in range(num_ranks)
    ]
    for order in made:
        order.set_epoch(epoch)
    return made


def test_order_is_pinned() -> None:
    # Golden: this very order is a promise (a resumed run must go on where it stopped, on any
    # NumPy).
    assert epoch_order(10, 0, 0).tolist() == [0, 2, 9, 1, 8, 5, 4, 3, 6, 7]
    assert epoch_order(10, 0, 1).tolist() == [5, 3, 7, 8, 2, 4, 1, 0, 6, 9]


def test_order_is_a_permutation_that_depends_on_seed_and_epoch() -> None:
    seen = set()
    for seed in (0, 1, -1):
        for epoch in (0, 1, 2):
            order = epoch_order(50, seed, epoch)
            assert sorted(order) == list(range(50))
            seen.add(tuple(order))
    assert len(seen) == 9


@pytest.mark.parametrize(("num_samples", "batch_size", "num_ranks"), CASES)
@pytest.mark.parametrize("epoch", [0, 5])
def test_training_batches(num_samples: int, batch_size: int, num_ranks: int, epoch: int) -> None:
    if num_samples < batch_size * num_ranks:
        with pytest.raises(DataError):
            orders(num_samples, batch_size, num_ranks, shuffle=True)
        return
    ranks = [list(order) for order in orders(num_samples, batch_size, num_ranks, shuffle=True, epoch=epoch)]
    whole = batch_size * num_ranks
    assert {len(batches) for batches in ranks} == {num_samples // whole}
    assert {len(batch) for batches in ranks for batch in batches} == {batch_size}
    # One process with the global batch sees the same batches, sample for sample.
    (alone,) = orders(num_samples, whole, 1, shuffle=True, epoch=epoch)
    for parts, together in zip(zip(*ranks, strict=True), alone, strict=True):
        np.testing.assert_array_equal(np.concatenate(parts), together)


@pytest.mark.parametrize(("num_samples", "batch_size", "num_ranks"), CASES)
def test_evaluation_sees_every_sample_once(num_samples: int, batch_size: int, num_ranks: int) -> None:
    if num_samples < num_ranks:
        with pytest.raises(DataError):
            orders(num_samples, batch_size, num_ranks, shuffle=False)
        return
    made = orders(num_samples, batch_size, num_ranks, shuffle=False)
    ranks = [list(order) for order in made]
    flat = np.concatenate([batch for batches in ranks for batch in batches])
    np.testing.assert_array_equal(flat, np.arange(num_samples))
    assert {len(batches) for batches in ranks} == {len(order) for order in made}  # one number for all ranks
    sizes = [len(batch) for batches in ranks for batch in batches]
    assert min(sizes) >= 1
    assert max(sizes) <= max(batch_size, 2 if batch_size == 1 else 1)


def test_starting_in_mid_epoch() -> None:
    order = BatchOrder(40, 8, shuffle=True)
    order.set_epoch(2)
    whole = list(order)
    order.start_batch = 3
    np.testing.assert_array_equal(list(order), whole[3:])
    order.set_epoch(2)  # Lightning says it again when it goes on
    assert len(list(order)) == 2
    order.set_epoch(3)
    assert len(list(order)) == 5


@pytest.mark.parametrize(
    ("shuffle", "message"),
    [
        (True, "F:/train: 7 samples do not fill one batch of 4 on each of 9 devices. Lower `data.batch_size`"),
        (False, "F:/train: 7 samples for 9 devices. Use at most 7 devices"),
    ],
)
def test_too_few_samples(shuffle: bool, message: str) -> None:
    with pytest.raises(DataError, match=message):
        BatchOrder(7, 4, shuffle=shuffle, num_ranks=9, where="F:/train")


def blocks(num_samples: int, seed: int, rows: np.ndarray | None) -> Blocks:
    draw = np.random.default_rng(seed)
    together, least, window = (int(draw.integers(1, high)) for high in (9, 12, 90))
    return Blocks.of(num_samples, rows, rows_together=together, least_samples=least, window_samples=window)


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("shuffle", [True, False])
def test_orders_by_blocks(seed: int, shuffle: bool) -> None:
    draw = np.random.default_rng(seed)
    size, num_ranks = int(draw.integers(1, 12)), int(draw.integers(1, 5))
    num = int(draw.integers(size * num_ranks, 300))
    rows = np.sort(draw.choice(500, num, replace=False)) if seed % 2 else None  # a split that is part of a dataset
    cuts = blocks(num, seed, rows)
    made = [
        BatchOrder(num, size, shuffle=shuffle, seed=3, rank=rank, num_ranks=num_ranks, blocks=cuts)
        for rank in range(num_ranks)
    ]
    for order in made:
        order.set_epoch(4)
    ranks = [list(order) for order in made]
    assert {len(batches) for batches in ranks} == {len(order) for order in made} == {len(made[0])}
    seen = np.concatenate([batch for batches in ranks for batch in batches])
    assert len(np.unique(seen)) == len(seen) == (len(made[0]) * size * num_ranks if shuffle else num)
    start = int(draw.integers(0, len(made[0]) + 1))
    for order, batches in zip(made, ranks, strict=True):
        order.start_batch = start
        entered = list(order)
        assert len(entered) == len(batches) - start
        for batch, same in zip(entered, batches[start:], strict=True):
            np.testing.assert_array_equal(batch, same)


def test_each_block_is_in_one_window_of_one_rank_but_for_the_cuts() -> None:
    cuts = Blocks.of(1000, rows_together=10, window_samples=70)
    made = [BatchOrder(1000, 8, shuffle=True, rank=rank, num_ranks=3, blocks=cuts) for rank in range(3)]
    windows = [[np.unique(window // 10) for window in order.stretches()] for order in made]
    for mine in windows:
        assert min(map(len, mine)) >= 4 and max(map(len, mine)) <= 7
        together = np.concatenate(mine)
        assert len(np.unique(together)) == len(together)  # each is read once in an epoch
    shared = [set(np.concatenate(a)) & set(np.concatenate(b)) for a, b in itertools.combinations(windows, 2)]
    assert max(map(len, shared)) <= 1
    first, second = (np.concatenate([*made[0].stretches()][:1]) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert len(np.unique(np.diff(first))) > 10  # samples of a window are mixed, not only its blocks


def test_blocks_are_long_enough_for_the_disk_and_few_enough_for_any_size() -> None:
    assert set(np.diff(Blocks.of(1000, rows_together=8, least_samples=20, window_samples=100).bounds)) == {24, 16}
    huge = Blocks.of(10**8, window_samples=1000)
    assert len(huge) <= 2**18 and huge.in_window >= 1
    ragged = Blocks.of(4, np.array([0, 5, 6, 30]), rows_together=10, window_samples=4)
    assert ragged.bounds.tolist() == [0, 3, 4]  # those that begin in rows 0 to 9, none in 10 to 29, and the last


def test_cut_gives_slices_where_it_can() -> None:
    pieces = [np.arange(0, 5), np.arange(5, 6), np.arange(6, 20)]
    found = list(cut(iter(pieces), iter([2, 3, 4, 11]), np.concatenate))
    assert [part.tolist() for part in found] == [[0, 1], [2, 3, 4], [5, 6, 7, 8], list(range(9, 20))]
    assert np.shares_memory(found[1], pieces[0]) and np.shares_memory(found[3], pieces[2])
