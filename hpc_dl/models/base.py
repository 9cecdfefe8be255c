"""What the configuration of every architecture has: a name, and how its LightningModule is built."""

from __future__ import annotations

from abc import abstractmethod

import pytorch_lightning as pl

from hpc_dl.data.spec import DataSpec
from hpc_dl.errors import ConfigError
from hpc_dl.learning.supervised import Learning
from hpc_dl.schema import Section


class ModelConfig(Section):
    """The ``model`` section of one architecture. Its fields are the architecture's parameters."""

    name: str
    """Which architecture (``hpc-dl models`` lists them)."""

    @abstractmethod
    def build(self, data: DataSpec, learning: Learning) -> pl.LightningModule:
        """The module for data of these shapes.

        Raises:
            ConfigError: the architecture does not fit the shape of the inputs.
        """

    def require_image(self, data: DataSpec) -> tuple[int, int, int]:
        """The (channels, height, width) of the inputs.

        Raises:
            ConfigError: the inputs have another shape.
        """
        if len(data.input_shape) != 3:
            raise ConfigError.at(
                "model.name",
                f"needs images (channels, height, width), but the inputs of {data.file} are {data.input_shape}",
                value=self.name,
                remedy="choose an architecture for such inputs, for example mlp",
            )
        channels, height, width = data.input_shape
        return channels, height, width
