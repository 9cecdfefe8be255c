"""``data.stage``: an attempt reads a copy of its data on the node; nothing else changes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from hpc_dl.data.config import DataConfig
from hpc_dl.data.open_spec import data_path
from hpc_dl.data.staging.node_copy import NodeCopy, delete_unused, node_copy
from hpc_dl.data.staging.scratch import NotStaged, scratch_folder
from hpc_dl.formatting import duration, megabytes
from hpc_dl.training.console import say
from hpc_dl.training.stopping import signals
from hpc_dl.training.stopping.watchdog import Watchdog

_ANNOUNCED_EVERY_S = 30.0
_LONGEST_S = 1200.0  # ranks of other nodes wait for 30 min: torch's default
_SHARE_OF_TIMEOUT = 1.5  # the ranks of other nodes wait for twice the timeout


@dataclass(frozen=True)
class StagedData:
    """What an attempt reads.

    Attributes:
        config: the ``data`` section, which names the file to open.
        copy: the copy; ``None`` if the attempt reads the original.
    """

    config: DataConfig
    copy: NodeCopy | None = None

    @property
    def copies(self) -> tuple[Path, ...]:
        """The copied files; none if the attempt reads the original."""
        return () if self.copy is None else self.copy.files

    def timings(self) -> dict[str, float]:
        """The seconds that the copy took, and one pass over the original and over the copy."""
        if self.copy is None:
            return {}
        times = self.copy.times
        figures = {"stage_s": times.seconds, "stage_original_s": times.original_s, "stage_copy_s": times.copy_s}
        return {name: round(seconds, 3) for name, seconds in figures.items()}

    def release(self) -> None:
        """Stop reading the copy; the last process that reads it deletes it."""
        if self.copy is not None:
            self.copy.release()


def stage(config: DataConfig, watchdog: Watchdog, stall_timeout_s: float | None) -> StagedData:
    """Return what to read: a copy of the data on this node if ``data.stage`` asks for one.

    Copies that killed processes left on the node are deleted, whether or not.

    Args:
        config: the ``data`` section.
        watchdog: in a phase; learns about the progress of the copy.
        stall_timeout_s: limits the time of the copy; ``None`` for 20 minutes.
    """
    staged = StagedData(config)
    if config.stage != "none" and (config.source is not None or config.file is not None):
        limit_s = _LONGEST_S if stall_timeout_s is None else _SHARE_OF_TIMEOUT * stall_timeout_s
        original = data_path(config)
        try:
            copy = node_copy(original, scratch_folder(config.stage), _Progress(watchdog, limit_s))
        except NotStaged as error:
            say(f"data.stage: no copy, reading the original: {error}")
        else:
            say(_described(copy, original))
            staged = StagedData(config.model_copy(update={"source": None, "file": str(copy.path)}), copy)
    for folder in (scratch_folder("node"), scratch_folder("ram")):
        delete_unused(folder)
    return staged


def _described(copy: NodeCopy, original: Path) -> str:
    times = copy.times
    origin = f"made in {duration(times.seconds)}" if copy.is_new else "shared with other processes"
    return (
        f"data.stage: reading {copy.path}, a copy of {original} ({megabytes(times.num_bytes)}, {origin}): "
        f"one pass takes {duration(times.copy_s)}, of the original {duration(times.original_s)}"
    )


class _Progress:
    """Announces the progress of a copy, and ends it when there is no time for it."""

    def __init__(self, watchdog: Watchdog, limit_s: float) -> None:
        self._watchdog = watchdog
        self._limit_s = limit_s
        self._started = self._announced = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if signals.requested() is not None:
            raise NotStaged.at("the copy", "was ended: the training is about to stop")
        if now - self._started > self._limit_s:
            raise NotStaged.at("the copy", f"was ended after {duration(self._limit_s)}: the storage is too slow for it")
        self._watchdog.advance()
        if now - self._announced > _ANNOUNCED_EVERY_S:
            self._announced = now
            share = f"{done / total:.0%} of " if done else "another process copies "
            say(f"data.stage: copying to this node: {share}{megabytes(total)}")
