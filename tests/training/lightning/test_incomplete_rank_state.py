"""State that cannot be stored or no longer fits starts over, with a warning; all else continues."""

from typing import Any

import numpy as np
import pytest
import torch
from torchmetrics import MeanMetric, Metric
from torchmetrics.classification import MulticlassAccuracy, MulticlassSpecificity

from hpc_dl.training.lightning.epoch_loop import Position
from tests.training.lightning.resumed_training import BATCHES, MIDDLE, Net, Rows, after, fit


class Changed(Net):
    """The module after its user has edited it."""

    logged_metrics = ("accuracy",)
    prog_bar = False

    def __init__(self) -> None:
        super().__init__()
        self.accuracy = MulticlassAccuracy(3, average="micro")
        del self.auroc, self.losses["recent"]
        self.group.add_metrics(MulticlassSpecificity(3))
        self.losses["new"] = MeanMetric()


@pytest.mark.slow
def test_changed_module_resumes_with_warnings(
    saved: dict[Position, bytes], uninterrupted: Rows, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="hpc_dl"):
        rows, _, warnings = fit((MIDDLE, saved[MIDDLE]), module=Changed)
    assert sorted(warnings) == [
        "Metric accuracy differs from the one in the checkpoint: it starts over.",
        "Metric auroc of the checkpoint is no longer in the model.",
        "Metric losses.new is not in the checkpoint: it starts over.",
        "Metric losses.recent of the checkpoint is no longer in the model.",
        "Metric losses.recent.base_metric of the checkpoint is no longer in the model.",
        "Metrics group differ from those in the checkpoint: they start over.",
        "self.log('auroc') in training_step starts over: its metric auroc is not in the model.",
    ]
    messages = [record.message for record in caplog.records if record.name == "hpc_dl"]
    assert messages == ["self.log('loss') in training_step has different arguments than before: its epoch starts over."]
    expected = after(uninterrupted, MIDDLE)
    assert after(rows, MIDDLE).keys() == expected.keys()
    # What was not changed continues.
    for name in ("callback:loss_of_all_epoch", "callback:losses/mean", "callback:val/least", "callback:draws_step"):
        assert rows[1, 0][name] == expected[1, 0][name], name
    assert rows[1, 0]["callback:loss_epoch"] != expected[1, 0]["callback:loss_epoch"]


class UnstorableMetric(Metric):
    """A metric whose state no checkpoint can hold."""

    def __init__(self) -> None:
        super().__init__()
        self.add_state("values", [], dist_reduce_fx=None)

    def update(self, value: str) -> None:
        self.values.append(frozenset([value]))

    def compute(self) -> torch.Tensor:
        return torch.tensor(float(len(self.values)))


class Unstorable(Net):
    def __init__(self) -> None:
        super().__init__()
        self.sets = UnstorableMetric()
        self.hidden = [MeanMetric()]

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = super().training_step(batch, batch_idx)
        self.sets.update("value")
        self.hidden[0].update(loss)
        self.log("hidden", self.hidden[0], on_epoch=True, metric_attribute="hidden")
        self.log("some", loss, on_epoch=True, sync_dist_group="some of the ranks")
        return loss

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        self.log("sets", self.sets.compute())
        self.sets.reset()


@pytest.mark.slow
def test_unstorable_state_starts_over_with_warnings() -> None:
    uninterrupted, saved, _ = fit(save=True, module=Unstorable)
    rows, _, warnings = fit((MIDDLE, saved[MIDDLE]), module=Unstorable)
    assert warnings == [
        "Metric sets starts over: it contains a frozenset, which a checkpoint cannot store.",
        "self.log('hidden') in training_step starts over: its metric is not an attribute of the module.",
        "self.log('some') in training_step starts over: its sync_dist_group cannot be stored.",
    ]
    expected = after(uninterrupted, MIDDLE)
    different = {name for name, value in expected[1, 0].items() if rows[1, 0][name] != value}
    assert different == {"callback:hidden"} | {
        f"{kind}:{name}" for kind in ("callback", "logged") for name in ("hidden_epoch", "some_epoch", "sets")
    }
    assert rows[1, 0]["callback:sets"] == np.float32(BATCHES - MIDDLE.batch).tobytes()
