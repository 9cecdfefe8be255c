"""``model.init_from`` with weights that another program wrote: safetensors, torchvision's names."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from hpc_dl.errors import ConfigError
from hpc_dl.models.network import Network
from hpc_dl.models.resnet import ResNetConfig
from hpc_dl.training.pretrained import load_pretrained
from tests.experiments import spec, training_recipe
from tests.models.torchvision_resnet import DEPTHS, GOLDEN, drawn, images


def resnet(num_outputs: int = 1000, **parameters: Any) -> Any:
    data = spec(input_shape=(3, 64, 72), num_outputs=num_outputs)
    return ResNetConfig(**parameters).build(data, training_recipe(data))


def shapes(depth: int) -> dict[str, list[int]]:
    named: dict[str, list[int]] = json.loads(GOLDEN.read_text())[str(depth)]["shapes"]
    return named


@pytest.mark.slow
@pytest.mark.parametrize("depth", [18, *(pytest.param(depth, marks=pytest.mark.slow) for depth in DEPTHS[1:])])
def test_outputs_are_those_of_torchvision(tmp_path: Path, depth: int) -> None:
    file = tmp_path / "published.safetensors"
    save_file(drawn(shapes(depth)), file)
    network = resnet(depth=depth).double().eval()
    said: list[str] = []
    load_pretrained(network, file, said.append)
    assert said == [f"Starting from {len(shapes(depth))} of {len(shapes(depth))} weights of {file}"]
    with torch.no_grad():
        outputs = network(images())[:, :5]
    expected = json.loads(GOLDEN.read_text())[str(depth)]["outputs"]
    torch.testing.assert_close(outputs, torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-9)


@pytest.mark.slow
def test_other_classes_and_a_smaller_stem_stay_fresh(tmp_path: Path) -> None:
    file = tmp_path / "published.pt"
    torch.save(drawn(shapes(18)), file)
    said: list[str] = []
    load_pretrained(resnet(num_outputs=7), file, said.append)
    assert said[-1].endswith("fresh: classifier.2.weight, classifier.2.bias")
    load_pretrained(resnet(stem="small"), file, said.append)
    assert "Starting from 116 of 122" in said[-1] and "fresh: stem.0.weight, stem.1.weight" in said[-1]


def test_weights_for_another_width_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "published.safetensors"
    save_file({"fc.bias": torch.zeros(12), "conv1.weight": torch.zeros(64, 3, 7, 7)}, file)
    with pytest.raises(ConfigError, match=r"no weight that matches this model .*weights such as stem\.0\.0\.weight"):
        load_pretrained(resnet(width=4), file)


@pytest.mark.parametrize("content", [b"", b"no weights at all", b"\xff" * 64])
def test_damaged_safetensors_are_one_line(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "damaged.safetensors"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"model\.init_from: is not a checkpoint, or a damaged one"):
        load_pretrained(resnet(width=4), file)


def test_network_of_a_library_reads_the_names_of_the_library(tmp_path: Path) -> None:
    data = spec(input_shape=(5,), num_outputs=3)
    layers = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.Linear(4, 3))
    network = Network(layers, None, training_recipe(data))
    published = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.Linear(4, 3))
    save_file(published.state_dict(), tmp_path / "published.safetensors")
    load_pretrained(network, tmp_path / "published.safetensors")
    x = torch.rand(2, 5)
    assert torch.equal(network(x), published(x))
