"""Without Slurm: a run in the background of this machine, which outlives the terminal that started
it.

A small process in a session of its own (this module's ``main``) hands the run to submitit's local
executor, which keeps the time limit. It waits for it, starts it again when it stopped at its time
limit, as Slurm's queue would, and writes down an end that the run could not tell itself.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpc_dl.atomic_files import write_json
from hpc_dl.cluster import environment as environments
from hpc_dl.cluster.requeue import lead_seconds
from hpc_dl.cluster.signal_lead import lead_s
from hpc_dl.config import yaml
from hpc_dl.config.resources import Resources
from hpc_dl.runs.folder import RunFolder
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
        experiment: what it was prepared from.
        site: only its ``environment`` matters here.

    Returns:
        What was written: launcher, process id and its start time (seconds since the epoch), host.
    """
    import psutil

    environment = environments.for_python(environments.outside_of_jobs(os.environ), run, experiment) | site.environment
    with (run.submitit / "background.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "hpc_dl.cluster.local", str(run.path)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # neither a Ctrl-C nor the terminal's end reaches it
        )
    facts = {
        "launcher": "local",
        "pid": process.pid,
        # A process id alone may by now belong to somebody else's process.
        "process_started": psutil.Process(process.pid).create_time(),
        "host": socket.gethostname(),
        "submitted": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    write_json(run.job, facts)
    return facts


def run_in_background(run_dir: str, visible_gpus: str | None) -> None:
    """What submitit runs: launch all ranks of a run.

    Args:
        run_dir: the run folder.
        visible_gpus: the user's own CUDA_VISIBLE_DEVICES; submitit numbers the machine's GPUs from
            0 instead.
    """
    signals.install()  # before torch is imported, which takes seconds
    from hpc_dl.cluster.job import leave
    from hpc_dl.cluster.launch import launch
    from hpc_dl.config.experiment import Experiment

    os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    if visible_gpus is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = visible_gpus
    run = RunFolder(Path(run_dir))
    leave(launch(run, Experiment.from_dict(yaml.load(run.config)), foreground=False))


def main() -> None:
    """``python -m hpc_dl.cluster.local RUN``: keep a run going in the background; imports no torch."""
    import submitit
    from submitit.local.local import LocalJob

    # Under its real name, not as __main__'s, so that the pickle holds a reference instead of code.
    from hpc_dl.cluster.local import run_in_background as task

    run = RunFolder(Path(sys.argv[1]))
    config = yaml.load(run.config)
    resources = parse(Resources, config["resources"], "resources")
    lead = lead_seconds(resources.minutes, lead_s(run.path.parent, config["name"], run))
    executor = submitit.LocalExecutor(folder=run.submitit)
    executor.update_parameters(timeout_min=resources.minutes, signal_delay_s=lead, stderr_to_stdout=True)
    stop_by: list[float] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stop_by.append(time.monotonic() + _STOP_GRACE_S))
    began = time.monotonic()
    while True:
        job = executor.submit(task, str(run.path), os.environ.get("CUDA_VISIBLE_DEVICES"))
        assert isinstance(job, LocalJob) and job._process is not None
        _wait(job._process, stop_by)
        if stop_by or run.cancelled.exists() or not _wants_to_go_on(run):
            break
        began = time.monotonic()
    if read_state(run)["state"] not in ENDED and not run.cancelled.exists():
        over = time.monotonic() - began >= 60 * resources.minutes
        reason = (
            f"it ran past its time limit of {resources.minutes} min; ask for more with resources.time"
            if over
            else f"it ended without a word; see submitit/ in the run folder, and go on with `hpc-dl resume {run.word}`"
        )
        write_state(run, "failed", reason=reason, log=str(run.log(0)))


def _wait(controller: subprocess.Popen[bytes], stop_by: list[float]) -> None:
    """Wait for submitit's process, and pass a SIGTERM on that we got; whoever does not answer it in
    time is killed.

    Args:
        controller: it passes the signal on to the task, and that to the ranks.
        stop_by: where our handler writes the time until which to be patient (``time.monotonic()``).
    """
    told = False
    while controller.poll() is None:
        if stop_by and not told:
            controller.send_signal(signal.SIGTERM)
            told = True
        if stop_by and time.monotonic() > stop_by[0]:
            os.killpg(os.getpid(), signal.SIGKILL)  # ranks have their own groups, and die with their launcher
        time.sleep(0.2)


def _wants_to_go_on(run: RunFolder) -> bool:
    """Whether the run stopped at its time limit; takes the marker away."""
    try:
        word = run.requeue.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return False
    run.requeue.unlink()
    return word == "limit"


if __name__ == "__main__":
    main()
