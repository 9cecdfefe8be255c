"""``trainer.compile`` and ``trainer.channels_last``: the same network, laid out for its device.

Both change modules in place: the names in a checkpoint stay as they are, and a training may go on
with another setting.
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

_LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}


def compile_forward(
    model: pl.LightningModule, mode: str, compiling: Callable[[], AbstractContextManager[None]]
) -> None:
    """Have torch compile a module's ``forward``; those of its parts, where it has none.

    Not the whole ``training_step``: what is logged there would tear the graph apart.

    Args:
        model: the module.
        mode: torch's ``mode``; ``reduce-overhead`` and ``max-autotune`` use CUDA graphs on a GPU.
        compiling: surrounds each call that has to compile, for whoever watches the time.
    """
    own = type(model).forward is not pl.LightningModule.forward
    for module in [model] if own else model.children():
        if not isinstance(module, (Metric, MetricCollection, nn.ModuleDict, nn.ModuleList)):
            # On the instance: Lightning exchanges `forward` for a while under DDP, and so does not
            # see ours.
            module.forward = _Compiled(module, mode, compiling)


class _Compiled:
    """A module's ``forward``, compiled once for each shape of the inputs (torch makes the second
    one general).
    """

    def __init__(self, module: nn.Module, mode: str, compiling: Callable[[], AbstractContextManager[None]]) -> None:
        self._module = module
        self._call = torch.compile(module.forward, mode=mode)
        self._compiling = compiling
        self._known: set[Any] = set()

    def __call__(self, *given: Any, **named: Any) -> Any:
        shapes = tuple(value.shape for value in given if isinstance(value, torch.Tensor))
        case = (self._module.training, torch.is_grad_enabled(), shapes)
        if case in self._known:
            return self._call(*given, **named)
        with self._compiling():
            try:
                result = self._call(*given, **named)
            except Exception as error:
                if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                    raise
                problem = (
                    f"torch cannot compile {type(self._module).__name__}: {next(iter(str(error).splitlines()), '')}"
                )
                raise ClusterError.at("trainer.compile", problem, remedy="set it to off") from error
        self._known.add(case)
        return result


def lay_out(model: nn.Module) -> None:
    """Store the weights of convolutions with their channels last; the first of them turns the
    inputs round.
    """
    for tensor in [*model.parameters(), *model.buffers()]:
        if not is_lazy(tensor) and tensor.ndim in _LAYOUTS:
            tensor.data = tensor.data.to(memory_format=_LAYOUTS[tensor.ndim])


def match_layouts(optimizers: Iterable[torch.optim.Optimizer]) -> None:
    """Lay out each state like its parameter: fused optimizers walk through both side by side.

    A checkpoint may come from a training with another layout.
    """
    for optimizer in optimizers:
        for parameter, state in optimizer.state.items():
            for name, value in state.items():
                its_own = isinstance(value, torch.Tensor) and value.shape == parameter.shape
                if its_own and value.stride() != parameter.stride():
                    state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
