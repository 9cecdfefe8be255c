"""The radial basis function network: its formula, and the selection of its prototypes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from hpc_dl.data.datamodule import HDF5DataModule
from hpc_dl.data.spec import DataSpec
from hpc_dl.errors import ConfigError
from hpc_dl.models.rbf import RBF, RBFConfig
from tests.experiments import classification_file, regression_file, spec, training_recipe

VECTORS = spec(input_shape=(2,), num_outputs=3)


def built(config: RBFConfig, data: DataSpec = VECTORS, seed: int = 0) -> RBF:
    torch.manual_seed(seed)
    model = config.build(data, training_recipe(data))
    assert isinstance(model, RBF)
    return model


def fitted(model: RBF, batches: HDF5DataModule, max_steps: int, **options: Any) -> pl.Trainer:
    trainer = pl.Trainer(
        max_steps=max_steps,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        limit_val_batches=0,
    )
    trainer.fit(model, datamodule=batches, **options)
    return trainer


def training_inputs(batches: HDF5DataModule) -> torch.Tensor:
    batch = batches.preprocessed(next(iter(HDF5DataModule(batches.spec.file, batch_size=48).train_dataloader())))
    return torch.as_tensor(batch[0]).flatten(1)


def test_outputs_match_the_formula() -> None:
    model = built(RBFConfig(prototypes=2))
    with torch.no_grad():
        model.prototypes.copy_(torch.tensor([[0.0, 0.0], [3.0, 4.0]]))
        model.log_width.copy_(torch.tensor([1.0, 5.0]).log())
        model.head.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
        model.head.bias.zero_()
        near, far = np.exp(-0.5), np.exp(-16 / 50)  # one width from the first, 4 of 5 from the second
        actual = model(torch.tensor([[0.0, 0.0], [3.0, 0.0]]))
    torch.testing.assert_close(actual[0], torch.tensor([1.0, near, 1 + near]).float())
    torch.testing.assert_close(actual[1], torch.tensor([np.exp(-4.5), far, np.exp(-4.5) + far]).float())


def test_prototypes_are_training_samples_of_all_classes(tmp_path: Path) -> None:
    batches = HDF5DataModule(classification_file(tmp_path), batch_size=8)
    model = built(RBFConfig(prototypes=12), batches.spec)
    fitted(model, batches, max_steps=1)
    assert model.placed
    distances = torch.cdist(model.prototypes, training_inputs(batches), compute_mode="donot_use_mm_for_euclid_dist")
    nearest = distances.min(1)
    assert nearest.values.max() < 1e-6
    assert len(nearest.indices.unique()) == 12  # no sample twice
    brightness = model.prototypes.mean(1).sort().values.view(3, 4)  # it identifies the class: four of each
    assert (brightness[1:, 0] - brightness[:-1, -1] > 0.1).all()


def test_data_seed_determines_the_prototypes(tmp_path: Path) -> None:
    file = classification_file(tmp_path)
    actual = []
    for seed, weights in ((1, 0), (1, 5), (2, 0)):
        batches = HDF5DataModule(file, batch_size=8, seed=seed)
        model = built(RBFConfig(prototypes=6), batches.spec, seed=weights)
        fitted(model, batches, max_steps=1)
        actual.append(model.prototypes)
    assert torch.equal(actual[0], actual[1])
    assert not torch.equal(actual[0], actual[2])


@pytest.mark.parametrize("learned", [False, True])
def test_checkpoint_restores_the_prototypes(tmp_path: Path, learned: bool) -> None:
    batches = HDF5DataModule(classification_file(tmp_path), batch_size=8, seed=1)
    config = RBFConfig(prototypes=6, learn_prototypes=learned)
    model = built(config, batches.spec)
    fitted(model, batches, max_steps=3).save_checkpoint(tmp_path / "three.ckpt")
    kept = model.prototypes.clone()
    again = built(config, batches.spec, seed=9)
    other = HDF5DataModule(batches.spec.file, batch_size=8, seed=2)  # would choose others
    fitted(again, other, max_steps=3, ckpt_path=tmp_path / "three.ckpt", weights_only=False)
    assert torch.equal(again.prototypes, kept)
    assert torch.equal(again.log_width, model.log_width)


@pytest.mark.parametrize("learned", [False, True])
def test_prototypes_move_only_if_trained(tmp_path: Path, learned: bool) -> None:
    batches = HDF5DataModule(classification_file(tmp_path), batch_size=8)
    model = built(RBFConfig(prototypes=6, learn_prototypes=learned), batches.spec)
    fitted(model, batches, max_steps=1)
    before = model.prototypes.clone()
    fitted(model, batches, max_steps=5)
    assert torch.equal(model.prototypes, before) is not learned
    assert ("prototypes" in dict(model.named_parameters())) is learned


def test_prototypes_for_regression(tmp_path: Path) -> None:
    batches = HDF5DataModule(regression_file(tmp_path), batch_size=8)
    model = built(RBFConfig(prototypes=48), batches.spec)
    fitted(model, batches, max_steps=1)
    torch.testing.assert_close(model.prototypes.sort(0).values, training_inputs(batches).sort(0).values)  # all of them


def test_k_means_finds_cluster_centers() -> None:
    middles = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    groups = np.arange(60) % 3
    x = middles[groups] + torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
    model = built(RBFConfig(prototypes=3, centers="k_means", width=0.5, own_widths=False))
    model.place(x, groups, seed=0)
    means = torch.stack([x[groups == group].mean(0) for group in range(3)])
    assert torch.cdist(means, model.prototypes).min(1).values.max() < 1e-5
    apart = torch.cdist(means, means).fill_diagonal_(torch.inf).amin(1).mean()
    assert model.log_width.exp().item() == pytest.approx(0.5 * apart.item(), rel=1e-5)


def test_equal_samples_give_finite_widths() -> None:
    model = built(RBFConfig(prototypes=4))
    model.place(torch.ones(8, 2), np.zeros(8, np.int64), seed=0)
    assert model(torch.zeros(1, 2)).isfinite().all()


def test_more_prototypes_than_samples_raise() -> None:
    with pytest.raises(ConfigError) as caught:
        built(RBFConfig(prototypes=49))
    assert str(caught.value) == (
        "model.prototypes: exceeds the number of training samples (got 49; allowed: at most 48)"
    )
