"""The interruption: a real signal to the training, its checkpoint, requeue and second start."""

from __future__ import annotations

import re
import signal
import time
from typing import Any

import psutil

from hpc_dl.cluster import slurm
from hpc_dl.cluster.rehearsal.report import Report, Timeline
from hpc_dl.cluster.rehearsal.short_experiment import STEPS, STEPS_BEFORE_SIGNAL
from hpc_dl.cluster.rehearsal.stages import StageFailed, Stages
from hpc_dl.cluster.requeue import refusal_file
from hpc_dl.errors import HpcDlError
from hpc_dl.regular_files import read_json
from hpc_dl.runs import attempts
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.run_files import timestamp
from hpc_dl.runs.state import read_state
from hpc_dl.training.stopping.rehearsal import file

_SIGNAL = "USR2"  # the signal of `sbatch --signal` in our batch scripts


def interrupt(run: RunFolder, report: Report, times: Timeline, stages: Stages) -> None:
    """Interrupt a run and wait until it has resumed and finished.

    Args:
        run: the run, which waits for the signal after ``STEPS_BEFORE_SIGNAL`` steps.
        report: gets the step of the interruption, and problems.
        times: gets the times of the events.
        stages: waits for the events.

    Raises:
        StageFailed: the run did not react as expected.
    """
    attempt = stages.wait_for(
        run, f"the first {STEPS_BEFORE_SIGNAL} steps of the run to be interrupted", _waiting_attempt
    )["attempt"]
    times.queued, times.started = _queue_time(run), _start_time(run)
    stages.say(f"Sending a real SIG{_SIGNAL}")
    times.signal_sent = time.time()
    _send_signal(run)
    end = stages.wait_for(run, "its checkpoint", lambda run: _event(run, "ended", attempt))
    if end["state"] != "stopped":
        raise StageFailed(
            f"the signal did not reach the training: the run {end['state']} without stopping for it. Ask the "
            f"administrators whether `scancel --signal={_SIGNAL} JOB` and `sbatch --signal={_SIGNAL}@60` work here"
        )
    report.step = end["step"]
    restart = stages.wait_for(
        run, "the requeue and the second start", lambda run: _event(run, "started", attempt + 1), _requeue_remedy
    )
    times.requeued, times.restarted = _queue_time(run), _start_time(run)
    stages.wait_for(run, f"the remaining steps up to {STEPS}", is_finished)
    if restart["from_step"] != end["step"]:
        report.problems.append(f"it stopped at step {end['step']}, but resumed at step {restart['from_step']}")


def is_finished(run: RunFolder) -> bool:
    """Whether the run has finished, according to its own state."""
    return bool(read_state(run)["state"] == "finished")


def _send_signal(run: RunFolder) -> None:
    """Send the signal as Slurm does before a time limit.

    Raises:
        StageFailed: it cannot be sent.
    """
    job = read_json(run.job)
    try:
        if job_id := slurm.job_of(job):
            slurm.send_signal(job_id, _SIGNAL)
            return
        for submitit_process in psutil.Process(job["pid"]).children():
            for task in submitit_process.children():
                task.send_signal(signal.Signals[f"SIG{_SIGNAL}"])
    except (HpcDlError, psutil.NoSuchProcess) as error:
        raise StageFailed(f"the signal could not be sent: {error}") from None


def _requeue_remedy(run: RunFolder) -> str:
    until_then = f"Until this works, resume interrupted runs with `hpc-dl resume {run.name}`"
    if refusal_file(run).exists():
        return (
            "Show the administrators Slurm's message to `scontrol requeue`, and ask them to let users requeue their "
            f"own jobs. {until_then}"
        )
    return f"The batch script could not requeue the job; its output is in {run.submitit}. {until_then}"


def _waiting_attempt(run: RunFolder) -> dict[str, Any] | None:
    """The start event of the attempt that waits for the signal."""
    if "holding" not in (read_json(file(run)) or {}):
        return None
    return next((event for event in reversed(attempts.history(run)) if event["event"] == "started"), None)


def _event(run: RunFolder, kind: str, attempt: int) -> dict[str, Any] | None:
    """The event of an attempt, or of a later one in case a node failed."""
    matches = (event for event in attempts.history(run) if event["event"] == kind and event["attempt"] >= attempt)
    return next(matches, None)


def _queue_time(run: RunFolder) -> float | None:
    """When the run was last queued."""
    if job_id := slurm.job_of(read_json(run.job)):
        return timestamp(slurm.job_facts(job_id).get("SubmitTime"))
    ends = [event["time"] for event in attempts.history(run) if event["event"] == "ended"]
    return timestamp(ends[-1] if ends else read_json(run.job)["submitted"])


def _start_time(run: RunFolder) -> float | None:
    """When the run's job last started."""
    if job_id := slurm.job_of(read_json(run.job)):
        return timestamp(slurm.job_facts(job_id).get("StartTime"))
    return timestamp(re.findall(r"^=== (\S+) rank", run.log(0).read_text(encoding="utf-8"), re.MULTILINE)[-1])
