"""A training that is entered in mid-epoch logs, measures and draws the same bits as one that was
never left."""

import io
import os
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers.logger import DummyLogger
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MeanMetric, Metric, MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassAUROC,
    MulticlassAveragePrecision,
    MulticlassF1Score,
    MulticlassPrecision,
    MulticlassSpecificity,
)
from torchmetrics.wrappers import MinMaxMetric, Running

from hpc_dl.training.lightning import rank_state
from hpc_dl.training.lightning.epoch_loop import EpochLoop, Position

BATCHES = 6
EPOCHS = 2
RANKS = int(os.environ.get("WORLD_SIZE", 1))  # Lightning deletes it when a training ends

Rows = dict[tuple[int, float], dict[str, bytes]]


class Net(pl.LightningModule):
    """Logs in every way that Lightning offers, and draws from every generator."""

    logged_metrics = ("accuracy", "auroc")
    prog_bar = True

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 3))
        self.accuracy = MulticlassAccuracy(3)
        self.auroc = MulticlassAUROC(3, thresholds=None)  # gathers lists
        # Compute groups that share tensors, and lists
        self.group = MetricCollection([MulticlassF1Score(3), MulticlassPrecision(3)], prefix="group/")
        self.curves = MetricCollection([MulticlassAUROC(3), MulticlassAveragePrecision(3)])
        self.losses = torch.nn.ModuleDict({"mean": MeanMetric(), "recent": Running(MeanMetric(), window=3)})
        self.extremes = MinMaxMetric(MulticlassAccuracy(3))

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.log("started", float(batch_idx), on_step=False, on_epoch=True, reduce_fx="sum")

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        x, y = batch
        outputs = self.layers(x)
        loss = torch.nn.functional.cross_entropy(outputs, y)
        probabilities = outputs.detach().softmax(1)
        both: dict[str, Any] = {"on_step": True, "on_epoch": True}
        self.log("loss", loss, prog_bar=self.prog_bar, **both)
        self.log("loss_of_all", loss, sync_dist=True, **both)
        self.log("draws", random.random() + np.random.standard_normal() + torch.rand(()).item(), **both)
        self.log("double", loss.double() / 3, batch_size=2, **both)
        self.log("largest", loss, reduce_fx="max", sync_dist=True, **both)
        self.log("least", loss, reduce_fx=min, **both)
        self.log("total", loss, reduce_fx=torch.sum, on_step=False, on_epoch=True)
        if batch_idx % 4 == 0:
            self.log("now_and_then", loss, on_step=True, on_epoch=False)
        for name in self.logged_metrics:
            metric = getattr(self, name)
            metric(probabilities, y)
            self.log(name, metric, **both)
        self.group.update(probabilities, y)
        self.log_dict(self.group, on_step=False, on_epoch=True)
        self.curves.update(probabilities, y)
        for metric in self.losses.values():
            metric.update(loss)
        self.extremes.update(probabilities, y)
        return loss

    def on_train_epoch_end(self) -> None:
        for name, metric in self.losses.items():
            self.log(f"losses/{name}", metric.compute())
        self.log_dict(self.curves.compute())
        self.losses["mean"].reset()
        self.curves.reset()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/loss", torch.nn.functional.cross_entropy(self.layers(batch[0]), batch[1]), sync_dist=True)
        self.log("val/least", self.extremes.compute()["min"])
        self.log("val/mean", next(iter(self.losses.values())).compute())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.3)


class BatchOrder:
    """Batches of different sizes; the first epoch begins at batch ``first``."""

    def __init__(self, first: int = 0) -> None:
        self.first = first

    def __iter__(self) -> Iterator[list[int]]:
        first, self.first = self.first, 0
        for number in range(first, BATCHES):
            yield list(range(5 * number, 5 * number + 2 + number % 3))

    def __len__(self) -> int:
        return BATCHES


class Journal(DummyLogger):
    """What was logged since it was last read."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[dict[str, Any]] = []

    def log_metrics(self, metrics: dict[str, Any], step: int) -> None:  # type: ignore[override]
        self.lines.append({**metrics, "step": step})

    def read(self) -> dict[str, bytes]:
        lines, self.lines = self.lines, []
        return {
            f"{number}:{name}": np.asarray(value).tobytes()
            for number, line in enumerate(lines)
            for name, value in line.items()
        }


class Record(Callback):
    """The bits of all that a user can see after each batch and each epoch, and what is logged
    between them."""

    def __init__(self) -> None:
        self.rows: Rows = {}

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.rows[trainer.current_epoch, batch_idx] = bits(trainer)
        self.rows[trainer.current_epoch, batch_idx - 0.5] = trainer.logger.read()

    def on_train_epoch_end(self, trainer: pl.Trainer, module: Any) -> None:
        self.on_train_batch_end(trainer, module, None, None, BATCHES)

    def on_fit_end(self, trainer: pl.Trainer, module: Any) -> None:
        self.rows[EPOCHS, 0] = bits(trainer)
        self.rows[EPOCHS, 1] = trainer.logger.read()


def bits(trainer: pl.Trainer) -> dict[str, bytes]:
    values: dict[str, Any] = {
        f"{kind}:{name}": value
        for kind in ("callback", "logged", "progress_bar")
        for name, value in getattr(trainer, f"{kind}_metrics").items()
    }
    values |= trainer.lightning_module.state_dict()
    return {name: torch.as_tensor(value).cpu().numpy().tobytes() for name, value in values.items()}


def rank() -> int:
    return int(os.environ.get("RANK", 0))


def data(first: int = 0) -> DataLoader[Any]:
    """This rank's batches; a DataLoader draws a random number in each epoch."""
    generator = torch.Generator().manual_seed(rank())
    x, y = torch.randn(5 * BATCHES, 5, generator=generator), torch.randint(3, (5 * BATCHES,), generator=generator)
    return DataLoader(TensorDataset(x, y), batch_sampler=BatchOrder(first))


def fit(
    entry: tuple[Position, bytes] | None = None,
    *,
    save: bool = False,
    module: type[Net] = Net,
    without: str = "",
    accelerator: str = "cpu",
) -> tuple[Rows, dict[Position, bytes], list[str]]:
    """Train, from ``entry`` on if there is one, leaving out the part of its state that is called
    ``without``.

    Returns:
        What could be seen, by epoch and batch; a checkpoint of each position; what restore() said.
    """
    pl.seed_everything(1 + rank() + (99 if entry else 0), verbose=False)
    record, net = Record(), module()
    captured: dict[Position, dict[str, Any]] = {}
    said: list[str] = []

    def at_boundary() -> None:
        if save:
            weights = {name: value.cpu().clone() for name, value in net.state_dict().items()}
            state = {"rank": rank_state.capture(trainer), "weights": weights, "progress": loop.progress()}
            captured[loop.position] = state

    def restore() -> None:
        anew = rank_state.capture(trainer)
        said.extend(rank_state.restore(trainer, checkpoint["rank"] | ({without: anew[without]} if without else {})))

    trainer = pl.Trainer(
        max_epochs=EPOCHS,
        accelerator=accelerator,
        strategy="ddp" if RANKS > 1 else "auto",
        devices=RANKS,
        val_check_interval=2,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        use_distributed_sampler=False,
        logger=Journal(),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[record],
    )
    loop = EpochLoop(trainer, at_boundary, before_validation=at_boundary)
    if entry is not None:
        checkpoint = torch.load(io.BytesIO(entry[1]), weights_only=True)
        net.load_state_dict(checkpoint["weights"])
        loop.enter_at(entry[0], checkpoint["progress"], restore)
    trainer.fit(net, data(entry[0].batch if entry else 0), DataLoader(data().dataset, batch_size=7))
    # Written only now: what was captured must not have changed with what went on.
    return record.rows, {position: written(state) for position, state in captured.items()}, said


def written(state: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def later(rows: Rows, position: Position) -> Rows:
    """What was seen and logged after a position; a validation that is due there is not compared."""
    return {key: row for key, row in rows.items() if key >= (position.epoch, position.batch)}


@pytest.fixture(scope="module")
def uninterrupted() -> Rows:
    return fit()[0]


@pytest.fixture(scope="module")
def saved(uninterrupted: Rows) -> dict[Position, bytes]:
    rows, checkpoints, _ = fit(save=True)
    assert rows == uninterrupted, "capture() must not change the training"
    return checkpoints


# After the first batch, after a validation, in between, between two epochs, before the last batch;
# before a validation in mid-epoch, and before the last one
POSITIONS = [Position(0, 1), Position(0, 2), Position(0, 3), Position(1, 0), Position(1, 5)]
POSITIONS += [Position(0, 4, validation_due=True), Position(1, 6, validation_due=True)]
MIDDLE = Position(0, 3)


@pytest.mark.parametrize("position", POSITIONS, ids=str)
def test_a_training_goes_on_as_if_it_had_not_been_left(
    position: Position, uninterrupted: Rows, saved: dict[Position, bytes]
) -> None:
    rows, _, said = fit((position, saved[position]))
    assert said == []
    assert later(rows, position) == later(uninterrupted, position)
    for name in ("callback:loss_epoch", "logged:now_and_then", "progress_bar:loss_step", "callback:MulticlassAUROC"):
        assert name in rows[EPOCHS, 0]


@pytest.mark.parametrize("without", ["random", "metrics", "collections", "results", "connector"])
def test_each_part_of_the_state_is_needed(without: str, uninterrupted: Rows, saved: dict[Position, bytes]) -> None:
    rows, _, _ = fit((MIDDLE, saved[MIDDLE]), without=without)
    assert later(rows, MIDDLE) != later(uninterrupted, MIDDLE)


def test_the_state_is_small(saved: dict[Position, bytes]) -> None:
    assert len(saved[MIDDLE]) < 100_000


class Changed(Net):
    """What becomes of the module when its user edits it meanwhile."""

    logged_metrics = ("accuracy",)
    prog_bar = False

    def __init__(self) -> None:
        super().__init__()
        self.accuracy = MulticlassAccuracy(3, average="micro")
        del self.auroc, self.losses["recent"]
        self.group.add_metrics(MulticlassSpecificity(3))
        self.losses["new"] = MeanMetric()


def test_a_changed_module_is_told_and_goes_on(
    saved: dict[Position, bytes], uninterrupted: Rows, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="hpc_dl"):
        rows, _, said = fit((MIDDLE, saved[MIDDLE]), module=Changed)
    assert sorted(said) == [
        "Metric accuracy is another one than in the checkpoint: it begins anew.",
        "Metric auroc of the checkpoint is not in the model any more.",
        "Metric losses.new is not in the checkpoint: it begins anew.",
        "Metric losses.recent of the checkpoint is not in the model any more.",
        "Metric losses.recent.base_metric of the checkpoint is not in the model any more.",
        "Metrics group are others than in the checkpoint: they begin anew.",
        "self.log('auroc') in training_step begins anew: its metric auroc is not in the model.",
    ]
    told = [record.message for record in caplog.records if record.name == "hpc_dl"]
    assert told == ["self.log('loss') in training_step has other arguments than before: its epoch begins anew."]
    wanted = later(uninterrupted, MIDDLE)
    assert later(rows, MIDDLE).keys() == wanted.keys()
    # What was not touched goes on.
    for name in ("callback:loss_of_all_epoch", "callback:losses/mean", "callback:val/least", "callback:draws_step"):
        assert rows[1, 0][name] == wanted[1, 0][name], name
    assert rows[1, 0]["callback:loss_epoch"] != wanted[1, 0]["callback:loss_epoch"]


class Words(Metric):
    """A metric whose state no checkpoint can hold."""

    def __init__(self) -> None:
        super().__init__()
        self.add_state("words", [], dist_reduce_fx=None)

    def update(self, word: str) -> None:
        self.words.append(frozenset([word]))

    def compute(self) -> torch.Tensor:
        return torch.tensor(float(len(self.words)))


class Unkeepable(Net):
    def __init__(self) -> None:
        super().__init__()
        self.words = Words()
        self.hidden = [MeanMetric()]

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = super().training_step(batch, batch_idx)
        self.words.update("word")
        self.hidden[0].update(loss)
        self.log("hidden", self.hidden[0], on_epoch=True, metric_attribute="hidden")
        self.log("some", loss, on_epoch=True, sync_dist_group="some of the ranks")
        return loss

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        self.log("words", self.words.compute())
        self.words.reset()


def test_what_cannot_be_kept_is_told_and_begins_anew() -> None:
    uninterrupted, saved, _ = fit(save=True, module=Unkeepable)
    rows, _, said = fit((MIDDLE, saved[MIDDLE]), module=Unkeepable)
    assert said == [
        "Metric words begins anew: it holds a frozenset, which a checkpoint cannot keep.",
        "self.log('hidden') in training_step begins anew: its metric is no attribute of the module.",
        "self.log('some') in training_step begins anew: its sync_dist_group cannot be kept.",
    ]
    wanted = later(uninterrupted, MIDDLE)
    different = {name for name, value in wanted[1, 0].items() if rows[1, 0][name] != value}
    assert different == {"callback:hidden"} | {
        f"{kind}:{name}" for kind in ("callback", "logged") for name in ("hidden_epoch", "some_epoch", "words")
    }
    assert rows[1, 0]["callback:words"] == np.float32(BATCHES - MIDDLE.batch).tobytes()


def test_another_number_of_ranks_begins_the_metrics_anew(saved: dict[Position, bytes]) -> None:
    content = torch.load(io.BytesIO(saved[MIDDLE]), weights_only=True)
    content["rank"]["world_size"] = 4
    rows, _, said = fit((MIDDLE, written(content)))
    assert said == ["The checkpoint is of 4 ranks and this training has 1: the metrics of the epoch begin anew."]
    # The sum of the numbers of the batches since
    assert rows[0, BATCHES]["callback:started"] == np.float32(sum(range(MIDDLE.batch, BATCHES))).tobytes()


def draws() -> list[float]:
    return [random.random(), float(np.random.random()), float(torch.rand(()))]


def test_fresh_random_depends_on_seed_rank_and_step_alone() -> None:
    def seeded(*of: int) -> list[float]:
        rank_state.fresh_random(*of)
        return draws()

    first = seeded(7, 0, 100)
    assert seeded(7, 0, 100) == first
    others = [seeded(8, 0, 100), seeded(7, 1, 100), seeded(7, 0, 101), seeded(2**40, 0, 100)]
    assert len({number for numbers in [first, *others] for number in numbers}) == 3 * (1 + len(others))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")
def test_a_training_on_a_gpu_goes_on_as_if_it_had_not_been_left() -> None:
    uninterrupted, saved, _ = fit(save=True, accelerator="gpu")
    rows, _, said = fit((MIDDLE, saved[MIDDLE]), accelerator="gpu")
    assert said == []
    assert later(rows, MIDDLE) == later(uninterrupted, MIDDLE)
    rows, _, said = fit((MIDDLE, saved[MIDDLE]))
    assert said == ["The checkpoint is of a GPU and this training is on a CPU: other random numbers are drawn."]


_RANK = """
import torch.distributed

from tests.training.lightning.test_rank_state import MIDDLE, Position, fit, later

uninterrupted, saved, _ = fit(save=True)
for position in (MIDDLE, Position(1, 6, validation_due=True)):
    rows, _, said = fit((position, saved[position]))
    assert said == [], said
    assert later(rows, position) == later(uninterrupted, position), position
last = uninterrupted[1, 6]
print("the same:", last["callback:loss_epoch"].hex(), last["callback:loss_of_all_epoch"].hex())
torch.distributed.destroy_process_group()  # at the interpreter's exit it may abort
"""


@pytest.mark.slow
def test_two_ranks_go_on_as_if_they_had_not_been_left() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    outside = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _RANK],
            env=outside
            | {"RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
            | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)},
            cwd=Path(__file__).parents[3],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=100) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], outputs
    (one, one_of_all), (other, other_of_all) = (output.split("the same: ")[1].split() for output, _ in outputs)
    assert one != other and one_of_all == other_of_all
