"""Why a run waits in the queue, whether it can ever start, and when."""

from __future__ import annotations

import datetime
import shlex
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from hpc_dl.cluster import slurm, slurm_sentences
from hpc_dl.errors import HpcDlError
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.predecessors import waits_for
from hpc_dl.runs.run_files import read_job

_STARTS = {
    "later": "it starts by itself",
    "held": "it starts only after somebody acts",
    "never": "it will never start as requested",
    "": "it is not known whether it starts by itself",
}


def waiting_of(run: RunFolder, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Explain why a run waits.

    Args:
        run: a run whose state is pending.
        facts: its status.

    Returns:
        ``cause``; ``starts``: ``later``, ``held``, ``never`` or empty if that is unknown;
        ``outlook``, the same in words; ``expected``: when Slurm expects to start it, in the
        cluster's time zone, or ``None``; ``remedy``, ``keys`` and ``command``: what would start it,
        or would start it sooner.
    """
    job = None
    with suppress(HpcDlError, OSError):
        job = slurm.job_of(read_job(run))
    info = slurm.query_jobs([job]).get(job) if job else None
    cause = str(facts.get("reason") or "it waits")
    sooner = f"hpc-dl start-time {shlex.quote(str(run.config))}"
    if info is None or not info.waits or job is None:
        return _row(cause, "later" if job is None else "", None, "", (), "")
    if info.reason == "Dependency" and (others := waits_for(run)):
        return _row(others, "later", None, "it starts when these have finished", (), "")
    sentence = slurm_sentences.reason_for_waiting(info.reason or "None")
    if sentence is None:
        cause = f"Slurm says {info.reason}" if info.reason else "Slurm has not looked at it yet"
        return _row(cause, "" if info.reason else "later", slurm.expected_start(job), "", (), sooner)
    cause = f"{sentence.means} ({info.reason})"
    remedy = sentence.remedy.replace("JOB", str(job))
    if sentence.starts == "later" and not remedy:
        remedy = "wait; the command below shows where the same training would start sooner"
    expected = slurm.expected_start(job) if sentence.starts != "never" else None
    return _row(cause, sentence.starts, expected, remedy, sentence.keys, sooner)


def _row(
    cause: str, starts: str, expected: datetime.datetime | None, remedy: str, keys: tuple[str, ...], command: str
) -> dict[str, Any]:
    when = expected.isoformat(sep=" ") if expected else None
    return {"cause": cause, "starts": starts, "outlook": _STARTS[starts], "expected": when, "remedy": remedy,
            "keys": list(keys), "command": command}  # fmt: skip
