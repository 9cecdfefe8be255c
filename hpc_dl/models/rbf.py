"""Radial basis function (RBF) network: Gaussians around prototypes (Broomhead and Lowe, 1988)."""

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

# Limits of the training data from which prototypes are selected: 1 GiB.
_MAX_SAMPLES = 65_536
_MAX_NUMBERS = 1 << 28
_ITERATIONS = 20


class RBFConfig(ModelConfig):
    """Gaussians of the distances to prototypes, then a linear layer."""

    small = {"prototypes": 16, "learn_prototypes": True}

    name: Literal["rbf"] = "rbf"
    """Name of the architecture."""
    prototypes: Annotated[int, Field(ge=1), Unit("prototypes")] = 100
    """Number of prototypes, at most the number of training samples."""
    centers: Literal["random", "k_means"] = "random"
    """``random``: training samples, the same number of each class; ``k_means``: these, moved to
    cluster means by k-means (Moody and Darken, 1989)."""
    learn_prototypes: bool = False
    """Train the prototypes, too; otherwise only the widths and the weights are trained."""
    width: Annotated[float, Field(gt=0)] = 1.0
    """Initial standard deviation of the Gaussians, as a multiple of the mean distance between
    nearest prototypes."""
    own_widths: bool = True
    """Train a width for each prototype; otherwise one for all."""

    def module(self, data: DataSpec, recipe: TrainingRecipe) -> RBF:
        """Build the module for inputs of any shape, which it flattens.

        Raises:
            ConfigError: there are fewer training samples than prototypes.
        """
        if self.prototypes > data.sizes["train"]:
            raise ConfigError.at(
                "model.prototypes",
                "exceeds the number of training samples",
                value=self.prototypes,
                allowed=f"at most {data.sizes['train']}",
            )
        return RBF(self, data, recipe)


class RBF(Supervised):
    """Gaussians around prototypes, then a linear layer.

    The prototypes are selected from the data module when training starts, and saved in checkpoints.
    Without a data module they stay random.

    Attributes:
        prototypes: (M, F), in the scale of the inputs.
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
        # The typical distance between samples of a normal distribution is √(2 F).
        width = torch.full((config.prototypes if config.own_widths else 1,), config.width * math.sqrt(2 * num_features))
        self.log_width = nn.Parameter(width.log())
        self.register_buffer("placed", torch.tensor(False))
        self.head = nn.Linear(config.prototypes, data.num_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, *input_shape) to (B, num_outputs)."""
        x = x.flatten(1)
        # |x - p|² by one matrix product; rounding can make a distance of 0 slightly negative.
        squared = x.square().sum(1, keepdim=True) + self.prototypes.square().sum(1) - 2 * x @ self.prototypes.T
        outputs: Tensor = self.head(torch.exp(-0.5 * squared.clamp_min(0) / (2 * self.log_width).exp()))
        return outputs

    def on_fit_start(self) -> None:
        """Select the prototypes from the training split, unless a checkpoint provided them."""
        batches = getattr(self.trainer, "datamodule", None)
        if isinstance(batches, HDF5DataModule) and not self.placed:
            self.place(*_samples(batches, len(self.prototypes)), seed=batches.seed)

    @torch.no_grad()
    def place(self, x: Tensor, groups: NDArray[np.int64], seed: int) -> None:
        """Select the prototypes from samples; the same arguments always select the same.

        Args:
            x: (N, *input_shape) scaled inputs, on the CPU.
            groups: (N,) classes; each gets the same number of prototypes as long as it has samples.
            seed: seed of the selection.
        """
        x = x.flatten(1)
        centers = x[torch.from_numpy(_balanced(groups, len(self.prototypes), seed))]
        if self.config.centers == "k_means":
            centers = _k_means(x, centers)
        to_nearest = torch.cdist(centers, centers).fill_diagonal_(torch.inf).amin(1)
        if (distances := to_nearest[to_nearest.isfinite() & (to_nearest > 0)]).numel():
            self.log_width.fill_(math.log(self.config.width * distances.mean().item()))
        self.prototypes.copy_(centers)
        self.placed.fill_(True)


def _samples(batches: HDF5DataModule, least: int) -> tuple[Tensor, NDArray[np.int64]]:
    """Return scaled training inputs, evenly spaced over the split, and their classes (else 0).

    Args:
        batches: the data module.
        least: minimum number of samples.
    """
    size = batches.spec.sizes["train"]
    count = min(size, max(least, min(_MAX_SAMPLES, _MAX_NUMBERS // math.prod(batches.spec.input_shape))))
    x, y = batches.preprocessed(batches.read_batch("train", np.linspace(0, size - 1, count).astype(np.intp)))
    by_class = batches.spec.task == "classification"
    assert isinstance(x, Tensor)  # a single input of one shape
    return x, np.asarray(y) if by_class else np.zeros(count, np.int64)


def _balanced(groups: NDArray[np.int64], number: int, seed: int) -> NDArray[np.intp]:
    """Select sample indices from the groups in turn, as long as a group has samples."""
    shuffled = np.random.default_rng(seed).permutation(len(groups))
    rank_in_group = np.empty(len(groups), np.intp)
    for group in np.unique(groups):
        members = shuffled[groups[shuffled] == group]
        rank_in_group[members] = np.arange(len(members))
    return shuffled[np.argsort(rank_in_group[shuffled], kind="stable")[:number]]


def _k_means(x: Tensor, centers: Tensor) -> Tensor:
    """Move centers (M, F) to cluster means of samples (N, F) by Lloyd's algorithm (1982)."""
    for _ in range(_ITERATIONS):
        nearest = torch.cdist(x, centers).argmin(1)
        counts = nearest.bincount(minlength=len(centers)).unsqueeze(1)
        sums = torch.zeros_like(centers).index_add_(0, nearest, x)
        centers = torch.where(counts > 0, sums / counts.clamp(min=1), centers)  # a center without samples stays
    return centers
