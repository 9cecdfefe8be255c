"""The GAN: losses, optimizer steps, and the evaluation of generated samples."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from hpc_dl.config.experiment import Experiment
from hpc_dl.data.config import DataConfig
from hpc_dl.data.datamodule import HDF5DataModule
from hpc_dl.data.open_spec import open_spec
from hpc_dl.data.sources._mixture import write_mixture
from hpc_dl.data.sources.ring import SOURCE
from hpc_dl.data.spec import DataSpec, FieldSpec
from hpc_dl.errors import ConfigError
from hpc_dl.learning.schedules import Plateau
from hpc_dl.models.gan import GAN, GANConfig
from hpc_dl.nn.adversarial import discriminator_loss, generator_loss, gradient_penalty
from hpc_dl.nn.sample_quality import coverage, energy_distance, modes_found
from hpc_dl.regular_files import read_json
from hpc_dl.runs.checkpoints import listed
from hpc_dl.runs.comparison import differences, value_differences
from hpc_dl.runs.folder import RunFolder
from hpc_dl.tracking.journal import read_journal
from hpc_dl.training.preflight import preflight
from tests import experiments
from tests.training.attempts import Stop, finish, finish_in_processes, weights_of_each_rank

SMALL: dict[str, Any] = {"name": "gan", "width": 8, "depth": 1, "latent": 3}


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 96 / 24 / 24 points of two narrow Gaussians at (±5, 10)."""
    path = tmp_path_factory.mktemp("points") / "ring.h5"
    write_mixture(path, SOURCE, [(-5.0, 10.0), (5.0, 10.0)], 0.1, {"train": 96, "val": 24, "test": 24})
    return path


def prepared(folder: Path, file: Path, **sections: Any) -> RunFolder:
    adam = {"name": "adam", "lr": 0.01, "beta1": 0.5}
    cosine = {"name": "cosine", "warmup_steps": 3}
    base = {"model": SMALL, "optimizer": adam, "schedule": cosine, "trainer": {"max_epochs": 2}}
    return experiments.prepared(folder, experiments.raw(file, **(base | sections)))


def built(data: DataSpec, **parameters: Any) -> GAN:
    torch.manual_seed(0)
    model = GANConfig(**(SMALL | parameters)).build(data, experiments.training_recipe(data))
    assert isinstance(model, GAN)
    return model


def spec(shape: tuple[int, ...]) -> DataSpec:
    field = FieldSpec("inputs", shape, "float32")
    return DataSpec((field,), (), "generation", math.prod(shape), (), dict(experiments.SIZES), "/data/p.h5", "", "p")


def test_losses_match_the_formulas() -> None:
    real, fake = torch.tensor([2.0, -1.0]), torch.tensor([0.5, 0.25])
    probability = torch.sigmoid
    plain = -probability(real).log().mean() - (1 - probability(fake)).log().mean()
    torch.testing.assert_close(discriminator_loss("plain", real, fake), plain)
    torch.testing.assert_close(generator_loss("plain", real, fake), -probability(fake).log().mean())
    paired = -probability(real - fake).log().mean()
    torch.testing.assert_close(discriminator_loss("relativistic", real, fake), paired)
    torch.testing.assert_close(generator_loss("relativistic", real, fake), -probability(fake - real).log().mean())


def test_penalty_is_half_the_squared_gradient() -> None:
    x = torch.tensor([[1.0, 2.0], [3.0, 5.0]], requires_grad=True)
    logits = x[:, 0] ** 2 + 3 * x[:, 1]
    assert gradient_penalty(logits, x).item() == pytest.approx(((4 + 9) + (36 + 9)) / 2 / 2)


def test_penalty_has_gradients() -> None:
    real, fake = torch.randn(2, 4, 2)
    losses = []
    for penalty in (0.0, 2.0):
        model = built(spec((2,)), penalty=penalty)
        losses.append(model.discriminator_loss(real, fake))
    x = real.clone().requires_grad_()
    by_hand = sum(gradient_penalty(model.discriminator(some).squeeze(1), some) for some in (x, fake.requires_grad_()))
    torch.testing.assert_close(losses[1] - losses[0], 2 * by_hand)
    assert GANConfig(loss="plain").build(spec((2,)), experiments.training_recipe(spec((2,)))).penalty == 0  # type: ignore[attr-defined]
    assert GANConfig().build(spec((2,)), experiments.training_recipe(spec((2,)))).penalty == 1  # type: ignore[attr-defined]


def test_measures_detect_mode_collapse() -> None:
    generator = torch.Generator().manual_seed(0)
    modes = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])
    deviations = torch.full((4,), 0.1)

    def drawn(numbers: list[int]) -> torch.Tensor:
        return modes[torch.tensor(numbers * (400 // len(numbers)))] + 0.1 * torch.randn(400, 2, generator=generator)

    real, complete, one = drawn([0, 1, 2, 3]), drawn([0, 1, 2, 3]), drawn([2])
    assert energy_distance(real, real).item() == pytest.approx(0, abs=1e-5)
    assert 0 <= energy_distance(real, complete) < 0.01 < 3 < energy_distance(real, one)
    assert coverage(real, complete) > 0.9
    assert 0.2 < coverage(real, one) <= 0.25
    actual, quality = modes_found(complete, modes, deviations)
    assert actual == 4 and quality > 0.97  # e^−4.5 = 1.1 % lie farther than three deviations
    assert modes_found(one, modes, deviations)[0] == 1
    actual, quality = modes_found(drawn([0, 1]) + 0.5, modes, deviations)
    assert (actual, quality) == (0, 0)


def test_energy_distance_of_two_points() -> None:
    # 2·3 − 0 − 0 for single points 3 apart
    assert energy_distance(torch.zeros(1, 1), torch.full((1, 1), 3.0)) == 6


@pytest.mark.parametrize("shape", [(5,), (2, 7), (1, 4, 6), (1, 2, 3, 4)])
def test_samples_have_shape_and_units_of_the_data(shape: tuple[int, ...]) -> None:
    model = built(spec(shape))
    samples = model.sample(6, seed=1)
    assert samples.shape == (6, *shape) and not samples.requires_grad
    assert torch.equal(samples, model.sample(6, seed=1))
    assert not torch.equal(samples, model.sample(6, seed=2))
    model.offset.fill_(100.0)
    model.divisor.fill_(0.5)
    torch.testing.assert_close(model.sample(6, seed=1), samples / 2 + 100)
    assert model.discriminator(samples.flatten(1)).shape == (6, 1)


def test_each_batch_is_one_step_of_both_networks(tmp_path: Path, points: Path) -> None:
    run = finish(prepared(tmp_path, points))
    content = torch.load(run.last_checkpoint, weights_only=False)
    assert read_json(run.result)["steps"] == content["global_step"] == 2 * 12
    assert len(content["optimizer_states"]) == len(content["lr_schedulers"]) == 2
    for states, schedule in zip(content["optimizer_states"], content["lr_schedulers"], strict=True):
        assert {int(state["step"]) for state in states["state"].values()} == {24}
        assert schedule["last_epoch"] == 24
        assert states["param_groups"][0]["lr"] == pytest.approx(0, abs=1e-9)  # the cosine's end
    rows = read_journal(run.journal)
    assert [row["step"] for row in rows if "val/loss" in row] == [12, 24]
    metrics = read_json(run.result)["metrics"]
    assert {"test/loss", "test/coverage", "test/modes", "test/quality", "val/loss"} <= metrics.keys()
    assert [int(checkpoint.step) for checkpoint in listed(run.checkpoints, "best")][-1] in (12, 24)


def test_scaling_is_saved_with_the_weights(tmp_path: Path, points: Path) -> None:
    run = finish(prepared(tmp_path, points, trainer={"max_epochs": 1}))
    state = torch.load(run.last_checkpoint, weights_only=False)["state_dict"]
    scaling = HDF5DataModule(points, task="generation").scaling
    torch.testing.assert_close(state["offset"], torch.tensor(scaling.offset))
    torch.testing.assert_close(state["divisor"], torch.tensor(scaling.divisor))
    assert state["offset"].tolist() == pytest.approx([0, 10], abs=0.1)
    model = built(open_spec(DataConfig(file=str(points))))
    model.load_state_dict(state)
    assert model.sample(50)[:, 1].mean() > 5


@pytest.mark.slow
def test_frozen_layers_do_not_change(tmp_path: Path, points: Path) -> None:
    model = SMALL | {"freeze": ["generator.0", "discriminator.0"]}
    run = finish(prepared(tmp_path, points, model=model, trainer={"max_epochs": 2, "val_check_interval": 4}))
    early, late = (
        torch.load(path, weights_only=False)["state_dict"]
        for path in (run.checkpoints / "best.ckpt", run.last_checkpoint)
    )
    assert torch.equal(early["generator.0.weight"], late["generator.0.weight"])
    assert len(torch.load(run.last_checkpoint, weights_only=False)["optimizer_states"][0]["state"]) == 2


@pytest.mark.slow
def test_resume_is_bit_for_bit(tmp_path: Path, points: Path) -> None:
    reference = finish(prepared(tmp_path / "whole", points))
    stops = (
        Stop(3),
        Stop(7, "on_train_batch_start"),
        Stop(12, "on_validation_batch_start"),
        Stop(13),
        Stop(20, "on_train_batch_start"),
    )
    run = finish(prepared(tmp_path / "stopped", points), *stops)
    assert differences(run, reference) == []
    assert len(list(run.journal.glob("attempt-*.jsonl"))) > 4


@pytest.mark.slow
def test_two_ranks_agree_and_resume(tmp_path: Path, points: Path) -> None:
    sections: dict[str, Any] = {"resources": {"gpus_per_node": 0, "nodes": 2}, "trainer": {"max_epochs": 1}}
    reference = prepared(tmp_path / "whole", points, **sections)
    one, other = weights_of_each_rank(reference)
    assert read_json(reference.result)["steps"] == 6  # 96 points, 8 on each of two ranks
    assert not list(value_differences(one, other, "weights"))
    run = finish_in_processes(prepared(tmp_path / "stopped", points, **sections), Stop(2))
    assert differences(run, reference) == []


def test_loss_scaling_raises(points: Path) -> None:
    class Scaling:
        scaler = object()

    class Trainer:
        precision_plugin, precision = Scaling(), "16-mixed"

    model = built(spec((2,)))
    model._trainer = Trainer()  # type: ignore[assignment]
    with pytest.raises(ConfigError, match=r"trainer.precision: does not suit a GAN \(got '16-mixed'; allowed: 32-true"):
        model.on_fit_start()


def test_irreversible_preprocessing_raises(points: Path) -> None:
    data = {"task": "generation", "projection": "whiten", "imputation": "mean"}
    experiment = Experiment.from_dict(experiments.raw(points, model={"name": "gan"}, data=data))
    with pytest.raises(ConfigError) as caught:
        preflight(experiment, open_spec(experiment.data))
    assert [fault.where for fault in caught.value.faults] == ["data.imputation", "data.projection"]


def test_plateau_raises() -> None:
    data = spec((2,))
    recipe = dataclasses.replace(experiments.training_recipe(data), schedule=Plateau())
    with pytest.raises(ConfigError, match=r"schedule.name: does not suit a GAN.*got 'plateau'"):
        GANConfig().build(data, recipe)


def test_number_of_parameters() -> None:
    model = built(spec((2, 3)), width=5, depth=2, latent=4, activation="tanh")
    layers = [(layer.in_features, layer.out_features) for layer in model.generator if isinstance(layer, nn.Linear)]
    assert layers == [(4, 5), (5, 5), (5, 6)]
    layers = [(layer.in_features, layer.out_features) for layer in model.discriminator if isinstance(layer, nn.Linear)]
    assert layers == [(6, 5), (5, 5), (5, 1)]
    z = torch.randn(3, 4)
    first, second, last = (layer for layer in model.generator if isinstance(layer, nn.Linear))
    torch.testing.assert_close(model(z), last(functional.tanh(second(functional.tanh(first(z))))).view(3, 2, 3))
