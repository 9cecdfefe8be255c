"""The supervised LightningModule in a real Trainer: logged values are those of the whole split."""

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from hpc_dl.learning.recipe import TrainingRecipe
from hpc_dl.learning.schedules import Cosine
from hpc_dl.models.linear import Linear, LinearConfig
from tests.experiments import spec, training_recipe

Batches = list[tuple[torch.Tensor, torch.Tensor]]


def quiet_trainer(**options: object) -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, **options,  # type: ignore[arg-type]
    )  # fmt: skip


def batches(sizes: list[int], num_classes: int = 3) -> Batches:
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(size, 4, generator=generator), torch.randint(num_classes, (size,), generator=generator))
        for size in sizes
    ]


def linear(total_steps: int = 10) -> Linear:
    torch.manual_seed(0)
    data = spec(input_shape=(4,))
    return Linear(LinearConfig(), data, training_recipe(data, total_steps))


def loader(data: Batches) -> DataLoader[tuple[torch.Tensor, torch.Tensor]]:
    return DataLoader(data, batch_size=None)  # type: ignore[arg-type]


@pytest.mark.parametrize("split", ["val", "test"])
def test_split_loss_is_the_mean_over_samples(split: str) -> None:
    model, data = linear(), batches([5, 5, 1])
    trainer = quiet_trainer()
    evaluate = trainer.validate if split == "val" else trainer.test
    evaluate(model, loader(data), verbose=False)
    actual = {name: float(value) for name, value in trainer.callback_metrics.items()}
    x, y = (torch.cat(parts) for parts in zip(*data, strict=True))
    with torch.no_grad():
        outputs = model(x)
    split_loss = torch.nn.functional.cross_entropy(outputs, y).item()
    mean_of_batches = (
        sum(torch.nn.functional.cross_entropy(outputs[i], y[i]).item() for i in torch.arange(11).split(5)) / 3
    )
    assert actual[f"{split}/loss"] == pytest.approx(split_loss, rel=1e-5)
    assert actual[f"{split}/loss"] != pytest.approx(mean_of_batches, rel=1e-3)
    assert actual[f"{split}/accuracy"] == pytest.approx((outputs.argmax(1) == y).float().mean().item())
    assert set(actual) == {f"{split}/{name}" for name in ("loss", "accuracy", "balanced_accuracy", "f1")}
    evaluate(model, loader(data[:1]), verbose=False)
    assert float(trainer.callback_metrics[f"{split}/accuracy"]) == pytest.approx(
        (outputs[:5].argmax(1) == y[:5]).float().mean().item()
    ), "the metrics of the first evaluation were not forgotten"


def test_schedule_steps_with_gradient_accumulation() -> None:
    data = spec(input_shape=(4,))
    model = Linear(
        LinearConfig(), data, TrainingRecipe(training_recipe(data).task, training_recipe(data).optimizer, Cosine(), 4)
    )
    rates = []

    class Note(pl.Callback):
        def on_before_optimizer_step(
            self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: object
        ) -> None:
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    trainer = quiet_trainer(max_epochs=2, accumulate_grad_batches=2, callbacks=[Note()])
    trainer.fit(model, loader(batches([2, 2, 2])))
    assert trainer.global_step == 4
    assert rates == pytest.approx([1e-3, 1e-3 * (2 + 2**0.5) / 4, 5e-4, 1e-3 * (2 - 2**0.5) / 4])


def test_frozen_parameters_do_not_change() -> None:
    model = linear()
    model.layer.bias.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    quiet_trainer(max_epochs=1).fit(model, loader(batches([4])))
    assert torch.equal(model.layer.bias, before["layer.bias"])
    assert not torch.equal(model.layer.weight, before["layer.weight"])
