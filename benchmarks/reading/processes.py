"""Measurement of a reader in its own process, in turns with the others."""

from __future__ import annotations

import multiprocessing
import os
import re
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.reading.data_sets import CLASSES, DataSet, raw_values

TIMEOUT_S = 90.0
WARM_UP_S = 0.3
FIRST_PASS_S = 2.0  # the first pass over a memory map faults its pages in and is slower than all others
# The readers whose start of an epoch counts. For the others only what follows the first batch of an
# epoch counts, in their favor: they start worker processes, and would do so often on their smaller
# sets.
WITH_EPOCH_START = ("hpc_dl", "np.memmap", "tensor", "zarr")


def fresh_processes() -> ForkServerContext:
    """Return a context that forks equal processes from one that has imported everything."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.reading.readers", "hpc_dl.data.datamodule"])
    return context


def all_readers() -> dict[str, Any]:
    """Return hpc_dl, the limits, the readers by hand, and the installed peers."""
    from benchmarks.reading import peers, readers

    return readers.own_readers() | peers.peer_readers()


class ReaderProcess:
    """The process of a reader: opens each data set once, and reads it in its turns."""

    def __init__(self, context: ForkServerContext, name: str, folder: Path) -> None:
        self.name = name
        self._connection, connection_of_process = context.Pipe()
        self._process = context.Process(target=_serve, args=(name, folder, connection_of_process))
        self._process.start()
        connection_of_process.close()

    def measure(self, data: DataSet, seconds: float) -> float:
        """Return the samples per second of a turn.

        Raises:
            RuntimeError: the reader failed or does not respond.
        """
        self._connection.send((data, seconds))
        answer = self._connection.recv() if self._connection.poll(TIMEOUT_S) else "does not respond"
        if isinstance(answer, str):
            self.end()
            raise RuntimeError(f"{self.name} on {data.name}: {answer}")
        return float(answer)

    def end(self) -> None:
        """Request the process to end; after 5 s kill it and its workers."""
        with suppress(OSError):  # it may have ended
            self._connection.send(None)
        self._process.join(5.0)
        if self._process.pid is not None and self._process.is_alive():
            try:
                workers = psutil.Process(self._process.pid).children(recursive=True)
            except psutil.NoSuchProcess:
                workers = []
            self._process.kill()
            for worker in workers:
                with suppress(psutil.NoSuchProcess):
                    worker.kill()
        self._process.join()
        self._connection.close()


def _serve(name: str, folder: Path, connection: Connection) -> None:
    warnings.filterwarnings("ignore")
    epochs: dict[str, Any] = {}
    first_epoch = 0
    epoch_start_counts = name.startswith(WITH_EPOCH_START)
    while (request := connection.recv()) is not None:
        data, seconds = request
        try:
            if data.name not in epochs:
                epochs[data.name] = all_readers()[name](folder, data)
                check_first_batch(folder, data, epochs[data.name](0))
                if epoch_start_counts:
                    read_first_pass(epochs[data.name](1))
                else:
                    samples_per_second(epochs[data.name], 1, WARM_UP_S, epoch_start_counts=False)
            first_epoch += 10_000
            rate = samples_per_second(epochs[data.name], first_epoch, seconds, epoch_start_counts=epoch_start_counts)
            connection.send(rate)
        except Exception:
            connection.send(traceback.format_exc())


def check_first_batch(folder: Path, data: DataSet, batches: Any) -> None:
    """Check that the first batch holds samples of the data set, each with its own label.

    Raises:
        ValueError: it does not.
    """
    x, y = next(iter(batches))
    if tuple(x.shape) != (data.batch, *data.shape) or str(x.dtype) != f"torch.{data.dtype}" or len(y) != data.batch:
        raise ValueError(f"a batch of {x.dtype} {tuple(x.shape)}, {len(y)} labels")
    for sample, label in zip(x.numpy(), y.tolist(), strict=True):
        candidates = raw_values(folder, data)[int(label) :: CLASSES]
        if not (candidates == sample).reshape(len(candidates), -1).all(axis=1).any():
            raise ValueError(f"the data set has no sample of label {label} that equals the one in the batch")


def read_first_pass(batches: Any) -> None:
    """Read an epoch, for two seconds at most."""
    deadline = time.perf_counter() + FIRST_PASS_S
    for _ in batches:
        if time.perf_counter() > deadline:
            return


def samples_per_second(epochs: Any, first_epoch: int, seconds: float, *, epoch_start_counts: bool) -> float:
    """Return the rate over epochs; the last one is stopped when the time is over.

    Args:
        epochs: maps the number of an epoch to its batches.
        first_epoch: its number.
        seconds: duration from the first batch on.
        epoch_start_counts: time an epoch from its request on; else from its first batch on, which
            is not counted.
    """
    samples, spent, over = 0, 0.0, False
    number, deadline = first_epoch, np.inf
    while not over:
        start = now = time.perf_counter()
        is_first = True
        for x, _ in epochs(number):
            now = time.perf_counter()
            if is_first and not epoch_start_counts:
                start = now
            else:
                samples += len(x)
            is_first = False
            deadline = min(deadline, now + seconds)
            # At least one batch counts, even if the second one takes longer than all the time.
            if now > deadline and samples:
                over = True
                break
        spent += now - start
        number += 1
        over = over or (now > deadline and samples > 0)
    return samples / spent


# --- one function in a process ------------------------------------------------------------------


def run_in_fresh_process(context: ForkServerContext, work: Callable[..., Any], *args: Any) -> tuple[Any, int]:
    """Run a function in its own process.

    Returns:
        Its result, and the largest anonymous memory of the process, in bytes, that was observed.

    Raises:
        RuntimeError: it failed or does not respond.
    """
    connection, connection_of_process = context.Pipe()
    process = context.Process(target=_send_result, args=(connection_of_process, work, args))
    process.start()
    connection_of_process.close()
    largest, deadline = 0, time.monotonic() + TIMEOUT_S
    while not connection.poll(0.002):
        largest = max(largest, anonymous_bytes(process.pid))
        if time.monotonic() > deadline:
            process.kill()
            raise RuntimeError(f"{work.__name__}{args} does not respond")
    answer = connection.recv()
    process.join()
    if isinstance(answer, str):
        raise RuntimeError(answer)
    return answer, largest


def _send_result(connection: Connection, work: Callable[..., Any], args: tuple[Any, ...]) -> None:
    try:
        connection.send(work(*args))
    except Exception:
        connection.send(traceback.format_exc())
    connection.close()
    os._exit(0)


def anonymous_bytes(pid: int | None) -> int:
    """The memory of a process that no file backs (RssAnon)."""
    try:
        match = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return 1024 * int(match[1]) if match else 0
