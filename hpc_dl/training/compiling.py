"""``trainer.compile`` and ``trainer.channels_last``: the same network, faster.

Both change modules in place, without renaming weights, so a training can resume with another
setting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torchmetrics import Metric, MetricCollection

from hpc_dl.errors import ClusterError

_MEMORY_FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}  # by number of dimensions


def compile_forward(
    model: pl.LightningModule, mode: str, compiling: Callable[[], AbstractContextManager[None]]
) -> None:
    """Compile a module's ``forward``; if it has none, that of each of its children.

    ``training_step`` itself is not compiled, since its logging would break the graph.

    Args:
        model: the module.
        mode: torch's ``mode``; ``reduce-overhead`` and ``max-autotune`` use CUDA graphs on a GPU.
        compiling: a context for each call that compiles, so that the watchdog allows for the time.
    """
    has_forward = type(model).forward is not pl.LightningModule.forward
    for module in [model] if has_forward else model.children():
        if not isinstance(module, (Metric, MetricCollection, nn.ModuleDict, nn.ModuleList)):
            # An attribute of the instance: under DDP, Lightning temporarily replaces `forward`,
            # which would hide a method of the class.
            module.forward = _CompiledForward(module, mode, compiling)


class _CompiledForward:
    """A module's ``forward``, compiled once per input shape.

    From the second shape on, torch compiles it for any shape.
    """

    def __init__(self, module: nn.Module, mode: str, compiling: Callable[[], AbstractContextManager[None]]) -> None:
        self._module = module
        self._call = torch.compile(module.forward, mode=mode)
        self._compiling = compiling
        self._compiled: set[Any] = set()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        shapes = tuple(value.shape for value in args if isinstance(value, torch.Tensor))
        case = (self._module.training, torch.is_grad_enabled(), shapes)
        if case in self._compiled:
            return self._call(*args, **kwargs)
        with self._compiling():
            try:
                result = self._call(*args, **kwargs)
            except Exception as error:
                if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                    raise
                first_line = next(iter(str(error).splitlines()), "")
                raise ClusterError.at(
                    "trainer.compile",
                    f"torch cannot compile {type(self._module).__name__}: {first_line}",
                    remedy="set it to off",
                ) from error
        self._compiled.add(case)
        return result


def use_channels_last(model: nn.Module) -> None:
    """Store the weights of convolutions with their channels last.

    The first convolution then converts the inputs, and the outputs of each stay channels-last.
    """
    for tensor in [*model.parameters(), *model.buffers()]:
        if not is_lazy(tensor) and tensor.ndim in _MEMORY_FORMATS:
            tensor.data = tensor.data.to(memory_format=_MEMORY_FORMATS[tensor.ndim])


def match_layouts(optimizers: Iterable[torch.optim.Optimizer]) -> None:
    """Give each optimizer state the memory layout of its parameter.

    Fused optimizers assume the same layout for both, but a checkpoint may come from a training with
    another one.
    """
    for optimizer in optimizers:
        for parameter, state in optimizer.state.items():
            for name, value in state.items():
                per_weight = isinstance(value, torch.Tensor) and value.shape == parameter.shape
                if per_weight and value.stride() != parameter.stride():
                    state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
