"""The floors: what hpc_dl must at least reach (or at most need), compared with the results."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.reading.peers import BY_SAMPLE, PEERS
from benchmarks.reading.readers import HPC_DL

NAIVE = ("naive h5py, 0 workers", "naive h5py, 2 workers")
GOOD_NAIVE = ("good naive h5py, 0 workers", "good naive h5py, 2 workers")
#: By data set: least ratios to np.memmap, to the naive and to the good naive readers.
LEAST_RATIOS = {"A": (0.85, 300, 40), "B": (0.85, 75, 10), "C": (0.8, 10, 3)}

#: Samples per second of each round, by the name of the reader.
Rounds = dict[str, list[float]]


def speed_ratio(rounds: Rounds, name: str, others: Sequence[str]) -> float | None:
    """Return the ratio to the fastest of some other readers, the median over the rounds.

    Args:
        rounds: the rates of one data set.
        name: of the reader.
        others: names of the others; those that were not measured do not count.

    Returns:
        None if the reader or all others were not measured.
    """
    measured = [other for other in others if other in rounds]
    if name not in rounds or not measured:
        return None
    rates_by_round = zip(*(rounds[reader] for reader in (name, *measured)), strict=True)
    return float(statistics.median(rate / max(other_rates) for rate, *other_rates in rates_by_round))


def evaluate(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Return every floor with its bound, the measured value, and whether it was reached."""
    floors: list[dict[str, Any]] = []

    def floor(
        name: str, data: str, bound: float, value: float | None, unit: str = "times", at_most: bool = False
    ) -> None:
        reached = None if value is None else (value <= bound if at_most else value >= bound)
        floors.append({"floor": name, "set": data, "bound": bound, "value": value, "unit": unit, "reached": reached})

    for data, rounds in results["rounds"].items():
        memmap, naive, good_naive = LEAST_RATIOS[data]
        floor("contiguous, of np.memmap", data, memmap, speed_ratio(rounds, HPC_DL, ["np.memmap"]))
        floor("contiguous, of a tensor in memory", data, 0.7, speed_ratio(rounds, HPC_DL, ["tensor in memory"]))
        floor("contiguous, of the better naive one", data, naive, speed_ratio(rounds, HPC_DL, NAIVE))
        floor("contiguous, of the better good naive one", data, good_naive, speed_ratio(rounds, HPC_DL, GOOD_NAIVE))
        for codec in ("zstd", "bitshuffle"):
            ratio = speed_ratio(rounds, f"hpc_dl, {codec}", ["tensorstore"])
            floor(f"{codec}, of tensorstore's zstd", data, 1.0, ratio)
        if data == "A":
            ratio = speed_ratio(rounds, "hpc_dl, gzip", NAIVE)
            floor("gzip, of the better naive one on contiguous", data, 60, ratio)
            floor("gzip", data, 500_000, statistics.median(rounds["hpc_dl, gzip"]), "samples/s")
        for peer in PEERS:
            readers = [reader for reader in rounds if reader == peer or reader.startswith(f"{peer},")]
            bound = 100 if peer in BY_SAMPLE and data == "A" else 1
            floor(f"contiguous, of {peer}", data, bound, speed_ratio(rounds, HPC_DL, readers))
        for workers in (0, 2):
            reader = f"__getitems__ h5py, {workers} workers"
            floor(f"contiguous, of {reader}", data, 1, speed_ratio(rounds, HPC_DL, [reader]))
        floor("from the disk, of dd", data, 0.7, results["cold"][data]["times_dd"])
        for layout, size in results["memory"][data].items():
            floor(f"memory beside the batches, {layout}", data, 64, size / 1e6, "MB", at_most=True)
    for first in results["first_batch"]:
        size = f"{first['bytes'] / 1e9:.3g} GB" if first["bytes"] > 1e8 else f"{first['bytes'] / 1e3:,.0f} kB"
        floor(f"first batch of {size}", "", 0.1, first["first_batch_s"], "s", at_most=True)
    return floors
