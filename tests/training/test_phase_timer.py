"""What a real training records about its time."""

from pathlib import Path

import pytest

from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.goodput import goodput_of
from hpc_dl.runs.phase_times import PHASES, read_phase_times
from hpc_dl.training.phase_timer import PhaseTimer
from hpc_dl.training.train import train
from tests import experiments


def test_phases_of_a_training_add_up(tmp_path: Path, image_file: Path) -> None:
    sections = {"trainer": {"max_epochs": 2}, "checkpoint": {"every": "2 steps"}}
    run = experiments.prepared(tmp_path, experiments.raw(image_file, **sections))
    train(run)
    (times,) = read_phase_times(run.usage)
    assert (times.attempt, times.from_step, times.phase) == (0, 0, "end")
    assert sum(times.seconds.values()) == pytest.approx(times.time - times.started, rel=0.01, abs=0.01)
    assert all(times.seconds[phase] > 0 for phase in PHASES if phase != "restoring")
    assert times.saved[-1][0] > times.saved[0][0] > 0
    found = goodput_of(run)
    assert found is not None and 0 < found.share < 1 and found.parts["repeated"] == 0


def test_time_of_a_checkpoint_belongs_to_no_other_phase(tmp_path: Path) -> None:
    timer = PhaseTimer(RunFolder.create(tmp_path, "x"), 0)
    timer.enter("training")
    with timer.writing("step", 8):
        assert timer._phase == "checkpoints"
    with timer.writing("best", 8):
        pass
    assert timer._phase == "training"
    assert [step for step, _, _ in timer._saved] == [8]
