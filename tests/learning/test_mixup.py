"""Mixup: the inputs, the loss, and the distribution of the share."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from hpc_dl.errors import ConfigError
from hpc_dl.learning.losses import LossConfig
from hpc_dl.learning.mixup import mixed
from hpc_dl.learning.task import Task
from hpc_dl.models.linear import Linear, LinearConfig
from tests.experiments import spec, training_recipe


def test_inputs_are_weighted_means_of_two_samples() -> None:
    torch.manual_seed(0)
    x = torch.randn(6, 3, 4)
    result, others, share = mixed(x, 0.4)
    assert sorted(others.tolist()) == list(range(6))
    torch.testing.assert_close(result, share * x + (1 - share) * x[others])


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_share_has_the_variance_of_the_beta_distribution(alpha: float) -> None:
    torch.manual_seed(0)
    shares = torch.tensor([mixed(torch.zeros(2), alpha)[2] for _ in range(4000)])
    assert shares.mean().item() == pytest.approx(0.5, abs=0.02)
    assert shares.var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.08)


def test_loss_is_that_of_the_mixed_soft_targets() -> None:
    data = spec(input_shape=(4,))
    recipe = training_recipe(data, 10, loss=LossConfig(mixup=0.4))
    torch.manual_seed(0)
    model = Linear(LinearConfig(), data, recipe)
    x, y = torch.randn(8, 4), torch.arange(8) % 3
    torch.manual_seed(1)
    loss = model.training_step((x, y), 0)
    torch.manual_seed(1)
    inputs, others, share = mixed(x, 0.4)
    soft = torch.eye(3)[y] * share + torch.eye(3)[y[others]] * (1 - share)
    torch.testing.assert_close(loss, cross_entropy(model(inputs), soft))


def test_tasks_with_several_targets_for_a_sample_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"loss\.mixup: cannot mix .* for segmentation"):
        Task(LossConfig(mixup=0.2), spec(input_shape=(1, 8, 8), task="segmentation"))
