"""A step that goes straight through against Lightning's own: weights, counters, journal, hooks, bit
for bit."""

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
from hpc_dl.training.lightning.plain_step import suffices
from tests import experiments
from tests.training.attempts import finish, start, wait

# Notes, in each hook of the module and of a callback, all that Lightning knows at that moment.
HOOKS = """
    def __init__(self, data):
        super().__init__()
        first, last = torch.nn.Linear(64, 8), torch.nn.Linear(8, data.num_outputs)
        self.layer = torch.nn.Sequential(first, torch.nn.Dropout(0.3), last)
        self.notes, self.ways = [], set()
    def note(self, who, hook, given):
        loop = self.trainer.fit_loop.epoch_loop
        if hook == "training_step":
            self.ways.add(loop._plain_step is not None)
        told = [str(value.detach() if torch.is_tensor(value) else value) for value in given
                if torch.is_tensor(value) or isinstance(value, (int, dict))]
        gradients = [None if p.grad is None else p.grad.sum().item() for p in self.parameters()]
        weights = [p.sum().item() for p in self.parameters()]
        self.notes.append(str((who, hook, told, self._current_fx_name, self.trainer.global_step, gradients, weights,
                               loop.state_dict(), self.trainer.is_last_batch)))
    def training_step(self, batch, batch_idx):
        self.note("module", "training_step", [batch_idx, batch[0].sum()])
        loss = self.loss(batch)
        self.log("mine/loss", loss, on_step=True, on_epoch=True)
        return RETURNED
    def validation_step(self, batch, batch_idx):
        self.log("val/loss", self.loss(batch))
    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=0.05)
        each = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.99)
        other = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.9)
        last = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=2, factor=0.9)
        return [optimizer], [{"scheduler": each, "interval": "step", "frequency": 2}, other,
                             {"scheduler": last, "interval": "step", "monitor": "mine/loss_step", "strict": False}]
    def configure_callbacks(self):
        return [Noting()]
    def on_train_end(self):
        path = self.trainer.default_root_dir
        with open(f"{path}/notes-{self.global_rank}", "w") as file:
            file.write("\\n".join([str(self.ways), *self.notes]))

def hooks(owner, who):
    names = ["batch_start", "batch_end"]
    for name in ["on_train_" + name for name in names] + ["on_before_zero_grad", "on_before_backward",
            "on_after_backward", "on_before_optimizer_step", "on_validation_start", "on_train_epoch_end"]:
        def hook(self, *given, name=name):
            module = self if who == "module" else given[1]
            module.note(who, name, given)
            if name == "on_train_batch_end":
                module.log(f"{who}/end", float(given[-1]))
            if who == "module" and name == "on_train_batch_start" and SKIPS and given[-1] == 13:
                return -1
        setattr(owner, name, hook)

class Noting(pl.Callback):
    pass

hooks(Net, "module")
hooks(Noting, "callback")
"""


def body(returned: str = "loss", skips: bool = False) -> str:
    return HOOKS.replace("RETURNED", returned).replace("SKIPS", str(skips))


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """23 batches of 8."""
    return experiments.classification_file(tmp_path_factory.mktemp("images"), {"train": 184, "val": 29, "test": 27})


def prepared(folder: Path, file: Path, model: dict[str, Any], trainer: dict[str, Any], **sections: Any) -> RunFolder:
    trainer = {"max_epochs": 2, "log_every_n_steps": 5, **trainer}
    return experiments.prepared(folder, experiments.raw(file, model=model, trainer=trainer, **sections))


def lightnings_own() -> None:
    """From now on, in this process."""
    plain_step.suffices = lambda *_: False  # type: ignore[assignment]


def in_both_ways(prepare: Callable[[str], RunFolder], monkeypatch: pytest.MonkeyPatch) -> tuple[RunFolder, RunFolder]:
    plain = finish(prepare("plain"))
    monkeypatch.setattr(plain_step, "suffices", lambda *_: False)
    return plain, finish(prepare("lightning"))


def same_notes(plain: RunFolder, lightning: RunFolder, rank: int = 0) -> None:
    ours, theirs = ((run.path / f"notes-{rank}").read_text().splitlines() for run in (plain, lightning))
    assert (ours[0], theirs[0]) == ("{True}", "{False}"), "the test does not compare the two ways"
    assert len(ours) > 100
    for one, other in zip(ours[1:], theirs[1:], strict=True):
        assert one == other


@pytest.mark.parametrize(
    ("module", "trainer"),
    [
        (body(), {}),
        (body(), {"accumulate_grad_batches": 5, "gradient_clip_val": 0.3}),
        (
            body("{'loss': loss, 'more': loss.detach() * 2}"),
            {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"},
        ),
        (body("None if batch_idx % 7 == 3 else loss"), {"val_check_interval": 6}),
        (body("None if batch_idx % 7 == 3 else loss"), {"accumulate_grad_batches": 3}),
        (body(skips=True), {"accumulate_grad_batches": 2}),
        (body(), {"precision": "bf16-mixed", "limit_train_batches": 11}),
        (body(), {"precision": "64-true", "max_epochs": None, "max_steps": 30}),
        (body(), {"precision": "bf16-true", "gradient_clip_val": 0.3}),
    ],
    ids=["plain", "accumulated", "dict", "none", "none-accumulated", "skip", "bf16-mixed", "64", "bf16"],
)  # fmt: skip
def test_a_users_module_with_every_hook(
    tmp_path: Path,
    images: Path,
    own_module: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
    module: str,
    trainer: dict[str, Any],
) -> None:
    model = {"class": own_module(module)}
    plain, lightning = in_both_ways(lambda way: prepared(tmp_path / way, images, model, trainer), monkeypatch)
    same_notes(plain, lightning)
    assert differences(plain, lightning) == []


@pytest.mark.parametrize(
    "trainer", [{}, {"accumulate_grad_batches": 4, "gradient_clip_val": 0.1, "val_check_interval": 0.5}]
)
def test_an_architecture(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch, trainer: dict[str, Any]
) -> None:
    sections = {"optimizer": {"name": "adamw", "lr": 0.01}, "schedule": {"name": "cosine", "warmup_steps": 5}}
    model = {"name": "cnn", "channels": [4], "hidden": 8, "dropout": 0.5}
    plain, lightning = in_both_ways(
        lambda way: prepared(tmp_path / way, images, model, trainer, **sections), monkeypatch
    )
    assert differences(plain, lightning) == []


def test_two_ranks(tmp_path: Path, images: Path, own_module: Callable[[str], str]) -> None:
    model = {"class": own_module(body())}
    trainer = {"accumulate_grad_batches": 3, "gradient_clip_val": 0.3}
    runs = []
    for way, before in {"plain": None, "lightning": lightnings_own}.items():
        runs.append(prepared(tmp_path / way, images, model, trainer, resources={"gpus_per_node": 2}))
        assert wait(start(runs[-1], before=before)) == 0
    for rank in range(2):
        same_notes(*runs, rank=rank)
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


class _Steps(_Net):
    def optimizer_step(self, *given: Any, **named: Any) -> None:
        super().optimizer_step(*given, **named)


class _Clips(_Net):
    def configure_gradient_clipping(self, optimizer: Any, *_: Any, **__: Any) -> None:
        self.clip_gradients(optimizer, gradient_clip_val=0.1, gradient_clip_algorithm="norm")


class _Searches(_Net):
    def configure_optimizers(self) -> Any:
        return torch.optim.LBFGS(self.parameters())


class _Alien(torch.optim.SGD):
    """From elsewhere."""


class _Elsewhere(_Net):
    def configure_optimizers(self) -> Any:
        return _Alien(self.parameters(), lr=0.1)


class _ByHand(_Net):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        self.optimizers().zero_grad()  # type: ignore[union-attr]
        loss = super().training_step(batch, batch_idx)
        self.manual_backward(loss)
        self.optimizers().step()  # type: ignore[union-attr]
        return loss


class _Asking(Callback):
    answers: list[bool]

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.answers = [suffices(trainer, trainer.fit_loop._data_fetcher)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("module", "options", "wanted"),
    [
        (_Net, {}, True),
        (_Net, {"precision": "bf16-mixed", "gradient_clip_val": 0.1}, True),
        (_Net, {"profiler": "simple"}, False),
        (_Steps, {}, False),
        (_Clips, {}, False),
        (_Searches, {}, False),
        (_Elsewhere, {}, False),
        (_ByHand, {}, False),
    ],
)
def test_who_takes_part_in_the_optimization_is_left_to_lightning(
    tmp_path: Path, module: type[_Net], options: dict[str, Any], wanted: bool
) -> None:
    asking = _Asking()
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = pl.Trainer(
        max_epochs=1, accelerator="cpu", default_root_dir=tmp_path, callbacks=[asking], **quiet, **options
    )
    trainer.fit(module(), torch.utils.data.DataLoader(torch.ones(4, 4), batch_size=2))  # type: ignore[arg-type]
    assert asking.answers == [wanted]
