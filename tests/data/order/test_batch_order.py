"""Batch orders: complete, disjoint, and the same for any number of processes."""

import itertools

import numpy as np
import pytest

from hpc_dl.data.order.batch_order import BatchOrder, Blocks, cut
from hpc_dl.errors import DataError

CASES = [(7, 1, 1), (7, 3, 2), (64, 8, 2), (65, 8, 2), (100, 7, 3), (5, 1, 4), (12, 5, 4), (129, 64, 2), (33, 4, 8)]


def orders(num_samples: int, batch_size: int, world_size: int, *, training: bool, epoch: int = 0) -> list[BatchOrder]:
    made = [
        BatchOrder(num_samples, batch_size, training=training, seed=3, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    for order in made:
        order.set_epoch(epoch)
    return made


def epoch_order(num_samples: int, seed: int, epoch: int, blocks: Blocks | None = None) -> np.ndarray:
    order = BatchOrder(num_samples, 1, training=True, seed=seed, blocks=blocks)
    order.set_epoch(epoch)
    return np.concatenate(list(order))


def test_epoch_order_has_golden_values() -> None:
    # Golden values: a resumed run must continue in the same order, with any version of NumPy.
    assert epoch_order(10, 0, 0).tolist() == [0, 2, 9, 1, 8, 5, 4, 3, 6, 7]
    assert epoch_order(10, 0, 1).tolist() == [5, 3, 7, 8, 2, 4, 1, 0, 6, 9]


def test_epoch_order_by_blocks_has_golden_values() -> None:
    blocks = Blocks(bounds=np.array([0, 3, 5, 9, 10]), blocks_per_window=2)
    assert epoch_order(10, 0, 0, blocks).tolist() == [1, 2, 5, 7, 0, 6, 8, 3, 4, 9]


def test_epoch_order_is_a_permutation_by_seed_and_epoch() -> None:
    seen = set()
    for seed in (0, 1, -1):
        for epoch in (0, 1, 2):
            order = epoch_order(50, seed, epoch)
            assert sorted(order) == list(range(50))
            seen.add(tuple(order))
    assert len(seen) == 9


@pytest.mark.parametrize(("num_samples", "batch_size", "world_size"), CASES)
@pytest.mark.parametrize("epoch", [0, 5])
def test_training_batches_are_complete_and_disjoint(
    num_samples: int, batch_size: int, world_size: int, epoch: int
) -> None:
    if num_samples < batch_size * world_size:
        with pytest.raises(DataError):
            orders(num_samples, batch_size, world_size, training=True)
        return
    ranks = [list(order) for order in orders(num_samples, batch_size, world_size, training=True, epoch=epoch)]
    global_size = batch_size * world_size
    assert {len(batches) for batches in ranks} == {num_samples // global_size}
    assert {len(batch) for batches in ranks for batch in batches} == {batch_size}
    # One process with the global batch sees the same batches, sample for sample.
    (alone,) = orders(num_samples, global_size, 1, training=True, epoch=epoch)
    for parts, global_batch in zip(zip(*ranks, strict=True), alone, strict=True):
        np.testing.assert_array_equal(np.concatenate(parts), global_batch)


@pytest.mark.parametrize(("num_samples", "batch_size", "world_size"), CASES)
def test_evaluation_uses_every_sample_once(num_samples: int, batch_size: int, world_size: int) -> None:
    if num_samples < world_size:
        with pytest.raises(DataError):
            orders(num_samples, batch_size, world_size, training=False)
        return
    made = orders(num_samples, batch_size, world_size, training=False)
    ranks = [list(order) for order in made]
    flat = np.concatenate([batch for batches in ranks for batch in batches])
    np.testing.assert_array_equal(flat, np.arange(num_samples))
    assert {len(batches) for batches in ranks} == {len(order) for order in made}  # one number for all ranks
    sizes = [len(batch) for batches in ranks for batch in batches]
    assert min(sizes) >= 1
    assert max(sizes) <= max(batch_size, 2 if batch_size == 1 else 1)


def test_order_starts_in_mid_epoch() -> None:
    order = BatchOrder(40, 8, training=True)
    order.set_epoch(2)
    epoch = list(order)
    order.start_batch = 3
    np.testing.assert_array_equal(list(order), epoch[3:])
    order.set_epoch(2)  # Lightning calls this again when it resumes
    assert len(list(order)) == 2
    order.set_epoch(3)
    assert len(list(order)) == 5


@pytest.mark.parametrize(
    ("training", "message"),
    [
        (True, "F:/train: 7 samples cannot fill one batch of 4 on each of 9 devices. Lower `data.batch_size`"),
        (False, r"F:/train: has fewer samples \(7\) than there are devices \(9\)\. Use at most 7 devices"),
    ],
)
def test_too_few_samples_are_rejected(training: bool, message: str) -> None:
    with pytest.raises(DataError, match=message):
        BatchOrder(7, 4, training=training, world_size=9, where="F:/train")


def blocks(num_samples: int, seed: int, rows: np.ndarray | None) -> Blocks:
    draw = np.random.default_rng(seed)
    together, least, window = (int(draw.integers(1, high)) for high in (9, 12, 90))
    return Blocks.of(num_samples, rows, rows_together=together, min_samples=least, window_samples=window)


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("training", [True, False])
def test_orders_by_blocks_are_complete_and_resumable(seed: int, training: bool) -> None:
    draw = np.random.default_rng(seed)
    size, world_size = int(draw.integers(1, 12)), int(draw.integers(1, 5))
    num = int(draw.integers(size * world_size, 300))
    rows = np.sort(draw.choice(500, num, replace=False)) if seed % 2 else None  # a split that is part of a dataset
    cuts = blocks(num, seed, rows)
    made = [
        BatchOrder(num, size, training=training, seed=3, rank=rank, world_size=world_size, blocks=cuts)
        for rank in range(world_size)
    ]
    for order in made:
        order.set_epoch(4)
    ranks = [list(order) for order in made]
    assert {len(batches) for batches in ranks} == {len(order) for order in made} == {len(made[0])}
    seen = np.concatenate([batch for batches in ranks for batch in batches])
    assert len(np.unique(seen)) == len(seen) == (len(made[0]) * size * world_size if training else num)
    start = int(draw.integers(0, len(made[0]) + 1))
    for order, batches in zip(made, ranks, strict=True):
        order.start_batch = start
        entered = list(order)
        assert len(entered) == len(batches) - start
        for batch, same in zip(entered, batches[start:], strict=True):
            np.testing.assert_array_equal(batch, same)


def test_block_is_in_one_window_of_one_rank_except_at_cuts() -> None:
    cuts = Blocks.of(1000, rows_together=10, window_samples=70)
    made = [BatchOrder(1000, 8, training=True, rank=rank, world_size=3, blocks=cuts) for rank in range(3)]
    windows = [[np.unique(window // 10) for window in order.pieces()] for order in made]
    for rank_windows in windows:
        assert min(map(len, rank_windows)) >= 4 and max(map(len, rank_windows)) <= 7
        read = np.concatenate(rank_windows)
        assert len(np.unique(read)) == len(read)  # each is read once in an epoch
    shared = [set(np.concatenate(a)) & set(np.concatenate(b)) for a, b in itertools.combinations(windows, 2)]
    assert max(map(len, shared)) <= 1
    first, second = (np.concatenate([*made[0].pieces()][:1]) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert len(np.unique(np.diff(first))) > 10  # samples of a window are mixed, not only its blocks


def test_blocks_are_long_and_limited_in_number() -> None:
    assert set(np.diff(Blocks.of(1000, rows_together=8, min_samples=20, window_samples=100).bounds)) == {24, 16}
    huge = Blocks.of(10**8, window_samples=1000)
    assert len(huge) <= 2**18 and huge.blocks_per_window >= 1
    ragged = Blocks.of(4, np.array([0, 5, 6, 30]), rows_together=10, window_samples=4)
    assert ragged.bounds.tolist() == [0, 3, 4]  # samples starting in rows 0 to 9, none in 10 to 29, and the last


def test_cut_returns_slices_where_possible() -> None:
    pieces = [np.arange(0, 5), np.arange(5, 6), np.arange(6, 20)]
    parts = list(cut(iter(pieces), iter([2, 3, 4, 11]), np.concatenate))
    assert [part.tolist() for part in parts] == [[0, 1], [2, 3, 4], [5, 6, 7, 8], list(range(9, 20))]
    assert np.shares_memory(parts[1], pieces[0]) and np.shares_memory(parts[3], pieces[2])
