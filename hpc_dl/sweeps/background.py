"""A sweep without Slurm: a process that starts its members one after another, some at a time."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from pathlib import Path

from hpc_dl.cluster import background
from hpc_dl.cluster.site import SiteProfile
from hpc_dl.cluster.status import cancel, status
from hpc_dl.config import yaml
from hpc_dl.config.experiment import Experiment
from hpc_dl.errors import HpcDlError, describe
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import ENDED, read_state, write_state
from hpc_dl.schema import parse
from hpc_dl.sweeps import adaptive

_POLL_S = 0.5
_SUBMISSION_S = 60.0


def main() -> None:
    """``python -m hpc_dl.sweeps.background ARRAY AT_ONCE``: run the members of a submission."""
    array, at_once = RunFolder(Path(sys.argv[1])), int(sys.argv[2])
    sweep = array.path.parent.parent
    names = (array.path / "tasks").read_text(encoding="utf-8").split()
    waiting = [RunFolder(sweep / name) for name in names]
    active: list[RunFolder] = []
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stopping.append(number))
    submitted_by = time.monotonic() + _SUBMISSION_S
    while not array.job.exists() and time.monotonic() < submitted_by:  # it replaces the members' job.json
        time.sleep(_POLL_S / 10)
    while (waiting or active) and not stopping:
        before = len(active)
        active = [run for run in active if status(run)["state"] in ("running", "pending", "created", "unknown")]
        if len(active) < before and not waiting:  # otherwise the next member that starts records the results
            _record_results(RunFolder(sweep / names[0]))
        while waiting and len(active) < at_once:
            run = waiting.pop(0)
            if run.cancelled.exists() or read_state(run)["state"] in ENDED:
                continue
            try:
                adaptive.propose(run)
                experiment = Experiment.from_dict(yaml.load(run.config))
                background.start(run, experiment, parse(SiteProfile, yaml.load(run.site) or {}, "site"))
                active.append(run)
            except Exception as error:  # the other members run nevertheless
                expected = isinstance(error, HpcDlError | OSError)
                write_state(run, "failed", reason=str(error) if expected else describe(error, anywhere=True))
        time.sleep(_POLL_S)
    for run in active:
        if stopping:
            cancel(run)


def _record_results(run: RunFolder) -> None:
    with contextlib.suppress(Exception):  # the next task records the results as well
        adaptive.propose(run)


if __name__ == "__main__":
    main()
