"""DCGAN: transposed convolutions that reach the size of the images, and where it normalizes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from hpc_dl.data.spec import DataSpec
from hpc_dl.errors import ConfigError
from hpc_dl.models.dcgan import DCGANConfig
from hpc_dl.models.gan import GAN
from hpc_dl.regular_files import read_json
from hpc_dl.training.train import train
from tests import experiments


def images(*shape: int) -> DataSpec:
    return replace(experiments.spec(input_shape=shape), task="generation", targets=(), class_names=())


def built(data: DataSpec, **parameters: Any) -> GAN:
    torch.manual_seed(0)
    model = DCGANConfig(**({"channels": [32, 16], "latent": 5} | parameters)).build(
        data, experiments.training_recipe(data)
    )
    assert isinstance(model, GAN)
    return model


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 12, 20)])
def test_networks_mirror_each_other(shape: tuple[int, ...]) -> None:
    model = built(images(*shape))
    fake = model(torch.randn(7, 5))
    assert fake.shape == (7, *shape) and 0 < fake.min() < fake.max() < 1
    assert model.discriminator(fake).shape == (7, 1)
    transposed = [layer for layer in model.generator if isinstance(layer, nn.ConvTranspose2d)]
    strided = [layer for layer in model.discriminator if isinstance(layer, nn.Conv2d)]
    assert [(layer.in_channels, layer.out_channels) for layer in transposed] == [(32, 16), (16, shape[0])]
    assert [(layer.in_channels, layer.out_channels) for layer in strided] == [(shape[0], 16), (16, 32)]
    assert {(layer.kernel_size, layer.stride) for layer in (*transposed, *strided)} == {((4, 4), (2, 2))}
    weights = torch.cat([layer.weight.flatten() for layer in (*transposed, *strided)])
    assert float(weights.detach().std()) == pytest.approx(0.02, rel=0.05)


def test_normalization_is_that_of_the_paper_unless_gradients_are_penalized() -> None:
    """Not after the generator's last and the discriminator's first layer."""

    def norms(network: nn.Module) -> list[int]:
        return [layer.num_features for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]

    model = built(images(1, 8, 8))
    assert (norms(model.generator), norms(model.discriminator), model.penalty) == ([32, 16], [32], 0)
    penalized = built(images(1, 8, 8), loss="relativistic")
    assert (norms(penalized.generator), norms(penalized.discriminator), penalized.penalty) == ([32, 16], [], 1)


def test_images_that_cannot_be_halved_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"model.channels: halves the images 2 times, but 28×30 .* at most 1 numbers"):
        built(images(1, 28, 30))


@pytest.mark.slow
def test_training_on_images(tmp_path: Path) -> None:
    content = experiments.raw(
        experiments.classification_file(tmp_path),
        data={"task": "generation", "batch_size": 16},
        model={"name": "dcgan", "channels": [8, 4], "latent": 3},
        optimizer={"name": "adam", "lr": 2e-3, "beta1": 0.5},
        trainer={"max_epochs": 2},
    )
    run = experiments.prepared(tmp_path, content)
    train(run)
    metrics = read_json(run.result)["metrics"]
    assert 0 < metrics["test/loss"] < 3 and 0 <= metrics["test/coverage"] <= 1
