"""The identity of a Slurm job: its number, the task of an array, and its cluster.

Everything that names a job to Slurm goes through here: submissions, queries, signals, cancels, and
the shell code of batch scripts. For one task of an array, usually the last to start,
``SLURM_JOB_ID`` is the number of the whole array: ``scontrol requeue`` and ``scancel`` with it act
on every task. With the ``SLURM_JOB_ID`` of another task, ``scancel`` reports success and does
nothing (Slurm 22.05). ``ARRAY_TASK`` (``11_3``) is the only name that always means one task.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: Shell code that sets ``$job`` to the name of the job that it runs in, as :meth:`JobId.__str__`.
SHELL_ASSIGNMENT = "job=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID} job=${job:-$SLURM_JOB_ID}"

_NAME = re.compile(r"(?P<number>\d+)(?:_(?P<task>\d+))?")
# In sbatch's answer, which other lines may precede: wrappers of a site print banners and colors.
_COLOR = re.compile(r"\x1b\[[0-9;]*m")
_SUBMITTED = re.compile(
    r"Submitted\s+batch\s+job\s+(?P<number>\d+)(?![\d_+])(?: on cluster (?P<cluster>[\w.-]*\w))?", re.IGNORECASE
)
_PARSABLE = re.compile(r"^\s*(?P<number>\d+)(?:;(?P<cluster>[^\s;]+))?\s*$", re.MULTILINE)


@dataclass(frozen=True)
class JobId:
    """The identity of a job.

    Attributes:
        number: of the job; for a task of an array, the number of the array.
        task: number of the task in its array; empty if the job is not part of one.
        cluster: the cluster, if it is not certain that Slurm's commands ask this one by default.
    """

    number: str
    task: str = ""
    cluster: str = ""

    def __str__(self) -> str:
        """Slurm's own name of the job on its cluster: ``11`` or ``11_3``."""
        return f"{self.number}_{self.task}" if self.task else self.number

    @property
    def description(self) -> str:
        """The job in words."""
        return f"Slurm job {self}" + (f" on cluster {self.cluster}" if self.cluster else "")

    def facts(self) -> dict[str, str]:
        """Return the entries of ``job.json`` that :meth:`of` reads."""
        return {"job_id": str(self)} | ({"cluster": self.cluster} if self.cluster else {})

    @classmethod
    def of(cls, job: Mapping[str, Any]) -> JobId | None:
        """Return the identity in the content of a ``job.json``; ``None`` if it names no job."""
        match = _NAME.fullmatch(str(job.get("job_id", "")))
        if match is None:
            return None
        return cls(match["number"], match["task"] or "", str(job.get("cluster", "")))

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> JobId:
        """Return the job that this process runs in.

        Args:
            environment: with ``SLURM_JOB_ID``.
        """
        if number := environment.get("SLURM_ARRAY_JOB_ID"):
            return cls(number, environment.get("SLURM_ARRAY_TASK_ID", ""))
        return cls(environment["SLURM_JOB_ID"])

    @classmethod
    def from_sbatch(cls, output: str) -> JobId | None:
        """Return the job that sbatch reports on its standard output.

        Args:
            output: ``Submitted batch job 42``, the same with `` on cluster alpha``, or the short
                forms of ``--parsable``: ``42`` or ``42;alpha``. Other lines and colors are ignored.

        Returns:
            The job, or ``None`` if the output does not name one.
        """
        output = _COLOR.sub("", output)
        matches = list(_SUBMITTED.finditer(output)) or list(_PARSABLE.finditer(output))
        return cls(matches[-1]["number"], cluster=matches[-1]["cluster"] or "") if matches else None
