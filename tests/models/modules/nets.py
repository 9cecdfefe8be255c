"""LightningModules of a user and other objects."""

from typing import Any

import pytorch_lightning as pl
import torch  # noqa: F401  # a test names it as something that is not a LightningModule


class Net(pl.LightningModule):
    """Takes the data and two arguments, one of them with a default."""

    def __init__(self, data: Any, width: int, depth: int = 1) -> None:
        super().__init__()
        self.data, self.width, self.depth = data, width, depth


class NoData(pl.LightningModule):
    """Takes no arguments."""


class Own(pl.LightningModule):
    """Takes an argument named ``data``."""

    def __init__(self, data: Any) -> None:
        super().__init__()
        self.data = data


class Raises(pl.LightningModule):
    """Raises an exception when it is built."""

    def __init__(self, width: int) -> None:
        super().__init__()
        raise ValueError(f"width {width} is odd")


class Plain:
    """Not a LightningModule."""


def function() -> None:
    """Not a class."""
