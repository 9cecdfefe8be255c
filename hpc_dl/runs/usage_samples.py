"""What each rank of a run used: samples of memory, CPU and GPU, in the folder ``usage`` of a run.

::

    usage/rank-0.jsonl
        {"time": 1767225610.0, "seconds": 10.0, "rss_gib": 1.2, "cpus": 3.6, "data": 0.02, …}

A file has at most 2,000 lines: when it is full, each two neighbors become one, with the mean of
what is a rate and the maximum of what is an amount of memory.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from hpc_dl.regular_files import read_bytes

MOST_SAMPLES = 2000
_MOST_BYTES = 16 << 20
_NAME = re.compile(r"rank-([0-9]{1,9})\.jsonl")
_AMOUNTS = ("rss_gib", "cgroup_gib", "gpu_gib")  # of which the maximum counts


@dataclass(frozen=True)
class Sample:
    """What a rank used until a moment; ``None`` for what could not be measured.

    Attributes:
        time: the moment, in seconds since the epoch.
        seconds: since the sample before.
        rss_gib: resident memory of the process and of its workers.
        cgroup_gib: memory of the whole job on this node without the cache of files, which the
            kernel can take back.
        cpus: CPU cores that were busy, on average: of this rank and its workers.
        data: share of the time that the training waited for data.
        gpu: share of the time in which the GPU worked.
        gpu_gib: memory in use on the GPU.
        watts: power of the GPU.
    """

    time: float
    seconds: float
    rss_gib: float | None = None
    cgroup_gib: float | None = None
    cpus: float | None = None
    data: float | None = None
    gpu: float | None = None
    gpu_gib: float | None = None
    watts: float | None = None


_FIELDS = [field.name for field in fields(Sample)]


class SampleFile:
    """The file of one rank, to which samples are appended, also by later attempts."""

    def __init__(self, folder: Path, rank: int) -> None:
        """Read what earlier attempts have left."""
        self._path = folder / f"rank-{rank}.jsonl"
        self._samples = read_samples(self._path)

    def append(self, sample: Sample) -> None:
        """Add a sample.

        Raises:
            OSError: the disk is full or unavailable.
        """
        self._path.parent.mkdir(exist_ok=True)
        self._samples.append(sample)
        if len(self._samples) >= MOST_SAMPLES:
            self._samples = merged(self._samples)
            new = self._path.with_name(f".{self._path.name}")
            new.write_bytes(b"".join(map(_line, self._samples)))
            new.replace(self._path)
            return
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            size = os.fstat(descriptor).st_size
            # A kill or a full disk may have cut off the previous line.
            incomplete = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            os.write(descriptor, b"\n" * incomplete + _line(sample))
        finally:
            os.close(descriptor)


def merged(samples: Sequence[Sample]) -> list[Sample]:
    """Return half as many samples, each of two neighbors."""
    pairs = [samples[number : number + 2] for number in range(0, len(samples), 2)]
    return [_merge(pair) for pair in pairs]


def _merge(pair: Sequence[Sample]) -> Sample:
    values: dict[str, float | None] = {}
    for name in _FIELDS[2:]:
        known = [(getattr(one, name), one.seconds) for one in pair if getattr(one, name) is not None]
        if not known:
            continue
        total = sum(seconds for _, seconds in known)
        mean = sum(value * seconds for value, seconds in known) / total if total else known[0][0]
        values[name] = max(value for value, _ in known) if name in _AMOUNTS else mean
    return Sample(pair[-1].time, sum(one.seconds for one in pair), **values)


def _line(sample: Sample) -> bytes:
    values = {name: round(value, 4) for name, value in asdict(sample).items() if value is not None}
    return json.dumps(values).encode() + b"\n"


def read_samples(path: Path) -> list[Sample]:
    """Return the samples of one rank, oldest first; damaged lines are skipped."""
    samples = []
    with suppress(OSError, ValueError):
        for line in read_bytes(path, _MOST_BYTES).split(b"\n"):
            with suppress(ValueError, TypeError, AttributeError, RecursionError):
                raw: dict[str, Any] = json.loads(line)
                sample = Sample(**{name: float(raw[name]) for name in _FIELDS if name in raw})
                if all(math.isfinite(value) for value in asdict(sample).values() if value is not None):
                    samples.append(sample)
    return samples[-MOST_SAMPLES:]


def samples_of_ranks(folder: Path) -> dict[int, list[Sample]]:
    """Return the samples of each rank of a run.

    Args:
        folder: the folder ``usage`` of a run; may not exist.
    """
    found = {}
    for path in folder.glob("rank-*.jsonl") if folder.is_dir() else ():
        if (match := _NAME.fullmatch(path.name)) and (samples := read_samples(path)):
            found[int(match[1])] = samples
    return dict(sorted(found.items()))
