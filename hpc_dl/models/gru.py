"""Gated recurrent units (GRU), with update and reset gates (Cho et al., 2014)."""

from __future__ import annotations

from typing import Literal

from torch import nn

from hpc_dl.data.spec import DataSpec
from hpc_dl.learning.recipe import TrainingRecipe
from hpc_dl.learning.sequence_model import SEQUENCE_INPUTS, SEQUENCE_TASKS
from hpc_dl.models.base import ModelConfig
from hpc_dl.models.rnn import Recurrent
from hpc_dl.nn.recurrent import RecurrentOptions


class GRUConfig(RecurrentOptions, ModelConfig):
    """Layers of gated recurrent units."""

    inputs = SEQUENCE_INPUTS
    tasks = SEQUENCE_TASKS
    small = {"hidden": 16, "embedding": 8, "vocabulary": 32}

    name: Literal["gru"] = "gru"
    """Name of the architecture."""

    def module(self, data: DataSpec, recipe: TrainingRecipe) -> Recurrent:
        """Build the module for tokens, sequences and series.

        Raises:
            ConfigError: the targets do not match the steps, or an option does not fit the data.
        """
        return Recurrent(self, nn.GRU, recipe)
