"""Whether a run that stopped asks to be requeued."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hpc_dl.runs import attempts
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import read_state
from hpc_dl.training.outcome import record_stop
from hpc_dl.training.stopping.signals import TrainingStopped


def test_job_that_is_terminated_before_each_first_step_is_not_requeued_forever(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    requeued = []
    for number in range(5):
        attempts.record(run, "started", attempt=number, from_step=8)
        attempt: Any = SimpleNamespace(run=run, number=number, from_step=8, seconds=1.0)
        record_stop(attempt, TrainingStopped("term", 8))
        requeued.append(run.requeue.exists())
        run.requeue.unlink(missing_ok=True)
    assert requeued == [True, True, True, True, False]
    assert read_state(run)["reason"].endswith("; not requeued, since 5 attempts in a row completed no step")
    record_stop(attempt, TrainingStopped("term", 9))  # with progress
    assert run.requeue.exists()
