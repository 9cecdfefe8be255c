"""Deep copies of values for a checkpoint: tensors and plain values only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

#: A part of the state, in plain values and tensors.
State = dict[str, Any]

CPU = torch.device("cpu")
_PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.dtype)


class NotPlain(TypeError):
    """A value that a checkpoint cannot hold."""


class PlainCopier:
    """Copies values deeply, their tensors to a device and without their graph.

    What was one object stays one object: the metrics of a compute group share their states, and a
    list that one of them appends to must grow for all.
    """

    def __init__(self) -> None:
        # The originals are kept as well: the id of a deleted object may be used again.
        self._copies: dict[tuple[int, torch.device], tuple[Any, Any]] = {}

    def __call__(self, value: Any, device: torch.device = CPU) -> Any:
        """Copy a value.

        Raises:
            NotPlain: it contains anything but tensors and plain values.
        """
        if type(value) in _PLAIN:
            return value
        key = (id(value), device)
        if key not in self._copies:
            self._copies[key] = (value, self._copy(value, device))
        return self._copies[key][1]

    def _copy(self, value: Any, device: torch.device) -> Any:
        if isinstance(value, torch.Tensor):
            return value.detach().to(device, copy=True)
        if type(value) in (list, tuple):
            return type(value)(self(item, device) for item in value)
        if isinstance(value, dict):
            return {self(name, device): self(item, device) for name, item in value.items()}
        raise NotPlain(f"a {type(value).__name__}")


@contextmanager
def warn_on_failure(subject: str, warnings: list[str]) -> Iterator[None]:
    """Turn the failure to copy a value into a warning: a checkpoint without it is still useful."""
    try:
        yield
    except NotPlain as error:
        warnings.append(f"{subject} starts over: it contains {error}, which a checkpoint cannot store.")
