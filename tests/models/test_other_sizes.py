"""Which architectures take inputs of other sizes than in training: what they declare is true."""

from typing import Any

import pytest
import torch

from hpc_dl.models.cnn import CNNConfig
from hpc_dl.models.transformer import TransformerConfig
from tests.experiments import spec, training_recipe
from tests.models.samples import Combination, combinations, small

SIZED = [
    c for c in combinations()
    if c.maps_samples and c.kind in ("series", "image", "volume") and c.task in ("regression", "segmentation")
]  # fmt: skip


def larger(x: torch.Tensor) -> torch.Tensor:
    """The same inputs, with each axis twice as long."""
    return x.repeat(1, 1, *[2] * (x.ndim - 2))


@pytest.mark.parametrize("combination", SIZED, ids=str)
def test_other_sizes_are_taken_unless_the_architecture_gives_a_reason(combination: Combination) -> None:
    model = combination.build(0).eval()
    x = torch.rand(2, *combination.data.input_shape)
    fixed = small(combination.name).fixed_size
    with torch.no_grad():
        if not fixed:
            positions = larger(x).shape[2:] if combination.task == "segmentation" else ()
            assert model(larger(x)).shape == (2, combination.data.num_outputs, *positions)
            return
        with pytest.raises(Exception):  # noqa: B017 - each layer has an error of its own
            model(larger(x))


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (CNNConfig(channels=[4], head="global_average"), ""),
        (CNNConfig(channels=[4], head="dense"), "its dense head has a weight for each position"),
        (TransformerConfig(width=8, heads=2, depth=1), ""),
        (TransformerConfig(width=8, heads=2, depth=1, positions="learned"), "a vector for each position"),
    ],
)
def test_parameters_decide_too(config: Any, reason: str) -> None:
    assert reason in config.fixed_size and bool(reason) == bool(config.fixed_size)
    data = spec(input_shape=(2, 12))
    model = config.build(data, training_recipe(data)).eval()
    if reason:
        with pytest.raises(Exception):  # noqa: B017 - each layer has an error of its own
            model(torch.rand(2, 2, 24))
    else:
        assert model(torch.rand(2, 2, 24)).shape == (2, 3)
