"""The ``optimizer`` section: torch's optimizers, with torch's argument names and defaults.

To add an optimizer, write its class and its entry in ``OPTIMIZERS``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator
from torch import nn, optim

from hpc_dl.schema import Section

Parameters = Iterable[nn.Parameter]
Decay = Annotated[float, Field(ge=0, lt=1)]


class OptimizerConfig(Section):
    """The options of every optimizer."""

    name: str
    """Name of the optimizer."""
    lr: Annotated[float, Field(gt=0)]
    """Learning rate."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Weight decay: an L2 penalty; in ``adamw`` decoupled from the gradient."""

    @abstractmethod
    def build(self, parameters: Parameters) -> optim.Optimizer:
        """Build the torch optimizer of these parameters."""


class Fusable(OptimizerConfig):
    """An optimizer that can update all parameters in one kernel."""

    fused: Literal["auto"] | bool = "auto"
    """Update all parameters in one kernel; ``auto``: where that is faster."""

    _faster_on: ClassVar[tuple[str, ...]] = ("cpu", "cuda")

    def _fused(self, parameters: list[nn.Parameter]) -> dict[str, Any]:
        """Return the ``fused`` argument for torch's optimizer, or none."""
        if self.fused != "auto":
            return {"fused": self.fused}
        can_fuse = all(p.device.type in self._faster_on and p.is_floating_point() for p in parameters)
        return {"fused": True} if can_fuse and parameters else {}


def _without_unscaling(optimizer: optim.Optimizer) -> optim.Optimizer:
    """Let Lightning unscale the gradients: a fused optimizer would do it only after clipping."""
    optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
    return optimizer


class SGD(Fusable):
    """Stochastic gradient descent with momentum (Robbins and Monro, 1951; Polyak, 1964)."""

    name: Literal["sgd"] = "sgd"
    """Name of the optimizer."""
    lr: Annotated[float, Field(gt=0)] = 0.01
    """Learning rate."""
    momentum: Decay = 0.0
    """Momentum μ: v ← μ v + gradient, then weights ← weights − lr · v."""
    nesterov: bool = False
    """Compute the gradient after the momentum step (Nesterov, 1983)."""

    # On a CPU, distributing many small parameters over threads takes longer than the update.
    _faster_on: ClassVar[tuple[str, ...]] = ("cuda",)

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> SGD:
        if self.nesterov and self.momentum == 0:
            raise ValueError("`nesterov` needs a `momentum` above 0, for example 0.9")
        return self

    def build(self, parameters: Parameters) -> optim.Optimizer:
        """Build the torch optimizer of these parameters."""
        listed = list(parameters)
        return _without_unscaling(
            optim.SGD(
                listed,
                lr=self.lr,
                momentum=self.momentum,
                nesterov=self.nesterov,
                weight_decay=self.weight_decay,
                **self._fused(listed),
            )
        )


class Adam(Fusable):
    """Adam (Kingma and Ba, 2015)."""

    name: Literal["adam"] = "adam"
    """Name of the optimizer."""
    lr: Annotated[float, Field(gt=0)] = 1e-3
    """Learning rate."""
    beta1: Decay = 0.9
    """Decay rate of the running mean of the gradients."""
    beta2: Decay = 0.999
    """Decay rate of the running mean of the squared gradients."""

    def build(self, parameters: Parameters) -> optim.Optimizer:
        """Build the torch optimizer of these parameters."""
        listed = list(parameters)
        betas, fused = (self.beta1, self.beta2), self._fused(listed)
        return _without_unscaling(optim.Adam(listed, lr=self.lr, betas=betas, weight_decay=self.weight_decay, **fused))


class AdamW(Fusable):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019)."""

    name: Literal["adamw"] = "adamw"
    """Name of the optimizer."""
    lr: Annotated[float, Field(gt=0)] = 1e-3
    """Learning rate."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Decoupled weight decay."""
    beta1: Decay = 0.9
    """Decay rate of the running mean of the gradients."""
    beta2: Decay = 0.999
    """Decay rate of the running mean of the squared gradients."""

    def build(self, parameters: Parameters) -> optim.Optimizer:
        """Build the torch optimizer of these parameters."""
        listed = list(parameters)
        betas, fused = (self.beta1, self.beta2), self._fused(listed)
        return _without_unscaling(optim.AdamW(listed, lr=self.lr, betas=betas, weight_decay=self.weight_decay, **fused))


class RMSprop(OptimizerConfig):
    """RMSProp (Tieleman and Hinton, 2012)."""

    name: Literal["rmsprop"] = "rmsprop"
    """Name of the optimizer."""
    lr: Annotated[float, Field(gt=0)] = 1e-3
    """Learning rate."""
    alpha: Decay = 0.99
    """Decay rate of the running mean of the squared gradients."""
    momentum: Decay = 0.0
    """Momentum: the share of the previous update that is kept."""

    def build(self, parameters: Parameters) -> optim.Optimizer:
        """Build the torch optimizer of these parameters."""
        return optim.RMSprop(
            parameters, lr=self.lr, alpha=self.alpha, momentum=self.momentum, weight_decay=self.weight_decay
        )


class Adagrad(OptimizerConfig):
    """AdaGrad (Duchi, Hazan and Singer, 2011)."""

    name: Literal["adagrad"] = "adagrad"
    """Name of the optimizer."""
    lr: Annotated[float, Field(gt=0)] = 0.01
    """Learning rate."""

    def build(self, parameters: Parameters) -> optim.Optimizer:
        """Build the torch optimizer of these parameters."""
        return optim.Adagrad(parameters, lr=self.lr, weight_decay=self.weight_decay)


class Adadelta(OptimizerConfig):
    """AdaDelta: adapts the step size, and hardly depends on the learning rate (Zeiler, 2012)."""

    name: Literal["adadelta"] = "adadelta"
    """Name of the optimizer."""
    lr: Annotated[float, Field(gt=0)] = 1.0
    """Learning rate; 1 in the paper."""
    rho: Decay = 0.9
    """Decay rate of the running means of the squared gradients and the squared updates."""

    def build(self, parameters: Parameters) -> optim.Optimizer:
        """Build the torch optimizer of these parameters."""
        return optim.Adadelta(parameters, lr=self.lr, rho=self.rho, weight_decay=self.weight_decay)


class NAdam(OptimizerConfig):
    """Adam with Nesterov momentum (Dozat, 2016)."""

    name: Literal["nadam"] = "nadam"
    """Name of the optimizer."""
    lr: Annotated[float, Field(gt=0)] = 2e-3
    """Learning rate."""
    beta1: Decay = 0.9
    """Decay rate of the running mean of the gradients."""
    beta2: Decay = 0.999
    """Decay rate of the running mean of the squared gradients."""

    def build(self, parameters: Parameters) -> optim.Optimizer:
        """Build the torch optimizer of these parameters."""
        return optim.NAdam(parameters, lr=self.lr, betas=(self.beta1, self.beta2), weight_decay=self.weight_decay)


OPTIMIZERS: dict[str, type[OptimizerConfig]] = {
    "sgd": SGD,
    "adam": Adam,
    "adamw": AdamW,
    "rmsprop": RMSprop,
    "adagrad": Adagrad,
    "adadelta": Adadelta,
    "nadam": NAdam,
}
