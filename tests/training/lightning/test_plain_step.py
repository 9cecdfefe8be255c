"""The plain step and Lightning's own agree bit for bit: weights, counters, journal, hooks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from hpc_dl.runs.comparison import differences
from hpc_dl.runs.folder import RunFolder
from hpc_dl.training.lightning import plain_step
from tests import experiments
from tests.training.attempts import finish, start, wait

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """23 batches of 8."""
    return experiments.classification_file(tmp_path_factory.mktemp("images"), {"train": 184, "val": 29, "test": 27})


def prepared(folder: Path, file: Path, model: dict[str, Any], trainer: dict[str, Any], **sections: Any) -> RunFolder:
    trainer = {"max_epochs": 2, "log_every_n_steps": 5, **trainer}
    return experiments.prepared(folder, experiments.raw(file, model=model, trainer=trainer, **sections))


def use_lightnings_step() -> None:
    """Use Lightning's own step from now on, in this process."""
    plain_step.suffices = lambda *_: False  # type: ignore[assignment]


def with_both_steps(
    prepare: Callable[[str], RunFolder], monkeypatch: pytest.MonkeyPatch
) -> tuple[RunFolder, RunFolder]:
    plain = finish(prepare("plain"))
    monkeypatch.setattr(plain_step, "suffices", lambda *_: False)
    return plain, finish(prepare("lightning"))


def assert_same_notes(plain: RunFolder, lightning: RunFolder, rank: int = 0) -> None:
    ours, lightning_notes = ((run.path / f"notes-{rank}").read_text().splitlines() for run in (plain, lightning))
    assert (ours[0], lightning_notes[0]) == ("{True}", "{False}"), "the test does not compare the two steps"
    assert len(ours) > 100
    for our_note, their_note in zip(ours[1:], lightning_notes[1:], strict=True):
        assert our_note == their_note


@pytest.mark.usefixtures("user_modules")
@pytest.mark.parametrize(
    ("module", "trainer"),
    [
        ("Net", {}),
        ("Net", {"accumulate_grad_batches": 5, "gradient_clip_val": 0.3}),
        ("ReturnsDict", {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"}),
        ("ReturnsNoneSometimes", {"val_check_interval": 6}),
        ("ReturnsNoneSometimes", {"accumulate_grad_batches": 3}),
        ("EndsTheEpoch", {"accumulate_grad_batches": 2}),
        ("Net", {"precision": "bf16-mixed", "limit_train_batches": 11}),
        ("Net", {"precision": "64-true", "max_epochs": None, "max_steps": 30}),
        ("Net", {"precision": "bf16-true", "gradient_clip_val": 0.3}),
    ],
    ids=["plain", "accumulated", "dict", "none", "none-accumulated", "skip", "bf16-mixed", "64", "bf16"],
)
def test_user_module_with_every_hook_trains_alike(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch, module: str, trainer: dict[str, Any]
) -> None:
    model = {"class": f"notes_every_hook.{module}"}
    plain, lightning = with_both_steps(lambda step: prepared(tmp_path / step, images, model, trainer), monkeypatch)
    assert_same_notes(plain, lightning)
    assert differences(plain, lightning) == []


@pytest.mark.parametrize(
    "trainer", [{}, {"accumulate_grad_batches": 4, "gradient_clip_val": 0.1, "val_check_interval": 0.5}]
)
def test_architecture_trains_alike_with_both_steps(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch, trainer: dict[str, Any]
) -> None:
    sections = {"optimizer": {"name": "adamw", "lr": 0.01}, "schedule": {"name": "cosine", "warmup_steps": 5}}
    model = {"name": "cnn", "channels": [4], "hidden": 8, "dropout": 0.5}
    plain, lightning = with_both_steps(
        lambda step: prepared(tmp_path / step, images, model, trainer, **sections), monkeypatch
    )
    assert differences(plain, lightning) == []


@pytest.mark.usefixtures("user_modules")
def test_two_ranks_train_alike_with_both_steps(tmp_path: Path, images: Path) -> None:
    model = {"class": "notes_every_hook.Net"}
    trainer = {"accumulate_grad_batches": 3, "gradient_clip_val": 0.3}
    runs = []
    for step, before in {"plain": None, "lightning": use_lightnings_step}.items():
        runs.append(prepared(tmp_path / step, images, model, trainer, resources={"gpus_per_node": 2}))
        assert wait(start(runs[-1], before=before)) == 0
    for rank in range(2):
        assert_same_notes(*runs, rank=rank)
    assert differences(*runs) == []


class _Net(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        result: torch.Tensor = self.layer(batch).square().mean()
        return result

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class _DefinesOptimizerStep(_Net):
    def optimizer_step(self, *arguments: Any, **options: Any) -> None:
        super().optimizer_step(*arguments, **options)


class _DefinesClipping(_Net):
    def configure_gradient_clipping(self, optimizer: Any, *_: Any, **__: Any) -> None:
        self.clip_gradients(optimizer, gradient_clip_val=0.1, gradient_clip_algorithm="norm")


class _UsesLBFGS(_Net):
    def configure_optimizers(self) -> Any:
        return torch.optim.LBFGS(self.parameters())


class _ForeignOptimizer(torch.optim.SGD):
    """Defined outside of torch.optim."""


class _UsesForeignOptimizer(_Net):
    def configure_optimizers(self) -> Any:
        return _ForeignOptimizer(self.parameters(), lr=0.1)


class _OptimizesManually(_Net):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        self.optimizers().zero_grad()  # type: ignore[union-attr]
        loss = super().training_step(batch, batch_idx)
        self.manual_backward(loss)
        self.optimizers().step()  # type: ignore[union-attr]
        return loss


class _RecordsSuffices(Callback):
    results: list[bool]

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.results = [plain_step.suffices(trainer, trainer.fit_loop._data_fetcher)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("module", "options", "expected"),
    [
        (_Net, {}, True),
        (_Net, {"precision": "bf16-mixed", "gradient_clip_val": 0.1}, True),
        (_Net, {"profiler": "simple"}, False),
        (_DefinesOptimizerStep, {}, False),
        (_DefinesClipping, {}, False),
        (_UsesLBFGS, {}, False),
        (_UsesForeignOptimizer, {}, False),
        (_OptimizesManually, {}, False),
    ],
)
def test_other_trainings_use_lightnings_own_step(
    tmp_path: Path, module: type[_Net], options: dict[str, Any], expected: bool
) -> None:
    recorder = _RecordsSuffices()
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = pl.Trainer(
        max_epochs=1, accelerator="cpu", default_root_dir=tmp_path, callbacks=[recorder], **quiet, **options
    )
    trainer.fit(module(), torch.utils.data.DataLoader(torch.ones(4, 4), batch_size=2))  # type: ignore[arg-type]
    assert recorder.results == [expected]
