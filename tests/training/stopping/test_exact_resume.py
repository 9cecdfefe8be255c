"""A training that is stopped, by real signals, and goes on is the same to the bit as one that was
never stopped.

What is compared is all that a run leaves: both checkpoints with weights, optimizers, schedules,
counters and random states, the journal, and the result.
"""

import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hpc_dl.atomic_files import read_json
from hpc_dl.errors import Stopped
from hpc_dl.runs import attempts as history
from hpc_dl.runs.checkpoints import listed
from hpc_dl.runs.comparison import differences
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import read_state
from hpc_dl.tracking.journal import read_journal
from tests import experiments
from tests.training.attempts import Stop, attempt, finish, finish_in_processes, output, start, wait

BATCHES = 24  # in an epoch
CNN: dict[str, Any] = {
    "model": {"name": "cnn", "channels": [4], "hidden": 8, "dropout": 0.5},
    "optimizer": {"name": "adam", "lr": 0.01},
    "schedule": {"name": "cosine", "warmup_steps": 5},
    "trainer": {"max_epochs": 3, "log_every_n_steps": 5},
}
HOOKS = ("on_train_batch_start", "on_train_batch_end", "on_train_batch_end", "on_validation_batch_start")

# Whatever a user may do that has a state: generators of three libraries, metrics and means over the
# epoch.
LOGGING = """
    def __init__(self, data):
        import torchmetrics
        super().__init__()
        self.layer = torch.nn.Linear(64, data.num_outputs)
        self.accuracy = torchmetrics.Accuracy("multiclass", num_classes=data.num_outputs)
        both = {"f": torchmetrics.F1Score("multiclass", num_classes=data.num_outputs),
                "p": torchmetrics.Precision("multiclass", num_classes=data.num_outputs)}
        self.collection = torchmetrics.MetricCollection(both, prefix="mine/")
        self.areas = torchmetrics.AUROC("multiclass", num_classes=data.num_outputs)
    def training_step(self, batch, batch_idx):
        import random, numpy
        x = batch[0] + torch.rand(1) + numpy.random.rand() + random.random()
        loss = self.loss((torch.nn.functional.dropout(x, 0.3), batch[1]))
        outputs = self.layer(x.flatten(1)).softmax(1)
        self.accuracy(outputs, batch[1])
        self.collection.update(outputs, batch[1])
        self.areas.update(outputs, batch[1])
        self.log("mine/accuracy", self.accuracy, on_step=True, on_epoch=True)
        self.log("mine/loss", loss, on_step=True, on_epoch=True)
        self.log("mine/worst", loss, on_step=False, on_epoch=True, reduce_fx="max")
        return loss
    def on_train_epoch_end(self):
        self.log_dict({**self.collection.compute(), "mine/area": self.areas.compute()})
        self.collection.reset()
        self.areas.reset()
    def validation_step(self, batch, batch_idx):
        self.log("val/loss", self.loss(batch))
    def test_step(self, batch, batch_idx):
        self.log("test/loss", self.loss(batch))
"""

TWO_OPTIMIZERS = """
    def __init__(self, data):
        super().__init__()
        self.automatic_optimization = False
        self.layer = torch.nn.Linear(64, data.num_outputs)
        self.other = torch.nn.Sequential(torch.nn.Linear(64, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 3))
    def training_step(self, batch, batch_idx):
        one, two = self.optimizers()
        loss = self.loss(batch)
        one.zero_grad()
        self.manual_backward(loss)
        one.step()
        if batch_idx % 2:
            two.zero_grad()
            other = torch.nn.functional.cross_entropy(self.other(batch[0].flatten(1)), batch[1])
            self.manual_backward(other)
            two.step()
            self.log("mine/other", other, on_step=False, on_epoch=True)
        self.lr_schedulers().step()
        return loss
    def validation_step(self, batch, batch_idx):
        self.log("val/loss", self.loss(batch))
    def configure_optimizers(self):
        one = torch.optim.Adam(self.layer.parameters(), lr=0.01)
        two = torch.optim.SGD(self.other.parameters(), lr=0.1, momentum=0.9)
        return [one, two], [torch.optim.lr_scheduler.ExponentialLR(one, 0.99)]
"""

PLATEAU_AND_EARLY_STOPPING = """
    def training_step(self, batch, batch_idx):
        return self.loss((torch.nn.functional.dropout(batch[0], 0.3), batch[1]))
    def validation_step(self, batch, batch_idx):
        self.log("val/loss", self.loss(batch))
    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=2.0, momentum=0.9)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.5)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": "val/loss"}}
    def configure_callbacks(self):
        from pytorch_lightning.callbacks import EarlyStopping
        return [EarlyStopping("val/loss", patience=3)]
"""


@pytest.fixture(scope="session")
def many_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """192 / 29 / 27 images: 24, 4 and 4 batches of 8."""
    return experiments.classification_file(tmp_path_factory.mktemp("many"), {"train": 192, "val": 29, "test": 27})


@pytest.fixture(scope="session")
def uninterrupted(many_images: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., RunFolder]:
    """The run of an experiment that nothing happened to; each is made once."""
    runs: dict[str, RunFolder] = {}

    def run(**sections: Any) -> RunFolder:
        if repr(sections) not in runs:
            runs[repr(sections)] = finish(prepared(tmp_path_factory.mktemp("whole"), many_images, **sections))
        return runs[repr(sections)]

    return run


def prepared(folder: Path, file: Path, **sections: Any) -> RunFolder:
    merged = {key: {**CNN[key], **sections.pop(key, {})} if key == "trainer" else CNN[key] for key in CNN}
    return experiments.prepared(folder, experiments.raw(file, **(merged | sections)))


def seeded_stops(steps: int, count: int = 10) -> list[Stop]:
    """Stops at arbitrary steps and hooks, always the same ones."""
    draw = random.Random(steps)
    chosen = sorted(draw.sample(range(1, steps), count))
    # The last ones leave time for the training to come to a validation, or to the end of the
    # accumulation.
    return [Stop(step, draw.choice(HOOKS if step < 0.7 * steps else HOOKS[:1])) for step in chosen]


@pytest.mark.parametrize(
    ("trainer", "steps", "stops"),
    [
        ({}, 3 * BATCHES, 10),
        pytest.param({"accumulate_grad_batches": 5, "max_epochs": 2}, 2 * 5, 4, marks=pytest.mark.slow),
        pytest.param({"val_check_interval": 7}, 3 * BATCHES, 6, marks=pytest.mark.slow),
        ({"val_check_interval": 0.25, "accumulate_grad_batches": 4}, 3 * 6, 6),
        pytest.param({"limit_train_batches": 11, "limit_val_batches": 2}, 3 * 11, 5, marks=pytest.mark.slow),
        ({"limit_train_batches": 0.5, "val_check_interval": 0.5}, 3 * 12, 5),
        pytest.param({"max_epochs": None, "max_steps": 59}, 59, 5, marks=pytest.mark.slow),
        ({"max_epochs": 5, "max_steps": 50, "val_check_interval": 5}, 50, 6),
        pytest.param({"max_epochs": 4, "check_val_every_n_epoch": 2}, 4 * BATCHES, 5, marks=pytest.mark.slow),
        ({"precision": "bf16-mixed", "gradient_clip_val": 0.5, "num_sanity_val_steps": 2}, 3 * BATCHES, 5),
        pytest.param({"limit_val_batches": 0}, 3 * BATCHES, 4, marks=pytest.mark.slow),
    ],
    ids=lambda value: "-".join(value) or "plain" if isinstance(value, dict) else "",
)
def test_stopped_at_arbitrary_steps(
    tmp_path: Path,
    many_images: Path,
    trainer: dict[str, Any],
    steps: int,
    stops: int,
    uninterrupted: Callable[..., RunFolder],
) -> None:
    points = seeded_stops(steps, stops)
    if trainer.get("limit_val_batches") == 0:
        points = [Stop(stop.step) for stop in points]
    reference = uninterrupted(trainer=trainer)
    run = finish(prepared(tmp_path, many_images, trainer=trainer), *points)
    assert differences(run, reference) == []
    assert read_json(run.result)["steps"] == steps
    ended = [line["state"] for line in history.history(run) if line["event"] == "ended"]
    assert ended == ["stopped"] * (len(ended) - 1) + ["finished"] and len(ended) > 0.6 * stops


@pytest.mark.parametrize(
    ("body", "trainer", "steps"),
    [
        pytest.param(LOGGING, {}, 3 * BATCHES, marks=pytest.mark.slow),
        (LOGGING, {"accumulate_grad_batches": 3, "val_check_interval": 7}, 3 * 8),
        (TWO_OPTIMIZERS, {"max_epochs": 2}, 2 * 36),
        pytest.param(
            TWO_OPTIMIZERS, {"max_epochs": None, "max_steps": 50, "val_check_interval": 5}, 50, marks=pytest.mark.slow
        ),
        (PLATEAU_AND_EARLY_STOPPING, {"max_epochs": 40, "val_check_interval": 5}, 40),
        pytest.param(PLATEAU_AND_EARLY_STOPPING, {"max_epochs": 40}, 60, marks=pytest.mark.slow),
    ],
    ids=["logging", "logging-accumulating", "two-optimizers", "two-optimizers-max-steps", "early-mid-epoch", "early"],
)
def test_a_users_own_module_stopped_at_arbitrary_steps(
    tmp_path: Path,
    many_images: Path,
    own_module: Callable[[str], str],
    body: str,
    trainer: dict[str, Any],
    steps: int,
) -> None:
    model = {"class": own_module(body)}
    reference = finish(prepared(tmp_path, many_images, model=model, trainer=trainer))
    run = finish(prepared(tmp_path, many_images, model=model, trainer=trainer), *seeded_stops(steps, 6))
    assert differences(run, reference) == []
    if "max_steps" not in trainer and body is PLATEAU_AND_EARLY_STOPPING:
        assert read_json(run.result)["epochs"] < trainer["max_epochs"], "it was not stopped early"
        rates = {row["train/lr"] for row in read_journal(run.journal) if "train/lr" in row}
        assert len(rates) > 1, "the rate was never reduced"


def test_the_comparison_sees_a_single_bit(tmp_path: Path, many_images: Path) -> None:
    reference, run = (finish(prepared(tmp_path, many_images, trainer={"max_epochs": 1})) for _ in range(2))
    assert differences(run, reference) == []
    path = run.last_checkpoint.resolve()
    content = torch.load(path, weights_only=False)
    weight = content["state_dict"]["features.0.0.weight"]
    weight.view(-1)[3] = torch.nextafter(weight.view(-1)[3], torch.tensor(9.0))
    content["hpc_dl"]["ranks"][0]["state"]["random"]["torch"][100] ^= 1
    torch.save(content, path)
    assert {difference.where for difference in differences(run, reference)} == {
        "last.ckpt/state_dict/features.0.0.weight", "last.ckpt/hpc_dl/ranks/0/state/random/torch"
    }  # fmt: skip


@pytest.mark.parametrize("interval", [1.0, 7], ids=["after-epochs", "mid-epoch"])
def test_early_stopping_goes_on_counting(
    tmp_path: Path, many_images: Path, interval: float, capfd: pytest.CaptureFixture[str]
) -> None:
    sections = {
        "trainer": {"max_epochs": 40, "early_stopping": {"patience": 3}, "val_check_interval": interval},
        "optimizer": {"name": "sgd", "lr": 1.0},
    }
    reference = finish(prepared(tmp_path / "whole", many_images, **sections))
    result = read_json(reference.result)
    validations = [row["val/loss"] for row in read_journal(reference.journal) if "val/loss" in row]
    assert result["epochs"] < 40 and len(validations) >= 5
    assert min(validations) == validations[-4], "three validations did not get better"
    assert "Early stopping after step" in capfd.readouterr().err
    steps = result["steps"]
    in_the_last_validation = Stop(steps, "on_validation_batch_start", batch=1)
    stops = [*seeded_stops(steps, 4), in_the_last_validation]
    run = finish(prepared(tmp_path / "stopped", many_images, **sections), *stops)
    assert differences(run, reference) == []


@pytest.mark.parametrize("hook", ["on_fit_start", "on_sanity_check_start", "on_train_start", "on_train_epoch_start"])
def test_a_stop_before_the_first_step_saves_nothing_and_starts_again(
    tmp_path: Path, many_images: Path, hook: str, uninterrupted: Callable[..., RunFolder]
) -> None:
    trainer = {"max_epochs": 1, "num_sanity_val_steps": 2}
    reference = uninterrupted(trainer=trainer)
    run = prepared(tmp_path, many_images, trainer=trainer)
    assert attempt(run, Stop(0, hook)) == Stopped.exit_status
    assert list(run.checkpoints.iterdir()) == []
    state = read_state(run)
    assert (state["state"], state["step"]) == ("stopped", 0)
    assert "starting it again would not help" in state["reason"]
    assert not run.requeue.exists()
    assert differences(finish(run), reference) == []


@pytest.mark.parametrize(
    ("stop", "saved"),
    [
        (Stop(BATCHES, "on_train_batch_end"), BATCHES),  # the last batch of an epoch: the validation is due
        (Stop(BATCHES, "on_validation_batch_start", batch=0), BATCHES),
        (Stop(BATCHES, "on_validation_batch_end", batch=1), BATCHES),
        (Stop(BATCHES, "on_validation_end"), BATCHES),  # leaves before the first batch of the next epoch
        (Stop(BATCHES, "on_train_epoch_end"), BATCHES),
        (Stop(BATCHES, "on_train_epoch_start"), BATCHES),
        (Stop(2 * BATCHES, "on_validation_batch_end", batch=2), 2 * BATCHES),  # in the last validation of all
        (Stop(2 * BATCHES - 1, "on_train_batch_start"), 2 * BATCHES),  # during the last step of all
        (Stop(2 * BATCHES, "on_train_end"), 2 * BATCHES),
        (Stop(2 * BATCHES, "on_test_batch_start", batch=0), 2 * BATCHES),
        (Stop(2 * BATCHES, "on_test_batch_end", batch=2), 2 * BATCHES),
    ],
    ids=lambda value: f"{value.hook}-{value.step}" if isinstance(value, Stop) else "",
)
def test_a_stop_at_a_delicate_point(
    tmp_path: Path, many_images: Path, stop: Stop, saved: int, uninterrupted: Callable[..., RunFolder]
) -> None:
    reference = uninterrupted(trainer={"max_epochs": 2})
    run = prepared(tmp_path, many_images, trainer={"max_epochs": 2})
    assert attempt(run, stop) == Stopped.exit_status
    assert {"state": "stopped", "step": saved, "cause": "limit"}.items() <= read_state(run).items()
    assert listed(run.checkpoints, "step")[-1].step == saved
    assert read_json(run.result) is None
    assert differences(finish(run), reference) == []


def test_a_stop_after_the_last_test_batch_comes_too_late(tmp_path: Path, many_images: Path) -> None:
    run = prepared(tmp_path, many_images, trainer={"max_epochs": 1})
    assert attempt(run, Stop(BATCHES, "on_test_batch_end", batch=3)) == 0
    assert read_state(run)["state"] == "finished"


def test_stopped_in_each_validation_at_a_training_that_max_steps_ends_there(
    tmp_path: Path, many_images: Path, uninterrupted: Callable[..., RunFolder]
) -> None:
    # The step that is the last one is done, its validation is not.
    trainer = {"max_epochs": None, "max_steps": 10, "val_check_interval": 5}
    reference = uninterrupted(trainer=trainer)
    stops = [Stop(step, "on_validation_batch_end", batch=1) for step in (5, 10, 10)]
    run = finish(prepared(tmp_path, many_images, trainer=trainer), *stops)
    assert differences(run, reference) == []
    assert [row["step"] for row in read_journal(run.journal) if "val/loss" in row] == [5, 10]


@pytest.mark.parametrize(
    ("numbers", "cause", "requeue"),
    [
        ((signal.SIGUSR1,), "limit", "limit\n"),
        ((signal.SIGUSR2,), "limit", "limit\n"),
        ((signal.SIGUSR2, signal.SIGUSR2), "limit", "limit\n"),
        ((signal.SIGTERM,), "term", "term\n"),
        ((signal.SIGTERM, signal.SIGCONT, signal.SIGTERM), "term", "term\n"),
        # A cancel that follows the warning of the time limit is the last word.
        ((signal.SIGUSR2, signal.SIGTERM), "term", "term\n"),
        ((signal.SIGTERM, signal.SIGUSR2), "term", "term\n"),
        ((signal.SIGINT,), "interrupt", None),
        ((signal.SIGUSR1, signal.SIGINT), "interrupt", None),
    ],
)
def test_what_the_signals_mean(
    tmp_path: Path, many_images: Path, numbers: tuple[int, ...], cause: str, requeue: str | None
) -> None:
    run = prepared(tmp_path, many_images, trainer={"max_epochs": 1})
    assert attempt(run, Stop(7, numbers=numbers)) == Stopped.exit_status
    assert {"state": "stopped", "step": 7, "cause": cause}.items() <= read_state(run).items()
    assert (run.requeue.read_text() if run.requeue.exists() else None) == requeue
    assert history.history(run)[-1]["cause"] == cause


def test_a_second_ctrl_c_leaves_at_once_and_the_run_goes_on_exactly(
    tmp_path: Path, many_images: Path, uninterrupted: Callable[..., RunFolder]
) -> None:
    checkpoint = {"every": "5 steps"}
    reference = uninterrupted(trainer={"max_epochs": 1}, checkpoint=checkpoint)
    run = prepared(tmp_path, many_images, trainer={"max_epochs": 1}, checkpoint=checkpoint)
    assert wait(start(run, Stop(8, numbers=(signal.SIGINT, signal.SIGINT)))) == 130
    assert "continues from the newest checkpoint" in output(run)
    assert listed(run.checkpoints, "step")[-1].step == 5
    assert differences(finish(run), reference) == []


@pytest.mark.parametrize("step", [7, BATCHES, 2 * BATCHES], ids=["mid-epoch", "validation-due", "in-the-test"])
def test_a_stop_right_after_a_resume_writes_nothing_and_asks_for_no_requeue(
    tmp_path: Path, many_images: Path, step: int, uninterrupted: Callable[..., RunFolder]
) -> None:
    hook = "on_test_batch_start" if step == 2 * BATCHES else "on_train_batch_end"
    trainer = {"max_epochs": 2}
    reference = uninterrupted(trainer=trainer)
    run = prepared(tmp_path, many_images, trainer=trainer)
    assert attempt(run, Stop(step, hook)) == Stopped.exit_status
    run.requeue.unlink()  # as the batch script does
    before = {path.name: path.stat().st_mtime_ns for path in run.checkpoints.glob("*-*.ckpt")}
    again = Stop(step, "on_test_batch_start" if step == 2 * BATCHES else "on_train_epoch_start")
    for _ in range(2):
        assert attempt(run, again) == Stopped.exit_status
        assert {path.name: path.stat().st_mtime_ns for path in run.checkpoints.glob("*-*.ckpt")} == before
        assert read_state(run)["step"] == step
        assert not run.requeue.exists()
    assert differences(finish(run), reference) == []


def test_a_run_that_was_cancelled_keeps_its_checkpoint(tmp_path: Path, many_images: Path) -> None:
    run = prepared(tmp_path, many_images)
    run.cancelled.write_text("{}")
    assert attempt(run, Stop(9, numbers=(signal.SIGTERM,))) == Stopped.exit_status
    assert read_state(run)["state"] == "cancelled"
    assert listed(run.checkpoints, "step")[-1].step == 9
    assert not run.requeue.exists()


def test_the_limit_of_requeues(tmp_path: Path, many_images: Path) -> None:
    run = prepared(tmp_path, many_images, resources={"gpus_per_node": 0, "max_requeues": 2})
    asked = []
    for step in (3, 6, 9):
        attempt(run, Stop(step))
        asked.append(run.requeue.exists())
        run.requeue.unlink(missing_ok=True)
    assert asked == [True, True, False]
    assert "put back into the queue 2 times" in read_state(run)["reason"]
    history.record(run, "resumed")  # by hand
    attempt(run, Stop(12))
    assert run.requeue.exists()


def test_a_finished_run_that_is_started_again_only_tests_again(tmp_path: Path, many_images: Path) -> None:
    run = finish(prepared(tmp_path, many_images, trainer={"max_epochs": 1}))
    before = {path.name: path.stat().st_mtime_ns for path in run.checkpoints.glob("*-*.ckpt")}
    reference = read_json(run.result)
    finish(run)
    assert {path.name: path.stat().st_mtime_ns for path in run.checkpoints.glob("*-*.ckpt")} == before
    assert read_json(run.result)["metrics"] == reference["metrics"]


# --- processes of their own: several ranks, compressed data -------------------------------------

_RANKS = [
    # nodes, GPUs per node, compressed, stops
    (1, 1, True, 10),
    (1, 2, False, 10),
    (2, 2, False, 10),
    (2, 2, True, 10),
]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("nodes", "per_node", "compressed", "stops"), _RANKS)
def test_several_ranks_stopped_at_arbitrary_steps(
    tmp_path: Path, many_images: Path, nodes: int, per_node: int, compressed: bool, stops: int
) -> None:
    ranks = nodes * per_node
    draw = random.Random(ranks)
    sections = {
        "data": {"batch_size": 8 // ranks, "shuffle_buffer": 0.02},  # several windows in an epoch
        "resources": {"nodes": nodes, "gpus_per_node": per_node, "cpus_per_gpu": 1},
        "model": CNN["model"] | {"channels": [4, 8], "hidden": 64},
        "trainer": {"accelerator": "cpu", "val_check_interval": 11},
    }
    file = experiments.compressed(many_images) if compressed else many_images
    reference = finish_in_processes(prepared(tmp_path, file, **sections))
    run = prepared(tmp_path, file, **sections)
    # Whichever rank is told: all leave at the same point.
    points = [Stop(stop.step, stop.hook, rank=draw.randrange(ranks)) for stop in seeded_stops(3 * BATCHES - 3, stops)]
    finish_in_processes(run, *points)
    assert differences(run, reference) == []


@pytest.mark.slow
def test_two_ranks_of_a_users_own_module_stopped_in_the_middle(
    tmp_path: Path, many_images: Path, own_module: Callable[[str], str]
) -> None:
    sections = {
        "model": {"class": own_module(LOGGING)},
        "data": {"batch_size": 4},
        "resources": {"gpus_per_node": 2, "cpus_per_gpu": 1},
        "trainer": {"accelerator": "cpu", "accumulate_grad_batches": 3, "max_epochs": 2},
    }
    reference = finish_in_processes(prepared(tmp_path, many_images, **sections))
    stops = [Stop(3, rank=1), Stop(8, "on_validation_batch_start"), Stop(11)]
    assert differences(finish_in_processes(prepared(tmp_path, many_images, **sections), *stops), reference) == []


def test_all_ranks_leave_at_the_same_point_when_two_are_told_different_things(
    tmp_path: Path, many_images: Path
) -> None:
    sections = {
        "data": {"batch_size": 4},
        "resources": {"gpus_per_node": 2, "cpus_per_gpu": 1},
        "trainer": {"accelerator": "cpu", "max_epochs": 1},
    }
    run = prepared(tmp_path, many_images, **sections)
    stops = (Stop(6, rank=0), Stop(6, rank=1, numbers=(signal.SIGTERM,)))
    assert wait(start(run, *stops)) == Stopped.exit_status, output(run)
    state = read_state(run)
    assert (state["state"], state["cause"]) == ("stopped", "term")
    # The word travels while the next batch is computed.
    assert state["step"] == listed(run.checkpoints, "step")[-1].step in (6, 7)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="16-mixed needs a GPU")
def test_loss_scaling_goes_on_exactly(tmp_path: Path, many_images: Path) -> None:
    sections: dict[str, Any] = {
        "trainer": {"precision": "16-mixed", "accelerator": "gpu", "deterministic": True},
        "resources": {"gpus_per_node": 1},
    }
    reference = finish(prepared(tmp_path, many_images, **sections))
    run = finish(prepared(tmp_path, many_images, **sections), *seeded_stops(3 * BATCHES))
    assert differences(run, reference) == []
