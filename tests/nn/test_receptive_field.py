"""The receptive field, compared with published values and with where gradients arrive."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from hpc_dl import models
from hpc_dl.config.experiment import Experiment
from hpc_dl.data.open_spec import open_spec
from hpc_dl.nn.receptive_field import receptive_field
from hpc_dl.training.model_building import default_field_of_view, field_of_view
from tests import experiments


def test_by_hand() -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 2, 3),  # 3
        nn.MaxPool2d(2),  # 3 + 1 = 4
        nn.Conv2d(2, 2, (3, 1), padding=(2, 0), dilation=(2, 1)),  # 4 + 2 · 2 · 2 = 12, 4
        nn.AvgPool2d(3, 2, 1, ceil_mode=True),  # + 2 · 2
    )
    assert receptive_field(network, torch.zeros(1, 1, 64, 64)) == (16, 8)
    assert receptive_field(nn.Sequential(nn.Flatten(), nn.Linear(9, 1)), torch.zeros(1, 1, 9)) is None
    dense = nn.Sequential(nn.Flatten(), nn.Linear(9, 9), nn.Unflatten(1, (1, 9)), nn.Conv1d(1, 1, 3))
    assert receptive_field(dense, torch.zeros(1, 1, 9)) == (math.inf,)


def test_published_fields() -> None:
    """VGG-16: 212 (Araujo, Norris and Sim, 2019). ResNet-18: 43 + 56 · (1 + 2 + 4)."""
    blocks = [[nn.Conv2d(1, 1, 3, padding=1)] * convolutions + [nn.MaxPool2d(2)] for convolutions in (2, 2, 3, 3, 3)]
    vgg = nn.Sequential(*(layer for block in blocks for layer in block))
    assert receptive_field(vgg, torch.zeros(1, 1, 64, 64)) == (212, 212)
    data = experiments.spec(input_shape=(3, 224, 224))
    with torch.device("meta"):
        resnet = models.config_class("resnet")(name="resnet").build(data, experiments.training_recipe(data))
        assert receptive_field(resnet.eval(), torch.zeros(1, 3, 224, 224)) == (435, 435)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("cnn", {"channels": [2, 2], "convolutions": 2, "norm": "none", "pooling": "average"}),
        ("cnn", {"channels": [2, 2], "stride": 2, "kernel_size": 5, "norm": "none", "pooling": "none"}),
        ("dilated", {}),
    ],
)
def test_gradients_arrive_within_the_field(name: str, settings: dict[str, Any]) -> None:
    """One value of the last feature map depends on as many inputs as the field says."""
    size = 101
    section = models.config_class(name)
    data = experiments.spec(input_shape=(1, size))
    network = section(name=name, activation="none", **section.small | settings).build(
        data, experiments.training_recipe(data)
    )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(0.1)
    x = torch.ones(1, 1, size, requires_grad=True)
    maps = network.eval().features(x)
    maps[0, 0, maps.shape[-1] // 2].backward()
    assert x.grad is not None
    reached = torch.nonzero(x.grad[0, 0])
    assert receptive_field(network, x.detach()) == (int(reached.max() - reached.min()) + 1,)


@pytest.mark.parametrize("upsampling", ["transposed", "interpolation"])
def test_bound_after_upsampling(upsampling: str) -> None:
    size = 128
    data = experiments.spec("segmentation", (1, size))
    data = replace(data, targets=(replace(data.targets[0], shape=(size,)),))
    section = models.config_class("unet")
    settings = section.small | {"activation": "none", "norm": "none", "upsampling": upsampling}
    network = section(name="unet", **settings).build(data, experiments.training_recipe(data)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(0.1)
    reached = []
    for position in range(60, 68):
        x = torch.ones(1, 1, size, requires_grad=True)
        network(x)[0, 0, position].backward()
        assert x.grad is not None
        inputs = torch.nonzero(x.grad[0, 0])
        reached.append(int(inputs.max() - inputs.min()) + 1)
    (field,) = receptive_field(network, x.detach()) or ()
    assert max(reached) <= field <= 1.2 * max(reached)


@pytest.mark.parametrize(
    ("name", "field"), [("cnn", ([10, 10], [224, 224])), ("vit", ([224, 224], [224, 224])), ("mlp", None)]
)
def test_field_of_the_default_parameters(name: str, field: Any) -> None:
    assert default_field_of_view(models.config_class(name)) == field


def test_field_of_an_experiment(tmp_path: Path) -> None:
    file = experiments.classification_file(tmp_path)
    for model, field in (({"name": "cnn", "channels": [4], "kernel_size": 5}, [6, 6]), ({"name": "mlp"}, None)):
        experiment = Experiment.from_dict(experiments.raw(file, model=model))
        assert field_of_view(experiment, open_spec(experiment.data)) == field
