"""Radial basis function network: Gaussians around prototypes out of the training data (Broomhead
and Lowe, 1988).
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from hpc_dl.data.datamodule import HDF5DataModule
from hpc_dl.data.spec import DataSpec
from hpc_dl.errors import ConfigError
from hpc_dl.learning.recipe import TrainingRecipe
from hpc_dl.learning.supervised import Supervised
from hpc_dl.models.base import ModelConfig
from hpc_dl.schema import Unit

# What the prototypes are chosen from, at most: 1 GiB.
_MAX_SAMPLES = 65_536
_MAX_NUMBERS = 1 << 28
_ITERATIONS = 20


class RBFConfig(ModelConfig):
    """Gaussians of the distance to each prototype, then a linear layer."""

    small = {"prototypes": 16, "learn_prototypes": True}

    name: Literal["rbf"] = "rbf"
    """Which architecture."""
    prototypes: Annotated[int, Field(ge=1), Unit("prototypes")] = 100
    """How many: at most as many as there are training samples."""
    centers: Literal["random", "k_means"] = "random"
    """``random``: training samples, as many of each class. ``k_means``: these moved to the means of
    the samples that are nearest to them (Moody and Darken, 1989)."""
    learn_prototypes: bool = False
    """Move the prototypes in training; otherwise they stay what they are, and only widths and
    weights are learned."""
    width: Annotated[float, Field(gt=0)] = 1.0
    """Standard deviation of the Gaussians at the beginning, in multiples of the mean distance of a
    prototype to the next one."""
    own_widths: bool = True
    """A width of its own for each prototype; otherwise one for all."""

    def module(self, data: DataSpec, recipe: TrainingRecipe) -> RBF:
        """The module for inputs of any shape, which it flattens.

        Raises:
            ConfigError: there are fewer training samples than prototypes.
        """
        if self.prototypes > data.sizes["train"]:
            raise ConfigError.at(
                "model.prototypes",
                "are training samples, and there are fewer of these",
                value=self.prototypes,
                allowed=f"at most {data.sizes['train']}",
            )
        return RBF(self, data, recipe)


class RBF(Supervised):
    """Gaussians around prototypes, then a linear layer.

    The prototypes are taken from the data module when the training begins; they are part of the
    state, so that a checkpoint brings them back without data. Where there is no such data module
    they stay random.

    Attributes:
        prototypes: (M, features), in the scale of the inputs.
        log_width: (M,) or (1,), logarithm of the standard deviations.
        placed: whether the prototypes come from the data.
    """

    prototypes: Tensor
    placed: Tensor

    def __init__(self, config: RBFConfig, data: DataSpec, recipe: TrainingRecipe) -> None:
        super().__init__(recipe)
        self.config = config
        num_features = math.prod(data.input_shape)
        prototypes = torch.randn(config.prototypes, num_features)
        if config.learn_prototypes:
            self.prototypes = nn.Parameter(prototypes)
        else:
            self.register_buffer("prototypes", prototypes)
        # Points of a normal distribution are about √(2 features) from each other.
        width = torch.full((config.prototypes if config.own_widths else 1,), config.width * math.sqrt(2 * num_features))
        self.log_width = nn.Parameter(width.log())
        self.register_buffer("placed", torch.tensor(False))
        self.head = nn.Linear(config.prototypes, data.num_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, *input_shape) to (batch, num_outputs)."""
        x = x.flatten(1)
        # |x - p|² by one product of matrices; what rounding makes of a distance of 0 must not be
        # negative.
        squared = x.square().sum(1, keepdim=True) + self.prototypes.square().sum(1) - 2 * x @ self.prototypes.T
        outputs: Tensor = self.head(torch.exp(-0.5 * squared.clamp_min(0) / (2 * self.log_width).exp()))
        return outputs

    def on_fit_start(self) -> None:
        """Take the prototypes from the training split, unless a checkpoint has brought them."""
        batches = getattr(self.trainer, "datamodule", None)
        if isinstance(batches, HDF5DataModule) and not self.placed:
            self.place(*_samples(batches, len(self.prototypes)), seed=batches.seed)

    @torch.no_grad()
    def place(self, x: Tensor, groups: NDArray[np.int64], seed: int) -> None:
        """Choose the prototypes from samples: the same in every process that gets the same.

        Args:
            x: (N, *input_shape) scaled inputs, on the CPU.
            groups: (N,) classes, each of which gets as many prototypes where it has as many
                samples.
            seed: of the choice.
        """
        x = x.flatten(1)
        centers = x[torch.from_numpy(_balanced(groups, len(self.prototypes), seed))]
        if self.config.centers == "k_means":
            centers = _k_means(x, centers)
        to_next = torch.cdist(centers, centers).fill_diagonal_(torch.inf).amin(1)
        if (apart := to_next[to_next.isfinite() & (to_next > 0)]).numel():
            self.log_width.fill_(math.log(self.config.width * apart.mean().item()))
        self.prototypes.copy_(centers)
        self.placed.fill_(True)


def _samples(batches: HDF5DataModule, least: int) -> tuple[Tensor, NDArray[np.int64]]:
    """Scaled training inputs, evenly spread over the split and ``least`` or more, and their classes
    (else 0).
    """
    size = batches.spec.sizes["train"]
    most = min(size, max(least, min(_MAX_SAMPLES, _MAX_NUMBERS // math.prod(batches.spec.input_shape))))
    x, y = batches.preprocessed(batches.batch_at("train", np.linspace(0, size - 1, most).astype(np.intp)))
    by_class = batches.spec.task == "classification"
    assert isinstance(x, Tensor)  # a single input of one shape
    return x, np.asarray(y) if by_class else np.zeros(most, np.int64)


def _balanced(groups: NDArray[np.int64], number: int, seed: int) -> NDArray[np.intp]:
    """Numbers of samples, drawn from the groups in turn as long as they have any."""
    shuffled = np.random.default_rng(seed).permutation(len(groups))
    turn = np.empty(len(groups), np.intp)
    for group in np.unique(groups):
        members = shuffled[groups[shuffled] == group]
        turn[members] = np.arange(len(members))
    return shuffled[np.argsort(turn[shuffled], kind="stable")[:number]]


def _k_means(x: Tensor, centers: Tensor) -> Tensor:
    """Means of the samples (N, F) that are nearest to each center (M, F), found by Lloyd's
    algorithm (1982).
    """
    for _ in range(_ITERATIONS):
        nearest = torch.cdist(x, centers).argmin(1)
        counts = nearest.bincount(minlength=len(centers)).unsqueeze(1)
        sums = torch.zeros_like(centers).index_add_(0, nearest, x)
        centers = torch.where(counts > 0, sums / counts.clamp(min=1), centers)  # one without samples stays
    return centers
