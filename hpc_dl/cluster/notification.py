"""The end of a run is reported: by a command, a mail of Slurm, or a webhook.

``python -m hpc_dl.cluster.notification RUN STATUS`` is the last thing that a batch script does,
outside of srun and of a container, so that killed ranks are reported, too. It never changes what
became of the run.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from hpc_dl.cluster import slurm
from hpc_dl.cluster.job_id import JobId
from hpc_dl.cluster.notify_config import Event, Notify
from hpc_dl.config import yaml
from hpc_dl.errors import HpcDlError, printable
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.run_files import read_job, read_result
from hpc_dl.runs.state import read_state
from hpc_dl.schema import parse

_COMMAND_S, _WEBHOOK_S = 30.0, 5.0  # Slurm kills a batch script 30 s after the time limit
_TRIES = 2
_EVENTS: dict[str, Event] = {
    "finished": "finished",
    "failed": "failed",
    "diverged": "failed",
    "stopped": "stopped",
    "cancelled": "cancelled",
    "running": "failed",  # its ranks were killed
    "created": "failed",
}


def facts_of(run: RunFolder, status: int, environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the facts to report; empty if the run has not ended.

    Args:
        run: the run.
        status: exit status of its batch script.
        environment: of the batch script.
    """
    state = read_state(run)
    job, reason = "", str(state.get("reason", ""))
    if "SLURM_JOB_ID" in environment:
        identity = slurm.this_job(environment)
        job = str(identity)
        if _was_requeued(identity, environment) or str(read_job(run).get("job_id", job)) not in (job, identity.number):
            return {}
    event = "cancelled" if run.cancelled.exists() else _EVENTS.get(state["state"])
    if event is None:
        return {}
    if event == "failed" and state["state"] in ("running", "created"):
        reason = f"its ranks were killed before they could report why (exit status {status})"
    text = f"hpc_dl: {run.name} {event}" + (f": {reason}" if reason and event != "finished" else "")
    metrics: dict[str, Any] = {}
    with suppress(HpcDlError, OSError):
        metrics = read_result(run).get("metrics", {}) if event == "finished" else {}
    return {
        "text": printable(text),
        "event": event,
        "run": run.name,
        "dir": str(run.path),
        "state": state["state"],
        "reason": printable(reason),
        "job": job,
        "metrics": metrics,
    }


def notify(config: Notify, facts: Mapping[str, Any], environment: Mapping[str, str]) -> list[str]:
    """Report the end of a run, and return one line for each way that failed."""
    problems = []
    content = json.dumps(facts).encode()
    if config.command is not None:
        try:
            _run(config.command, facts, content, environment)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            problems.append(f"notify.command failed: {error}")
    if config.webhook_env is not None:
        # Not the error itself, which may show the URL, as secret as a password.
        if not (url := environment.get(config.webhook_env, "")):
            problems.append(f"notify.webhook_env: {config.webhook_env} is not set in the job")
        elif problem := _post(url, content):
            problems.append(f"notify.webhook_env: the webhook in {config.webhook_env} failed: {problem}")
    return [printable(" ".join(problem.split())) for problem in problems]


def _run(command: list[str], facts: Mapping[str, Any], content: bytes, environment: Mapping[str, str]) -> None:
    named = {f"HPC_DL_NOTIFY_{key.upper()}": str(value) for key, value in facts.items() if isinstance(value, str)}
    subprocess.run(command, input=content, env={**environment, **named}, timeout=_COMMAND_S, check=True)


def _post(url: str, content: bytes) -> str:
    """Send JSON, at most twice; return the kind of the problem, or ""."""
    if not url.lower().startswith(("http://", "https://")):
        return "it is not an http or https URL"
    problem = ""
    for _ in range(_TRIES):
        try:
            request = urllib.request.Request(url, content, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=_WEBHOOK_S):
                return ""
        except urllib.error.HTTPError as error:
            problem = f"HTTP status {error.code}"
        except (OSError, ValueError, http.client.HTTPException) as error:
            problem = type(error).__name__
    return problem


def _was_requeued(job: JobId, environment: Mapping[str, str]) -> bool:
    restarts = slurm.job_facts(job).get("Restarts", "0")
    before = environment.get("SLURM_RESTART_COUNT", "0")
    return restarts.isdigit() and before.isdigit() and int(restarts) > int(before)


def report(run: RunFolder, status: int) -> None:
    """Report the end of a run, if its site profile asks for it; a problem is one line on stderr.

    Args:
        run: the run.
        status: exit status of what has run it.
    """
    try:
        config = parse(Notify, (yaml.load(run.site) or {}).get("notify") or {}, "notify")
        facts = facts_of(run, status, os.environ)
        problems = notify(config, facts, os.environ) if facts.get("event") in config.on else []
    except (HpcDlError, OSError) as error:
        problems = [f"notify failed: {error}"]
    for problem in problems:
        print(problem, file=sys.stderr, flush=True)


def main() -> None:
    """``python -m hpc_dl.cluster.notification RUN STATUS``: report the end of the run."""
    report(RunFolder(Path(sys.argv[1])), int(sys.argv[2]))


if __name__ == "__main__":
    main()
