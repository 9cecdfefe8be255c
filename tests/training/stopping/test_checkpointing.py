"""When checkpoints are written, what they cost, and early stopping."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hpc_dl.config.checkpoint import CheckpointConfig
from hpc_dl.config.trainer import EarlyStopping
from hpc_dl.errors import Stopped
from hpc_dl.regular_files import read_json
from hpc_dl.runs import attempts
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.phase_times import PHASES, PhaseTimes
from hpc_dl.training.stopping import checkpoint_interval, checkpoint_writer, checkpointing
from hpc_dl.training.stopping.checkpoint_interval import CheckpointInterval, mean_time_between_kills
from hpc_dl.training.stopping.checkpoint_writer import CheckpointWriter
from hpc_dl.training.stopping.checkpointing import Checkpointing
from hpc_dl.training.stopping.early_stopping import Patience
from hpc_dl.training.stopping.rank_group import RankGroup
from tests import experiments
from tests.training.attempts import attempt, finish
from tests.training.stopping.interrupted_runs import BATCHES


def written(folder: Path, many_images: Path, monkeypatch: pytest.MonkeyPatch, **sections: Any) -> list[tuple[str, int]]:
    """Kind and step of each checkpoint of a training, in the order in which they were written."""
    written_files = []
    write = checkpoint_writer.checkpoints.write

    def recording_write(folder: Path, kind: Any, step: int, save: Any) -> Any:
        written_files.append((kind, step))
        return write(folder, kind, step, save)

    with monkeypatch.context() as patch:
        patch.setattr("hpc_dl.training.stopping.checkpoint_writer.checkpoints.write", recording_write)
        finish(experiments.prepared(folder, experiments.raw(many_images, **sections)))
    return written_files


@pytest.mark.slow
def test_every_n_steps(tmp_path: Path, many_images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = written(tmp_path, many_images, monkeypatch, checkpoint={"every": "10 steps"}, trainer={"max_epochs": 2})
    assert [step for kind, step in files if kind == "step"] == [10, 20, 30, 40, 48]


@pytest.mark.slow
def test_steps_are_optimizer_steps_not_batches(
    tmp_path: Path, many_images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = {"max_epochs": 2, "accumulate_grad_batches": 4}
    files = written(tmp_path, many_images, monkeypatch, checkpoint={"every": "5 steps"}, trainer=trainer)
    assert [step for kind, step in files if kind == "step"] == [5, 10, 12]


@pytest.mark.slow
def test_shortest_interval_is_each_step(tmp_path: Path, many_images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = {"max_epochs": 1, "limit_train_batches": 4}
    for every in ("1 step", "0.000001 s"):
        files = written(tmp_path, many_images, monkeypatch, checkpoint={"every": every}, trainer=trainer)
        assert [step for kind, step in files if kind == "step"][-4:] == [1, 2, 3, 4]


@pytest.mark.slow
def test_short_training_writes_one_checkpoint_and_the_best_weights(
    tmp_path: Path, many_images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert written(tmp_path, many_images, monkeypatch) == [("best", BATCHES), ("step", BATCHES)]


def due(
    every: str,
    *,
    seconds: float,
    checkpoint_s: float = 0.0,
    steps: int = 7,
    num_ranks: int = 1,
    between_kills_s: float | None = None,
) -> bool:
    interval = CheckpointInterval(CheckpointConfig(every=every), between_kills_s)
    return interval.is_due(steps=steps, seconds=seconds, checkpoint_s=checkpoint_s, num_ranks=num_ranks)


@pytest.mark.parametrize(
    ("every", "checkpoint_s", "interval_s"),
    [
        ("30 s", 0, 30),
        ("30 s", 100, 30),  # the user's interval holds at any cost
        ("10 min", 0, 600),
        ("1.5 h", 0, 5400),
        ("auto", 0, 60),
        ("auto", 1.0, 60),  # 2 % of a minute is 1.2 s
        ("auto", 1.2, 60),
        ("auto", 3, 150),
        ("auto", 60, 3000),
    ],
)
def test_interval_in_time(every: str, checkpoint_s: float, interval_s: float) -> None:
    assert not due(every, seconds=interval_s - 0.01, checkpoint_s=checkpoint_s)
    assert due(every, seconds=interval_s + 0.01, checkpoint_s=checkpoint_s)


@pytest.mark.parametrize(
    ("every", "checkpoint_s", "between_kills_s", "interval_s"),
    [
        ("auto", 0.5, 400, 20),  # √(2 · 0.5 · 400)
        ("auto", 0.0, 400, 1),
        ("auto", 0.5, 1e6, 60),  # killed once in eleven days: as without a kill
        ("auto", 3, 1e6, 150),
        ("5 min", 0.5, 400, 300),  # the user's interval holds
    ],
)
def test_interval_after_a_kill(every: str, checkpoint_s: float, between_kills_s: float, interval_s: float) -> None:
    for shift, expected in ((-0.01, False), (0.01, True)):
        facts = {"checkpoint_s": checkpoint_s, "between_kills_s": between_kills_s}
        assert due(every, seconds=interval_s + shift, **facts) is expected


def test_time_between_kills_counts_starts_without_an_end(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "a")

    def start(number: int, attempt: int, seconds: float) -> None:
        phases = dict.fromkeys(PHASES, 0.0)
        PhaseTimes(number, attempt, "7", None, 1e9, 1e9 + seconds, 0, "training", phases, ()).write(run.usage)

    start(0, 0, 100)
    attempts.record(run, "ended", attempt=0, state="stopped")
    start(1, 1, 50)  # the present one
    assert mean_time_between_kills(run, 1) is None
    start(2, 1, 30)  # the one before was killed before it logged a row, so this has the same number
    assert mean_time_between_kills(run, 2) == 150
    start(3, 2, 10)
    assert mean_time_between_kills(run, 3) == (100 + 50 + 30) / 2
    attempts.record(run, "ended", attempt=1, state="stopped")
    assert mean_time_between_kills(run, 3) == 100 + 50 + 30


def test_interval_in_steps() -> None:
    assert [due("7 steps", seconds=1e9, steps=steps) for steps in (6, 7, 8)] == [False, True, True]
    # The other ranks learn of it one batch later.
    assert [due("7 steps", seconds=1e9, steps=steps, num_ranks=2) for steps in (5, 6, 7)] == [False, True, True]


@pytest.mark.parametrize(("training", "request_"), [(True, checkpointing._SAVE), (False, checkpointing._NOTHING)])
def test_no_checkpoint_is_due_during_a_validation(training: bool, request_: int) -> None:
    callback = Checkpointing(
        RunFolder(Path("/nowhere")),
        CheckpointInterval(CheckpointConfig(every="30 s")),
        facts={},
        say=lambda line: pytest.fail(line),
    )
    trainer = SimpleNamespace(training=training, global_step=7, fit_loop=None)
    callback._group = RankGroup()
    callback._writer = CheckpointWriter(
        callback._run,
        callback._group,
        "min",
        divergence=callback._divergence,
        facts={},
        say=print,
        before_save=lambda: None,
        check_data=lambda at_once: None,
        writing=lambda kind, step: nullcontext(),
    )
    callback._writer.last_time -= 1000
    assert callback._agreed_request(trainer) == request_  # type: ignore[arg-type]


@pytest.mark.slow
def test_auto_follows_the_measured_cost(tmp_path: Path, many_images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As on a very slow disk: the measured time decides.
    monkeypatch.setattr(checkpoint_interval, "FIRST_AUTO_S", 0.001)
    monkeypatch.setattr(checkpoint_interval, "LARGEST_SHARE", 1e-6)
    trainer = {"max_epochs": 2, "limit_val_batches": 0}
    files = written(tmp_path, many_images, monkeypatch, trainer=trainer)
    # The first comes after FIRST_AUTO_S, when nothing has been measured; the next would come after
    # its cost / 1e-6.
    assert [kind for kind, _ in files] == ["step", "best", "step"]
    assert files[0][1] < 10 and files[-1][1] == 2 * BATCHES


@pytest.mark.slow
def test_cost_is_recorded(tmp_path: Path, many_images: Path) -> None:
    run = experiments.prepared(tmp_path, experiments.raw(many_images, checkpoint={"every": "2 steps"}))
    finish(run)
    timings = read_json(run.timings)
    assert timings["checkpoint_s"] > 0 and timings["boundary_s"] > 0
    assert timings["lead_s"] == pytest.approx(15 + 2 * (timings["checkpoint_s"] + timings["boundary_s"]), abs=0.01)


# --- the time limit, known in advance -----------------------------------------------------------


@pytest.mark.slow
def test_job_near_its_time_limit_stops_without_a_signal(
    tmp_path: Path, many_images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = experiments.prepared(tmp_path, experiments.raw(many_images))
    monkeypatch.setenv("SLURM_JOB_END_TIME", "1000000000")
    assert attempt(run) == Stopped.exit_status
    monkeypatch.setenv("SLURM_JOB_END_TIME", "unknown")
    assert attempt(run) == 0


# --- early stopping -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "values", "waited"),
    [
        ("min", [3.0, 2.0, 1.95, 2.5], 2),  # 1.95 is too small an improvement
        ("max", [0.3, 0.5, 0.55, 0.7], 0),
        ("min", [float("nan"), float("nan")], 2),
        ("min", [float("nan"), 1.0], 0),
    ],
)
def test_patience_counts_validations_without_improvement(mode: Any, values: list[float], waited: int) -> None:
    patience = Patience(EarlyStopping(patience=2, min_delta=0.1), mode)
    for value in values:
        patience.consider(value)
    assert patience.state_dict()["waited"] == waited
    assert patience.ran_out == (waited == 2)
    other = Patience(EarlyStopping(patience=2, min_delta=0.1), mode)
    other.load_state_dict(patience.state_dict())
    assert other.ran_out == patience.ran_out
