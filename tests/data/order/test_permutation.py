"""Random orders: permutations with golden values that can be computed in part."""

import numpy as np
import pytest

from hpc_dl.data.order import permutation
from hpc_dl.data.order.permutation import Permutation

SORTED = 1 << 18


@pytest.fixture(params=["sorted", "encrypted"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Use either method for small sizes."""
    if request.param == "encrypted":
        monkeypatch.setattr(permutation, "_LARGEST_SORTED", 0)
    return str(request.param)


def test_both_methods_have_golden_values(kind: str) -> None:
    # Golden values: a resumed run must continue in the same order, with any NumPy, on any machine.
    expected = {"sorted": [0, 2, 9, 1, 8, 5, 4, 3, 6, 7], "encrypted": [4, 7, 2, 1, 0, 3, 8, 5, 6, 9]}
    assert Permutation(10, 0, 0)[:].tolist() == expected[kind]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 100, 1023, 4097])
def test_order_is_a_permutation_computable_in_part(kind: str, size: int) -> None:
    if size == 1 and kind == "encrypted":
        pytest.skip("a single number needs no cipher")
    order = Permutation(size, 5, 3)[:]
    assert sorted(order) == list(range(size))
    positions = np.random.default_rng(0).integers(0, size, 50)
    np.testing.assert_array_equal(Permutation(size, 5, 3)[positions], order[positions])
    np.testing.assert_array_equal(Permutation(size, 5, 3)[size // 3 :], order[size // 3 :])


def test_seed_stream_and_part_change_the_order(kind: str) -> None:
    arguments = [(0, 0), (1, 0), (-1, 0), (0, 1), (0, 2**63), (0, 0, (0, 1)), (0, 0, (1, 0))]
    orders = {tuple(Permutation(100, *some)[:]) for some in arguments}  # type: ignore[arg-type]
    assert len(orders) == len(arguments)


def test_numbers_are_uniform_over_positions(kind: str) -> None:
    size, times = 24, 3000
    counts = np.zeros((size, size))
    for seed in range(times):
        counts[np.arange(size), Permutation(size, seed, 0)[:]] += 1
    expected = times / size
    degrees = (size - 1) ** 2
    # 529 degrees of freedom: 1.3 times as much is eleven standard deviations too much.
    assert ((counts - expected) ** 2 / expected).sum() / degrees < 1.3


def test_large_orders_have_no_correlations() -> None:
    size = SORTED + 12345
    order = Permutation(size, 1, 1)[:]
    assert len(np.unique(order)) == size
    for lag in (1, 2, 128):
        assert abs(np.corrcoef(order[:-lag], order[lag:])[0, 1]) < 5 / size**0.5
    batches = order[: size // 128 * 128].reshape(-1, 128)
    assert batches.mean(axis=1).var() / (size**2 / 12 / 128) == pytest.approx(1, abs=0.06)
    assert (order == Permutation(size, 1, 2)[:]).sum() < 20
