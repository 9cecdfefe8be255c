"""Background runs on a machine without Slurm, which continue when the terminal is closed.

A small supervisor process in a separate session (this module's ``main``) starts the run through
submitit's local executor, which enforces the time limit. Like Slurm, it starts the run again when
it stopped at its time limit, and it records a failure that the run could not record itself.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpc_dl.atomic_files import write_json
from hpc_dl.cluster import dependency, job_environment, notification
from hpc_dl.cluster.crash import crash_in
from hpc_dl.cluster.folders import cli_name
from hpc_dl.cluster.signal_lead import granted_lead_s, required_lead_s
from hpc_dl.config import yaml
from hpc_dl.config.resources import Resources
from hpc_dl.runs.folder import SWEEP_FILE, RunFolder
from hpc_dl.runs.state import ENDED, read_state, write_state
from hpc_dl.schema import parse
from hpc_dl.training.stopping import signals

if TYPE_CHECKING:
    from hpc_dl.cluster.site import SiteProfile
    from hpc_dl.config.experiment import Experiment

_STOP_GRACE_S = 60.0


def start(run: RunFolder, experiment: Experiment, site: SiteProfile) -> dict[str, Any]:
    """Start a prepared run in the background and write its ``job.json``.

    Args:
        run: the run folder.
        experiment: the run's experiment.
        site: only its ``environment`` and ``scratch_dir`` are used.

    Returns:
        The content of ``job.json``: launcher, process id, start time of the process (seconds since
        the epoch), host and time of submission.
    """
    environment = (
        job_environment.for_python(job_environment.outside_of_jobs(os.environ), run, experiment) | site.variables()
    )
    facts = start_detached(["hpc_dl.cluster.background", str(run.path)], environment, run)
    write_json(run.job, facts)
    return facts


def start_detached(module: list[str], environment: Mapping[str, str], folder: RunFolder) -> dict[str, Any]:
    """Start ``python -m MODULE ARGUMENTS`` so that it outlives this process and its terminal.

    Args:
        module: the module and its arguments.
        environment: its environment variables.
        folder: gets its output, in ``submitit/background.log``.

    Returns:
        As :func:`start`.
    """
    import psutil

    with (folder.submitit / "background.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *module],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # not ended by Ctrl-C or by closing the terminal
        )
    return {
        "launcher": "local",
        "pid": process.pid,
        # Identifies the process together with its id, which the system may reuse.
        "process_started": psutil.Process(process.pid).create_time(),
        "host": socket.gethostname(),
        "submitted": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def run_in_background(run_dir: str, visible_gpus: str | None) -> None:
    """Launch all ranks of a run; called by submitit.

    Args:
        run_dir: the run folder.
        visible_gpus: the user's CUDA_VISIBLE_DEVICES, which submitit has replaced by the numbers
            of all GPUs.
    """
    signals.install()  # before torch is imported, which takes seconds
    from hpc_dl.cluster.launch import launch
    from hpc_dl.cluster.rank_process import exit_unless_finished
    from hpc_dl.config.experiment import Experiment

    os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    if visible_gpus is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = visible_gpus
    run = RunFolder(Path(run_dir))
    exit_unless_finished(launch(run, Experiment.from_dict(yaml.load(run.config)), foreground=False))


def main() -> None:
    """``python -m hpc_dl.cluster.background RUN``: the supervisor of a run; imports no torch."""
    import submitit
    from submitit.local.local import LocalJob

    # By its real name: a function of __main__ would be pickled with its code, not as a reference.
    from hpc_dl.cluster.background import run_in_background as task

    run = RunFolder(Path(sys.argv[1]))
    config = yaml.load(run.config)
    resources = parse(Resources, config["resources"], "resources")
    lead_s = granted_lead_s(resources.minutes, required_lead_s(run.path.parent, config["name"], run))
    executor = submitit.LocalExecutor(folder=run.submitit)
    executor.update_parameters(timeout_min=resources.minutes, signal_delay_s=lead_s, stderr_to_stdout=True)
    kill_at: list[float] = []  # set by SIGTERM
    signal.signal(signal.SIGTERM, lambda number, frame: kill_at.append(time.monotonic() + _STOP_GRACE_S))
    if not dependency.wait(run, stopped=lambda: bool(kill_at) or run.cancelled.exists()):
        return
    started = time.monotonic()
    while True:
        job = executor.submit(task, str(run.path), os.environ.get("CUDA_VISIBLE_DEVICES"))
        assert isinstance(job, LocalJob) and job._process is not None
        _wait(job._process, kill_at)
        if kill_at or run.cancelled.exists() or not _take_requeue_marker(run):
            break
        started = time.monotonic()
    if read_state(run)["state"] not in ENDED and not run.cancelled.exists():
        timed_out = time.monotonic() - started >= 60 * resources.minutes
        crash = crash_in(run.log(0))
        reason = (
            f"it exceeded its time limit of {resources.minutes} min; request more with resources.time"
            if timed_out
            else f"it crashed: {crash}"
            if crash
            else f"it ended without giving a reason; see submitit/ in the run folder, and resume the run with "
            f"`hpc-dl resume {cli_name(run)}`"
        )
        write_state(run, "failed", reason=reason, log=str(run.log(0)))
    if not (run.path.parent / SWEEP_FILE).exists():  # not each member of a sweep
        notification.report(run, 0)


def _wait(controller: subprocess.Popen[bytes], kill_at: list[float]) -> None:
    """Wait for submitit's process; forward SIGTERM, and kill everything if it takes too long.

    Args:
        controller: submitit's process; it forwards the signal to the task, and that to the ranks.
        kill_at: filled by our SIGTERM handler with the deadline (``time.monotonic()``).
    """
    forwarded = False
    while controller.poll() is None:
        if kill_at and not forwarded:
            controller.send_signal(signal.SIGTERM)
            forwarded = True
        if kill_at and time.monotonic() > kill_at[0]:
            os.killpg(os.getpid(), signal.SIGKILL)  # ranks are in other groups, but die with their launcher
        time.sleep(0.2)


def _take_requeue_marker(run: RunFolder) -> bool:
    """Remove the requeue marker; return whether the run stopped at its time limit."""
    try:
        cause = run.requeue.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return False
    run.requeue.unlink()
    return cause == "limit"


if __name__ == "__main__":
    main()
