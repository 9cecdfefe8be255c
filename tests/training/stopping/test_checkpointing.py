"""When a checkpoint is due, what it costs, and a training that goes on with another number of
ranks."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hpc_dl.atomic_files import read_json, write_text
from hpc_dl.config import yaml
from hpc_dl.config.checkpoint import CheckpointConfig
from hpc_dl.config.trainer import EarlyStopping
from hpc_dl.errors import Stopped
from hpc_dl.runs.checkpoints import listed
from hpc_dl.runs.folder import RunFolder
from hpc_dl.tracking.journal import read_journal
from hpc_dl.training.stopping import checkpointing
from hpc_dl.training.stopping.checkpointing import Checkpointing
from hpc_dl.training.stopping.early_stopping import Patience
from tests import experiments
from tests.training.attempts import Stop, attempt, finish, output, start, wait

BATCHES = 24


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return experiments.classification_file(tmp_path_factory.mktemp("many"), {"train": 192, "val": 29, "test": 27})


# --- when ---------------------------------------------------------------------------------------


def written(folder: Path, file: Path, monkeypatch: pytest.MonkeyPatch, **sections: Any) -> list[tuple[str, int]]:
    """Kind and step of each checkpoint of a training, in the order in which they were written."""
    seen = []
    write = checkpointing.checkpoints.write

    def noting(folder: Path, kind: Any, step: int, save: Any) -> Any:
        seen.append((kind, step))
        return write(folder, kind, step, save)

    with monkeypatch.context() as patch:
        patch.setattr("hpc_dl.training.stopping.checkpointing.checkpoints.write", noting)
        finish(experiments.prepared(folder, experiments.raw(file, **sections)))
    return seen


def test_every_so_many_steps(tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = written(tmp_path, file, monkeypatch, checkpoint={"every": "10 steps"}, trainer={"max_epochs": 2})
    assert [step for kind, step in seen if kind == "step"] == [10, 20, 30, 40, 48]


def test_steps_are_those_of_the_optimizer_not_batches(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = {"max_epochs": 2, "accumulate_grad_batches": 4}
    seen = written(tmp_path, file, monkeypatch, checkpoint={"every": "5 steps"}, trainer=trainer)
    assert [step for kind, step in seen if kind == "step"] == [5, 10, 12]


def test_more_often_than_each_step_is_each_step(tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = {"max_epochs": 1, "limit_train_batches": 4}
    for every in ("1 step", "0.000001 s"):
        seen = written(tmp_path, file, monkeypatch, checkpoint={"every": every}, trainer=trainer)
        assert [step for kind, step in seen if kind == "step"][-4:] == [1, 2, 3, 4]


def test_a_short_training_writes_one_and_the_best(tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert written(tmp_path, file, monkeypatch) == [("best", BATCHES), ("step", BATCHES)]


def decides(
    every: str, *, since_s: float, cost_s: float = 0.0, steps: int = 7, training: bool = True, ranks: int = 1
) -> bool:
    """Whether one is due so long after the last, where the slowest so far took ``cost_s``."""
    made = Checkpointing(
        RunFolder(Path("/nowhere")), CheckpointConfig(every=every), facts={}, say=lambda line: pytest.fail(line)
    )
    made._group = SimpleNamespace(size=ranks, rank=0)  # type: ignore[assignment]
    made.checkpoint_s = cost_s
    return made._due(SimpleNamespace(training=training, global_step=steps), made._saved_time + since_s)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("every", "cost_s", "interval_s"),
    [
        ("30 s", 0, 30),
        ("30 s", 100, 30),  # the user's word holds, whatever it costs
        ("10 min", 0, 600),
        ("1.5 h", 0, 5400),
        ("auto", 0, 60),
        ("auto", 1.0, 60),  # 2 % of a minute is 1.2 s
        ("auto", 1.2, 60),
        ("auto", 3, 150),
        ("auto", 60, 3000),
    ],
)
def test_the_interval_in_time(every: str, cost_s: float, interval_s: float) -> None:
    assert not decides(every, since_s=interval_s - 0.01, cost_s=cost_s)
    assert decides(every, since_s=interval_s + 0.01, cost_s=cost_s)
    assert not decides(every, since_s=10 * interval_s, cost_s=cost_s, training=False), "in a validation"


def test_the_interval_in_steps() -> None:
    assert [decides("7 steps", since_s=1e9, steps=steps) for steps in (6, 7, 8)] == [False, True, True]
    # The other ranks hear of it one batch later.
    assert [decides("7 steps", since_s=1e9, steps=steps, ranks=2) for steps in (5, 6, 7)] == [False, True, True]


def test_auto_follows_the_measured_cost(tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A disk so slow and a clock so fast: what is measured is what decides.
    monkeypatch.setattr(checkpointing, "FIRST_AUTO_S", 0.001)
    monkeypatch.setattr(checkpointing, "LARGEST_SHARE", 1e-6)
    trainer = {"max_epochs": 2, "limit_val_batches": 0}
    seen = written(tmp_path, file, monkeypatch, trainer=trainer)
    # The first comes after FIRST_AUTO_S, when nothing has been measured; the next would come after
    # its cost / 1e-6.
    assert [kind for kind, _ in seen] == ["step", "best", "step"]
    assert seen[0][1] < 10 and seen[-1][1] == 2 * BATCHES


def test_the_cost_is_on_record(tmp_path: Path, file: Path) -> None:
    run = experiments.prepared(tmp_path, experiments.raw(file, checkpoint={"every": "2 steps"}))
    finish(run)
    timings = read_json(run.timings)
    assert timings["checkpoint_s"] > 0 and timings["boundary_s"] > 0
    assert timings["lead_s"] == pytest.approx(15 + 2 * (timings["checkpoint_s"] + timings["boundary_s"]), abs=0.01)


# --- the limit of time, known ahead -------------------------------------------------------------


def test_a_job_whose_end_is_near_stops_without_a_signal(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = experiments.prepared(tmp_path, experiments.raw(file))
    monkeypatch.setenv("SLURM_JOB_END_TIME", "1000000000")
    assert attempt(run) == Stopped.exit_status
    monkeypatch.setenv("SLURM_JOB_END_TIME", "unknown")
    assert attempt(run) == 0


# --- another number of ranks --------------------------------------------------------------------

_SAMPLES = """
    def __init__(self, data):
        super().__init__()
        self.layer = torch.nn.Linear(64, data.num_outputs)
    def on_train_batch_start(self, batch, batch_idx):
        import json
        with open(f"samples-{self.global_rank}.jsonl", "a") as file:
            sums = [round(float(x), 3) for x in (batch[0].double().flatten(1) ** 2).sum(1)]
            file.write(json.dumps([self.current_epoch, batch_idx, sums]) + "\\n")
    def training_step(self, batch, batch_idx):
        return self.loss(batch)
    def validation_step(self, batch, batch_idx):
        self.log("val/loss", self.loss(batch), sync_dist=True)
    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)
"""


def samples(folder: Path) -> dict[tuple[int, int], list[float]]:
    """The samples of each global batch by epoch and number; takes the files away."""
    found: dict[tuple[int, int], list[float]] = {}
    for path in sorted(folder.glob("samples-*.jsonl")):
        for line in path.read_text().splitlines():
            epoch, batch, sums = json.loads(line)
            found.setdefault((epoch, batch), []).extend(sums)
        path.unlink()
    return {key: sorted(sums) for key, sums in found.items()}


def with_ranks(run: RunFolder, ranks: int) -> None:
    content = yaml.load(run.config)
    content["resources"] |= {"gpus_per_node": ranks, "cpus_per_gpu": 1}
    write_text(run.config, yaml.dumps(content))


@pytest.mark.slow
def test_one_rank_goes_on_as_two_and_as_four(tmp_path: Path, own_module: Callable[[str], str]) -> None:
    # As many validation samples on each rank: Lightning's sync_dist (2.6) rounds the mean of their
    # numbers down.
    file = experiments.classification_file(tmp_path, {"train": 192, "val": 32, "test": 27})
    sections: dict[str, Any] = {
        "model": {"class": own_module(_SAMPLES)},
        "data": {"batch_size": None, "global_batch_size": 8},
        "trainer": {"accelerator": "cpu", "max_epochs": 2, "log_every_n_steps": 4},
    }
    here = Path.cwd()
    reference, run = (experiments.prepared(tmp_path, experiments.raw(file, **sections)) for _ in range(2))
    assert wait(start(reference)) == 0, output(reference)
    wanted = samples(here)
    assert len(wanted) == 2 * BATCHES and all(len(sums) == 8 for sums in wanted.values())

    stopped = [Stop(10), Stop(30, numbers=(signal.SIGTERM,), rank=1)]
    for ranks, stop in ((1, stopped[0]), (2, stopped[1])):
        with_ranks(run, ranks)
        assert wait(start(run, stop)) == Stopped.exit_status, output(run)
    with_ranks(run, 4)
    assert wait(start(run)) == 0, output(run)
    assert samples(here) == wanted, "another sample, or one in another batch, twice or not at all"

    assert read_json(run.result)["world_size"] == 4
    ours, theirs = (
        {(row["step"], key): value for row in read_journal(r.journal) for key, value in row.items() if "loss" in key}
        for r in (run, reference)
    )
    assert ours.keys() == theirs.keys() and len(ours) >= 14
    for key, value in theirs.items():
        assert ours[key] == pytest.approx(value, rel=1e-4), key
    assert "1 × cpu" in run.log(0).read_text() and "4 × cpu" in run.log(0).read_text()
    assert listed(run.checkpoints, "step")[-1].step == 2 * BATCHES


@pytest.mark.slow
def test_four_ranks_go_on_as_one(tmp_path: Path, file: Path) -> None:
    sections: dict[str, Any] = {
        "model": {"name": "mlp", "width": 8, "depth": 1},
        "data": {"batch_size": None, "global_batch_size": 8},
        "trainer": {"accelerator": "cpu", "log_every_n_steps": 4},
        "resources": {"gpus_per_node": 4, "cpus_per_gpu": 1},
    }
    run = experiments.prepared(tmp_path, experiments.raw(file, **sections))
    assert wait(start(run, Stop(10, rank=3))) == Stopped.exit_status, output(run)
    with_ranks(run, 0)
    finish(run)
    with_ranks(run, 0)
    alone = experiments.raw(file, **(sections | {"resources": {"gpus_per_node": 0}}))
    reference = finish(experiments.prepared(tmp_path, alone))
    ours, theirs = (read_json(r.result)["metrics"] for r in (run, reference))
    assert ours == pytest.approx(theirs, rel=1e-4)
    losses = [[row["train/loss"] for row in read_journal(r.journal) if "train/loss" in row] for r in (run, reference)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4), "a row that was begun by four ranks holds all their samples"


# --- early stopping -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "values", "waited"),
    [
        ("min", [3.0, 2.0, 1.95, 2.5], 2),  # 1.95 is too little better
        ("max", [0.3, 0.5, 0.55, 0.7], 0),
        ("min", [float("nan"), float("nan")], 2),
        ("min", [float("nan"), 1.0], 0),
    ],
)
def test_patience(mode: Any, values: list[float], waited: int) -> None:
    patience = Patience(EarlyStopping(patience=2, min_delta=0.1), mode)
    for value in values:
        patience.consider(value)
    assert patience.state_dict()["waited"] == waited
    assert patience.ran_out == (waited == 2)
    other = Patience(EarlyStopping(patience=2, min_delta=0.1), mode)
    other.load_state_dict(patience.state_dict())
    assert other.ran_out == patience.ran_out
