"""Activations that learn, or read several numbers of a unit, in every architecture with the key."""

import copy
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch

from hpc_dl import models
from hpc_dl.inference.onnx_export import to_onnx
from hpc_dl.nn.activations import ACTIVATIONS
from tests.experiments import training_recipe
from tests.models.samples import Combination, batch_of, combinations, model_class

SETTINGS: list[Any] = [{"name": "maxout", "pieces": 3}, "apl"]
WITH_SETTING = [name for name in models.names() if "activation" in models.config_class(name).model_fields]
CHOSEN = [c for c in combinations() if c.name in WITH_SETTING and c.name != "rnn" and c.maps_samples]
ONE_PER_KIND = {(c.name, c.kind): c for c in CHOSEN}.values()


def built(combination: Combination, setting: Any, **parameters: Any) -> Any:
    section = models.config_class(combination.name)
    config = section.model_validate({**section.small, **parameters, "activation": setting})
    torch.manual_seed(0)
    return config.build(combination.data, training_recipe(combination.data))


@pytest.mark.parametrize("combination", ONE_PER_KIND, ids=str)
@pytest.mark.parametrize("setting", SETTINGS, ids=["maxout", "apl"])
def test_architecture_accepts_the_activation(combination: Combination, setting: Any) -> None:
    model = built(combination, setting)
    assert isinstance(model, model_class(combination.name))
    x, y = model.inputs_and_targets(batch_of(combination.data))
    model.recipe.task.loss(model(x), y).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("kind", ["image", "series"])
def test_convolutional_autoencoder_mirrors_maxout(kind: Any) -> None:
    combination = Combination("autoencoder", kind, "reconstruction")
    model = built(combination, SETTINGS[0], channels=[2, 3])
    x, _ = model.inputs_and_targets(batch_of(combination.data))
    assert model(x).shape == x.shape


def test_plain_name_equals_the_default_parameters() -> None:
    combination = next(c for c in CHOSEN if c.name == "cnn")
    x, _ = built(combination, "relu").inputs_and_targets(batch_of(combination.data))
    for name, activation in ACTIVATIONS.items():
        short, long = (
            built(combination, setting).eval() for setting in (name, {"name": name, **activation.parameters})
        )
        torch.testing.assert_close(short(x), long(x))


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS, ids=["maxout", "apl"])
@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_onnx_computes_the_same(name: str, setting: Any, tmp_path: Path) -> None:
    combination = next(c for c in CHOSEN if c.name == name and c.kind == "image")
    model = built(combination, setting).eval()
    x, _ = model.inputs_and_targets(batch_of(combination.data))
    to_onnx(copy.deepcopy(model), x, tmp_path / "model.onnx", "outputs")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    (outputs,) = session.run(None, {"inputs": x.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(outputs), model(x), rtol=1e-3, atol=1e-4)
