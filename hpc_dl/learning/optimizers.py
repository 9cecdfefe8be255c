"""The ``optimizer`` section: torch's optimizers, with torch's argument names and defaults."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field, model_validator
from torch import nn, optim

from hpc_dl.schema import Section

Parameters = Iterable[nn.Parameter]
Decay = Annotated[float, Field(ge=0, lt=1)]


class OptimizerConfig(Section):
    """What every optimizer has."""

    name: str
    """Which optimizer."""
    lr: Annotated[float, Field(gt=0)]
    """Learning rate."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Weight decay (L2 penalty; decoupled from the gradient in adamw)."""

    @abstractmethod
    def build(self, parameters: Parameters) -> optim.Optimizer:
        """The torch optimizer over these parameters."""


class SGD(OptimizerConfig):
    """Stochastic gradient descent, with momentum where wanted (Robbins and Monro, 1951; Polyak, 1964)."""

    name: Literal["sgd"] = "sgd"
    """Which optimizer."""
    lr: Annotated[float, Field(gt=0)] = 0.01
    """Learning rate."""
    momentum: Decay = 0.0
    """Share of the previous update that is kept."""
    nesterov: bool = False
    """Look ahead along the momentum (Nesterov, 1983)."""

    @model_validator(mode="after")
    def _momentum_to_look_along(self) -> SGD:
        if self.nesterov and self.momentum == 0:
            raise ValueError("`nesterov` needs a `momentum` above 0, for example 0.9")
        return self

    def build(self, parameters: Parameters) -> optim.Optimizer:
        """The torch optimizer over these parameters."""
        return optim.SGD(
            parameters, lr=self.lr, momentum=self.momentum, nesterov=self.nesterov, weight_decay=self.weight_decay
        )


class Adam(OptimizerConfig):
    """Adam (Kingma and Ba, 2015)."""

    name: Literal["adam"] = "adam"
    """Which optimizer."""
    lr: Annotated[float, Field(gt=0)] = 1e-3
    """Learning rate."""
    beta1: Decay = 0.9
    """Decay of the mean of the gradients."""
    beta2: Decay = 0.999
    """Decay of the mean of the squared gradients."""

    def build(self, parameters: Parameters) -> optim.Optimizer:
        """The torch optimizer over these parameters."""
        return optim.Adam(parameters, lr=self.lr, betas=(self.beta1, self.beta2), weight_decay=self.weight_decay)


class AdamW(OptimizerConfig):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019)."""

    name: Literal["adamw"] = "adamw"
    """Which optimizer."""
    lr: Annotated[float, Field(gt=0)] = 1e-3
    """Learning rate."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Decoupled weight decay."""
    beta1: Decay = 0.9
    """Decay of the mean of the gradients."""
    beta2: Decay = 0.999
    """Decay of the mean of the squared gradients."""

    def build(self, parameters: Parameters) -> optim.Optimizer:
        """The torch optimizer over these parameters."""
        return optim.AdamW(parameters, lr=self.lr, betas=(self.beta1, self.beta2), weight_decay=self.weight_decay)


class RMSprop(OptimizerConfig):
    """RMSProp (Tieleman and Hinton, 2012)."""

    name: Literal["rmsprop"] = "rmsprop"
    """Which optimizer."""
    lr: Annotated[float, Field(gt=0)] = 1e-3
    """Learning rate."""
    alpha: Decay = 0.99
    """Decay of the mean of the squared gradients."""
    momentum: Decay = 0.0
    """Share of the previous update that is kept."""

    def build(self, parameters: Parameters) -> optim.Optimizer:
        """The torch optimizer over these parameters."""
        return optim.RMSprop(
            parameters, lr=self.lr, alpha=self.alpha, momentum=self.momentum, weight_decay=self.weight_decay
        )


class Adagrad(OptimizerConfig):
    """AdaGrad (Duchi, Hazan and Singer, 2011)."""

    name: Literal["adagrad"] = "adagrad"
    """Which optimizer."""
    lr: Annotated[float, Field(gt=0)] = 0.01
    """Learning rate."""

    def build(self, parameters: Parameters) -> optim.Optimizer:
        """The torch optimizer over these parameters."""
        return optim.Adagrad(parameters, lr=self.lr, weight_decay=self.weight_decay)


OPTIMIZERS: dict[str, type[OptimizerConfig]] = {
    "sgd": SGD,
    "adam": Adam,
    "adamw": AdamW,
    "rmsprop": RMSprop,
    "adagrad": Adagrad,
}
