"""Measuring a way to read in a process of its own, by turns with the others."""

from __future__ import annotations

import multiprocessing
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.reading_sets import CLASSES, DataSet

PATIENCE_S = 90.0
WARM_UP_S = 0.3
FIRST_PASS_S = 2.0  # a map's first pass finds its pages, and is slower than all others
# Of all others only what comes after an epoch's first batch counts, in their favor: they start
# worker processes, and on the smaller sets that they get they would do so often.
WITH_STARTS = ("hpc_dl", "np.memmap", "tensor", "zarr")


def fresh_processes() -> ForkServerContext:
    """Processes that are forked from one that has imported everything and done nothing yet: quick,
    and alike."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.reading_ways", "hpc_dl.data.datamodule"])
    return context


def all_ways() -> dict[str, Any]:
    """Ours, by hand, and the peers that are installed."""
    from benchmarks import reading_peers, reading_ways

    return reading_ways.ways() | reading_peers.ways()


class Running:
    """A way in its process: opens each data set once, and reads it when it is its turn."""

    def __init__(self, context: ForkServerContext, name: str, folder: Path) -> None:
        self.name = name
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(name, folder, theirs))
        self._process.start()
        theirs.close()

    def measure(self, data: DataSet, seconds: float) -> float:
        """Samples per second of a turn.

        Raises:
            RuntimeError: it failed, or does not answer.
        """
        self._connection.send((data, seconds))
        answer = self._connection.recv() if self._connection.poll(PATIENCE_S) else "does not answer"
        if isinstance(answer, str):
            self.end()
            raise RuntimeError(f"{self.name} on {data.name}: {answer}")
        return float(answer)

    def end(self) -> None:
        """End the process and its workers: kindly, then by force."""
        with suppress(OSError):  # it may be gone
            self._connection.send(None)
        self._process.join(5.0)
        if self._process.pid is not None and self._process.is_alive():
            try:
                family = psutil.Process(self._process.pid).children(recursive=True)
            except psutil.NoSuchProcess:
                family = []
            self._process.kill()
            for child in family:
                child.kill()
        self._process.join()
        self._connection.close()


def _serve(name: str, folder: Path, connection: Connection) -> None:
    import traceback
    import warnings

    warnings.filterwarnings("ignore")
    opened: dict[str, Any] = {}
    number = 0
    starts = name.startswith(WITH_STARTS)
    while (asked := connection.recv()) is not None:
        data, seconds = asked
        try:
            if data.name not in opened:
                opened[data.name] = all_ways()[name](folder, data)
                check(folder, data, opened[data.name](0))
                if starts:
                    first_pass(opened[data.name](1))
                else:
                    one_turn(opened[data.name], 1, WARM_UP_S, starts=False)
            number += 10_000
            connection.send(one_turn(opened[data.name], number, seconds, starts=starts))
        except Exception:
            connection.send(traceback.format_exc())


def check(folder: Path, data: DataSet, batches: Any) -> None:
    """Whether the first batch holds samples of the data set, each with its own label.

    Raises:
        ValueError: it does not.
    """
    from benchmarks.reading_sets import raw

    x, y = next(iter(batches))
    if tuple(x.shape) != (data.batch, *data.shape) or str(x.dtype) != f"torch.{data.dtype}" or len(y) != data.batch:
        raise ValueError(f"a batch of {x.dtype} {tuple(x.shape)}, {len(y)} labels")
    for sample, label in zip(x.numpy(), y.tolist(), strict=True):
        candidates = raw(folder, data)[int(label) :: CLASSES]
        if not (candidates == sample).reshape(len(candidates), -1).all(axis=1).any():
            raise ValueError(f"no sample of label {label} is like the one that was read")


def first_pass(batches: Any) -> None:
    """One epoch, or what comes of it in two seconds."""
    until = time.perf_counter() + FIRST_PASS_S
    for _ in batches:
        if time.perf_counter() > until:
            return


def one_turn(epoch: Any, number: int, seconds: float, *, starts: bool) -> float:
    """Samples per second over epochs, the last one broken off when the time is over.

    Args:
        epoch: gives the batches of an epoch by its number.
        number: of the first epoch.
        seconds: how long, from the first batch on.
        starts: an epoch's time begins when it is asked for; else with its first batch, which is not
            counted.
    """
    samples, spent, over = 0, 0.0, False
    until = np.inf
    while not over:
        began = now = time.perf_counter()
        first = True
        for x, _ in epoch(number):
            now = time.perf_counter()
            if first and not starts:
                began = now
            else:
                samples += len(x)
            first = False
            until = min(until, now + seconds)
            # A way whose second batch takes longer than all its time is to have one.
            if now > until and samples:
                over = True
                break
        spent += now - began
        number += 1
        over = over or (now > until and samples > 0)
    return samples / spent
