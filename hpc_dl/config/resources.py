"""The ``resources`` section: what a job requests from Slurm."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator

from hpc_dl.schema import Section, Unit

_TIME = re.compile(
    r"(?:(?P<days>\d+)-(?P<h1>\d+)(?::(?P<m1>\d+)(?::(?P<s1>\d+))?)?)"  # D-HH[:MM[:SS]]
    r"|(?:(?P<h2>\d+):(?P<m2>\d+):(?P<s2>\d+))"  # HH:MM:SS
    r"|(?:(?P<m3>\d+)(?::(?P<s3>\d+))?)"  # MM[:SS]
)
_MEMORY = re.compile(r"(?P<amount>\d+(?:\.\d+)?)\s*(?P<unit>[MGT])(?:i?B)?", re.IGNORECASE)
#: With this, a submission takes what the last run of the experiment used, with a margin.
AUTO = "auto"
#: What ``auto`` means as long as no run has measured it.
DEFAULT_MEMORY = "16G"
_GIB = {"M": 1 / 1024, "G": 1.0, "T": 1024.0}


def parse_minutes(text: str) -> int:
    """Parse a Slurm time into minutes, rounded up.

    Examples: ``90``, ``30:00``, ``12:00:00``, ``2-00:00:00``.

    Raises:
        ValueError: the text is not in one of Slurm's formats, or the time is zero.
    """
    match = _TIME.fullmatch(text.strip())
    if not match:
        raise ValueError("must be a Slurm time: minutes, MM:SS, HH:MM:SS or D-HH:MM:SS")
    part = {key: int(value) for key, value in match.groupdict(default="0").items()}
    if any(match[key] and part[key] > 59 for key in ("m1", "s1", "m2", "s2", "s3")):
        raise ValueError("must be a Slurm time with at most 59 minutes and seconds after a colon")
    hours = part["days"] * 24 + part["h1"] + part["h2"]
    minutes = hours * 60 + part["m1"] + part["m2"] + part["m3"]
    seconds = part["s1"] + part["s2"] + part["s3"]
    total = minutes + (seconds + 59) // 60
    if total == 0:
        raise ValueError("must be longer than zero")
    return total


def parse_gib(text: str) -> float:
    """Parse a Slurm memory size (``512M``, ``16G``, ``16GB``, ``1T``) into GiB.

    Slurm's units are binary: 1G is 1024M.

    Raises:
        ValueError: the text is not a size with a unit, or the size is zero.
    """
    match = _MEMORY.fullmatch(text.strip())
    if not match or float(match["amount"]) == 0:
        raise ValueError("must be a size with its unit, for example 16G or 800M")
    return float(match["amount"]) * _GIB[match["unit"].upper()]


class Resources(Section):
    """What a job requests from Slurm. The number of devices and ranks follows from these values."""

    nodes: Annotated[int, Field(ge=1), Unit("nodes")] = 1
    """Number of compute nodes."""
    gpus_per_node: Annotated[int, Field(ge=0), Unit("GPUs")] = 1
    """GPUs on each node; every GPU has one rank (process). 0: one rank on the CPUs of each node."""
    cpus_per_gpu: Annotated[int, Field(ge=1), Unit("CPU cores")] = 4
    """CPU cores for each rank, used by the training and by the threads that read data."""
    memory: Annotated[str, Unit("per node")] = DEFAULT_MEMORY
    """Main memory on each node, with its unit: ``800M`` or ``16G``. ``auto``: what the last
    finished run of the same name used, with a margin; 16G as long as there is none."""
    time: Annotated[str | int, Unit("minutes, HH:MM:SS or D-HH:MM:SS")] = "01:00:00"
    """Time limit of the job in one of Slurm's formats; a number without colons is minutes."""
    max_requeues: Annotated[int, Field(ge=0), Unit("times")] = 20
    """How often a job that reaches its time limit is requeued. A job that has made no progress
    since the last time is not requeued."""
    on_oom: Literal["stop", "grow"] = "stop"
    """After a job has run out of main memory. ``grow``: it is submitted again once, with half as
    much memory again, and continues from its checkpoint. Not in a container, where the job cannot
    submit another one, and not for members of a sweep."""

    @field_validator("time")
    @classmethod
    def _time(cls, value: str | int) -> str | int:
        parse_minutes(str(value))
        return value

    @field_validator("memory", mode="before")
    @classmethod
    def _memory(cls, value: object) -> object:
        if value == AUTO:
            return value
        parse_gib(str(value))  # before the type check: a number gets the message about its missing unit
        return value

    @property
    def ranks_per_node(self) -> int:
        """Ranks on each node: one for each GPU, or one without GPUs."""
        return max(1, self.gpus_per_node)

    @property
    def world_size(self) -> int:
        """Ranks on all nodes."""
        return self.nodes * self.ranks_per_node

    @property
    def minutes(self) -> int:
        """The time limit in minutes."""
        return parse_minutes(str(self.time))

    @property
    def memory_gib(self) -> float:
        """The memory on each node in GiB."""
        return parse_gib(DEFAULT_MEMORY if self.memory == AUTO else self.memory)
