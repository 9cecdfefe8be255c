"""The ``optimizer`` section: torch's optimizers, with torch's argument names and defaults."""

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


class Fusable(OptimizerConfig):
    """An optimizer that torch can compute in one kernel for all parameters."""

    fused: Literal["auto"] | bool = "auto"
    """Update all parameters in one kernel; ``auto`` does so where it is faster."""

    _faster_on: ClassVar[tuple[str, ...]] = ("cpu", "cuda")

    def _fused(self, parameters: list[nn.Parameter]) -> dict[str, Any]:
        """The argument for torch's optimizer, by where the parameters are and what they are."""
        if self.fused != "auto":
            return {"fused": self.fused}
        suits = all(p.device.type in self._faster_on and p.is_floating_point() for p in parameters)
        return {"fused": True} if suits and parameters else {}


def _unscaled(optimizer: optim.Optimizer) -> optim.Optimizer:
    """With 16-bit scaling a fused optimizer would scale gradients back itself: too late for
    clipping them.
    """
    optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
    return optimizer


class SGD(Fusable):
    """Stochastic gradient descent, with momentum where wanted (Robbins and Monro, 1951; Polyak,
    1964).
    """

    name: Literal["sgd"] = "sgd"
    """Which optimizer."""
    lr: Annotated[float, Field(gt=0)] = 0.01
    """Learning rate."""
    momentum: Decay = 0.0
    """μ of the accumulator: v ← μ v + gradient, weights ← weights − lr · v."""
    nesterov: bool = False
    """Look ahead along the momentum (Nesterov, 1983)."""

    # On a CPU with several threads, sharing out many small parameters costs more than it saves.
    _faster_on: ClassVar[tuple[str, ...]] = ("cuda",)

    @model_validator(mode="after")
    def _momentum_to_look_along(self) -> SGD:
        if self.nesterov and self.momentum == 0:
            raise ValueError("`nesterov` needs a `momentum` above 0, for example 0.9")
        return self

    def build(self, parameters: Parameters) -> optim.Optimizer:
        """The torch optimizer over these parameters."""
        own = list(parameters)
        return _unscaled(
            optim.SGD(
                own,
                lr=self.lr,
                momentum=self.momentum,
                nesterov=self.nesterov,
                weight_decay=self.weight_decay,
                **self._fused(own),
            )
        )


class Adam(Fusable):
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
        own = list(parameters)
        betas = (self.beta1, self.beta2)
        return _unscaled(optim.Adam(own, lr=self.lr, betas=betas, weight_decay=self.weight_decay, **self._fused(own)))


class AdamW(Fusable):
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
        own = list(parameters)
        betas = (self.beta1, self.beta2)
        return _unscaled(optim.AdamW(own, lr=self.lr, betas=betas, weight_decay=self.weight_decay, **self._fused(own)))


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


class Adadelta(OptimizerConfig):
    """AdaDelta: steps as long as the earlier ones were, so that the learning rate hardly matters
    (Zeiler, 2012).
    """

    name: Literal["adadelta"] = "adadelta"
    """Which optimizer."""
    lr: Annotated[float, Field(gt=0)] = 1.0
    """Learning rate; 1 in the paper."""
    rho: Decay = 0.9
    """Decay of the means of the squared gradients and of the squared updates."""

    def build(self, parameters: Parameters) -> optim.Optimizer:
        """The torch optimizer over these parameters."""
        return optim.Adadelta(parameters, lr=self.lr, rho=self.rho, weight_decay=self.weight_decay)


class NAdam(OptimizerConfig):
    """Adam that looks ahead along the momentum (Dozat, 2016)."""

    name: Literal["nadam"] = "nadam"
    """Which optimizer."""
    lr: Annotated[float, Field(gt=0)] = 2e-3
    """Learning rate."""
    beta1: Decay = 0.9
    """Decay of the mean of the gradients."""
    beta2: Decay = 0.999
    """Decay of the mean of the squared gradients."""

    def build(self, parameters: Parameters) -> optim.Optimizer:
        """The torch optimizer over these parameters."""
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
