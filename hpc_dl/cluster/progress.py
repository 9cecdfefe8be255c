"""How far a run has come: place, speed, time left, time waited. Imports no torch."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from hpc_dl.cluster.completion import expected_completion
from hpc_dl.config.resources import parse_minutes
from hpc_dl.errors import HpcDlError
from hpc_dl.runs import attempts
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.goodput import goodput_of
from hpc_dl.runs.run_files import read_job, timestamp
from hpc_dl.tracking.journal import read_journal
from hpc_dl.tracking.wandb_record import WandbRecord

_LATEST_ROWS = 20  # of the journal, from which the speed follows
_SPEED = "train/samples_per_s"

NOT_UPLOADED = "not uploaded"


def progress_of(run: RunFolder, facts: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is known of the progress of a run that waits or runs; else nothing.

    Args:
        run: the run.
        facts: its status.
        settings: its configuration by dotted keys.

    Returns:
        Where known: ``waited_s``, from the submission to the start, or until now; ``total_steps``
        and ``epochs`` of the whole training, ``epoch_done`` (0 to 1), ``samples_per_s``, and
        ``left_s``, at the speed of the last journal rows and without early stopping; in a Slurm job
        also ``completion_s`` until the expected end and ``requeues_left``, see
        :func:`hpc_dl.cluster.completion.expected_completion`.
    """
    if facts["state"] not in ("pending", "running"):
        return {}
    with suppress(HpcDlError, OSError):
        started = [event for event in attempts.history(run) if event["event"] == "started"]
        submitted, first = timestamp(facts.get("submitted")), timestamp(started[0].get("time")) if started else None
        known: dict[str, Any] = {}
        if submitted is not None and (first is not None or facts["state"] == "pending"):
            known["waited_s"] = max(0.0, (time.time() if first is None else first) - submitted)
        if started and facts["state"] == "running":
            known |= _of_training(run, started[-1], facts, settings)
            known |= _completion(run, known.get("left_s"), settings)
        return {key: value for key, value in known.items() if value is not None}
    return {}


def wandb_of(run: RunFolder, settings: Mapping[str, Any]) -> dict[str, str]:
    """Return ``wandb``: the page of a run in W&B, or that there is none; empty if disabled."""
    if settings.get("wandb.mode") in (None, "disabled"):
        return {}
    with suppress(HpcDlError, OSError):
        record = WandbRecord.read(run.path)
        return {"wandb": (record.url if record else None) or NOT_UPLOADED}
    return {}


def _of_training(
    run: RunFolder, start: Mapping[str, Any], facts: Mapping[str, Any], settings: Mapping[str, Any]
) -> dict[str, Any]:
    total, in_epoch = _count(start.get("total_steps")), _count(start.get("steps_per_epoch"))
    known: dict[str, Any] = {"epochs": _count(settings.get("trainer.max_epochs")), "total_steps": total}
    step, epoch = facts.get("step"), facts.get("epoch")
    if in_epoch and step is not None and epoch is not None:
        known["epoch_done"] = min(1.0, max(0.0, step / in_epoch - epoch))
    begun = timestamp(start.get("time")) or 0.0
    rows = [row for row in read_journal(run.journal) if row.get("time", 0.0) >= begun][-_LATEST_ROWS:]
    known["samples_per_s"] = next((row[_SPEED] for row in reversed(rows) if row.get(_SPEED) is not None), None)
    if total and len(rows) > 1 and (steps := rows[-1]["step"] - rows[0]["step"]):
        step_s = (rows[-1]["time"] - rows[0]["time"]) / steps
        known["left_s"] = max(0.0, (total - rows[-1]["step"]) * step_s - (time.time() - rows[-1]["time"]))
    return known


def _completion(run: RunFolder, left_s: float | None, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The expected end of a job that Slurm ends at its time limit and starts again."""
    if left_s is None or "job_id" not in read_job(run) or (goodput := goodput_of(run, is_running=True)) is None:
        return {}
    with suppress(ValueError):
        limit_s = 60.0 * parse_minutes(str(settings.get("resources.time")))
        if (expected := expected_completion(left_s, goodput, limit_s)) is not None:
            return {
                "completion_s": expected.seconds,
                "requeues_left": expected.requeues,
                "mean_wait_s": expected.wait_s,
            }
    return {}


def _count(value: Any) -> int | None:
    return value if type(value) is int and value > 0 else None
