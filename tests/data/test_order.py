"""The order of the samples: complete, disjoint, and the same for any number of processes."""

import numpy as np
import pytest

from hpc_dl.data.order import BatchOrder, epoch_order
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
    # Golden: this very order is a promise (a resumed run must go on where it stopped, on any NumPy).
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
