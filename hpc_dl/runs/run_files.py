"""The JSON files of a run, checked when they are read: all code may rely on their types.

A run folder may be damaged, half-written, from another version or from someone else. Unknown keys
are kept, so that a newer version may add some.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, get_args

from hpc_dl.regular_files import DamagedFile, read_json
from hpc_dl.runs.folder import RunFolder

State = Literal[
    "created", "pending", "running", "stopped", "finished", "pruned", "failed", "diverged", "cancelled", "lost"
]
_MOST_PID = 2**31
_JOB_ID = re.compile(r"[0-9]+(_[0-9]+)?")
_CLUSTER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")

_Check = Callable[[Any], bool]


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return _is_number(value) and isinstance(value, int) and value >= 0


def _is_pid(value: Any) -> bool:
    return _is_count(value) and 0 < value < _MOST_PID


def _is_job_id(value: Any) -> bool:
    return _is_text(value) and bool(_JOB_ID.fullmatch(value))  # it becomes an argument of Slurm's commands


def _is_cluster(value: Any) -> bool:
    return _is_text(value) and bool(_CLUSTER.fullmatch(value))  # likewise


def _is_seconds(value: Any) -> bool:
    return _is_number(value) and math.isfinite(value) and value >= 0


def _is_metric(value: Any) -> bool:
    return value is None or _is_number(value) or _is_text(value)


def _are_metrics(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_metric, value.values()))


def _is_state(value: Any) -> bool:
    return value in get_args(State)


def _is_mapping(value: Any) -> bool:
    return isinstance(value, dict)


# Keys that code relies on, by file; "?" marks those that may be missing or null.
_STATE = {
    "state": _is_state, "step?": _is_count, "attempt?": _is_count, "epoch?": _is_count, "rank?": _is_count,
    "reason?": _is_text, "log?": _is_text, "cause?": _is_text, "time?": _is_text,
}  # fmt: skip
_JOB = {
    "host": _is_text, "job_id?": _is_job_id, "pid?": _is_pid, "process_started?": _is_seconds, "submitted?": _is_text,
    "launcher?": _is_text, "cluster?": _is_cluster, "home_cluster?": _is_text,
}  # fmt: skip
_RESULT = {
    "metrics": _are_metrics, "run?": _is_text, "dir?": _is_text, "state?": _is_state, "epochs?": _is_count,
    "steps?": _is_count, "seconds?": _is_seconds, "device?": _is_text,
}  # fmt: skip
_CANCELLED = {"by": _is_text, "time?": _is_text}
_PROVENANCE = {"data?": _is_mapping}


def read_job(run: RunFolder) -> dict[str, Any]:
    """Return how a run was launched; empty for one that is being prepared.

    Raises:
        DamagedFile: the file is damaged.
    """
    job = _read(run.job, _JOB)
    if job and "job_id" not in job and not {"pid", "process_started"} <= job.keys():
        raise DamagedFile.at(run.job, "is damaged: it names neither a Slurm job nor a process")
    return job


def read_result(run: RunFolder) -> dict[str, Any]:
    """Return the result of a run; empty if it has none.

    Raises:
        DamagedFile: the file is damaged.
    """
    return _read(run.result, _RESULT)


def read_cancelled(run: RunFolder) -> dict[str, Any]:
    """Return who cancelled a run and when; empty if it was not cancelled.

    Raises:
        DamagedFile: the file is damaged.
    """
    return _read(run.cancelled, _CANCELLED)


def read_provenance(run: RunFolder) -> dict[str, Any]:
    """Return where a run comes from; empty if that was not recorded.

    Raises:
        DamagedFile: the file is damaged.
    """
    return _read(run.provenance, _PROVENANCE)


def read_state_file(run: RunFolder) -> dict[str, Any]:
    """Return the last state that a run wrote; empty if its job has not started.

    Raises:
        DamagedFile: the file is damaged.
    """
    return _read(run.state, _STATE)


def read_timings(run: RunFolder) -> dict[str, float]:
    """Return what a run has measured, in seconds; empty where the file is missing or damaged.

    Nothing depends on these figures but the time that the next stop is granted.
    """
    try:
        timings = read_json(run.timings)
    except (OSError, DamagedFile):
        return {}
    valid = isinstance(timings, dict) and all(map(_is_seconds, timings.values()))
    return timings if valid else {}


def _read(path: Path, checks: Mapping[str, _Check]) -> dict[str, Any]:
    content = read_json(path)
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise DamagedFile.at(path, "is damaged: it holds no keys", value=content)
    for key, is_valid in checks.items():
        name = key.removesuffix("?")
        value = content.get(name)
        if not (value is None and key.endswith("?")) and not is_valid(value):
            raise DamagedFile.at(
                path, f"is damaged, or from another version of hpc_dl: `{name}` is invalid", value=value
            )
    return content


def timestamp(text: Any) -> float | None:
    """Return an ISO date in seconds since the epoch; ``None`` for anything else.

    Without a time zone, as in Slurm's answers, it is in that of this machine.
    """
    with suppress(TypeError, ValueError):
        return datetime.fromisoformat(text).timestamp()
    return None
