"""Requests that fit: what the last finished run of an experiment used. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from hpc_dl.cluster.efficiency import Use, memory_to_request, requested_by, use_of
from hpc_dl.cluster.folders import cli_name
from hpc_dl.config.resources import AUTO, DEFAULT_MEMORY, Resources
from hpc_dl.errors import HpcDlError
from hpc_dl.formatting import duration
from hpc_dl.runs.folder import NAME_CODE, NAME_CODE_LENGTH, RunFolder
from hpc_dl.runs.search import newest_with
from hpc_dl.runs.state import read_state

_FAR = 4  # times what was used
# Requests up to these are small, whatever was used.
_SMALL_GIB, _SMALL_MINUTES = 8, 30
_MOST_RUNS = 5  # that are opened


def last_use(folders: Sequence[Path], experiment_name: str) -> tuple[RunFolder, Use] | None:
    """Return the last finished run of an experiment that has recorded what it used.

    Args:
        folders: where its runs may be.
        experiment_name: the name of the experiment.
    """
    run_name = re.compile(rf"{re.escape(experiment_name)}-(?:[{NAME_CODE}]{{{NAME_CODE_LENGTH},}}|[0-9a-f]{{6,}})")
    for run in newest_with("result.json", run_name, folders)[:_MOST_RUNS]:
        with suppress(HpcDlError, OSError):
            if read_state(run)["state"] == "finished" and (use := use_of(run, requested_by(run))) is not None:
                return run, use
    return None


def memory_for(resources: Resources, folders: Sequence[Path], experiment_name: str) -> tuple[Resources, str]:
    """Return a request with ``memory: auto`` replaced by an amount, and one line that explains it.

    Args:
        resources: the request; one with an amount is returned unchanged, with "".
        folders: where runs of the experiment may be.
        experiment_name: the name of the experiment.
    """
    if resources.memory != AUTO:
        return resources, ""
    last = last_use(folders, experiment_name)
    used_gib = last[1].memory_gib if last else None
    if last is None or used_gib is None:
        memory, reason = DEFAULT_MEMORY, f"no finished run of {experiment_name} has measured it yet"
    else:
        memory, reason = memory_to_request(used_gib), f"{cli_name(last[0])} used {used_gib:.2f} GiB"
    return resources.model_copy(update={"memory": memory}), f"resources.memory: auto is {memory}, since {reason}."


def request_warning(requested: Resources, folders: Sequence[Path], experiment_name: str) -> str:
    """Return one line if a request is far from what the last finished run used, else "".

    Args:
        requested: the request.
        folders: where runs of the experiment may be.
        experiment_name: the name of the experiment.
    """
    last = last_use(folders, experiment_name)
    if last is None:
        return ""
    run, use = last
    far = []
    gib = use.memory_gib
    if gib is not None and not gib <= requested.memory_gib <= max(_SMALL_GIB, _FAR * gib):
        far.append(f"{gib:.2f} GiB of memory per node (requested: {requested.memory})")
    minutes = use.minutes if use.starts == 1 else None
    if minutes is not None and not minutes <= requested.minutes <= max(_SMALL_MINUTES, _FAR * minutes):
        far.append(f"{duration(60 * minutes)} (requested: {requested.time})")
    if use.cpus is not None and requested.cpus_per_gpu > _FAR * max(1.0, use.cpus):
        far.append(f"{use.cpus:.1f} CPU cores per rank (requested: {requested.cpus_per_gpu})")
    if not far:
        return ""
    name = cli_name(run)
    return f"{name}, the last finished run, used {', '.join(far)}. What to request: `hpc-dl efficiency {name}`"
