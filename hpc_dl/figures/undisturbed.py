"""Looking at a model without changing what its training does next."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from hpc_dl.compatibility.deferred_compiler import compiler_is_imported


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """A context in evaluation mode that keeps the random state and the mode of each module."""
    modes = {module: module.training for module in model.modules()}
    devices = [p.device for p in model.parameters() if p.device.type == "cuda"][:1]
    model.eval()
    try:
        with torch.random.fork_rng(devices), _not_compiled():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _not_compiled() -> AbstractContextManager[Any]:
    """A context in which nothing is compiled again for the shapes of these batches."""
    return torch.compiler.set_stance("force_eager") if compiler_is_imported() else nullcontext()
