"""Long short-term memory (LSTM): a gated recurrent network (Hochreiter and Schmidhuber, 1997).

With forget gates (Gers et al., 2000).
"""

from __future__ import annotations

from typing import Literal

from torch import nn

from hpc_dl.data.spec import DataSpec
from hpc_dl.learning.recipe import TrainingRecipe
from hpc_dl.learning.sequence_model import SEQUENCE_INPUTS, SEQUENCE_TASKS
from hpc_dl.models.base import ModelConfig
from hpc_dl.models.rnn import Recurrent
from hpc_dl.nn.recurrent import RecurrentOptions, set_forget_bias


class LSTMConfig(RecurrentOptions, ModelConfig):
    """Layers of memory cells with input, forget and output gates."""

    inputs = SEQUENCE_INPUTS
    tasks = SEQUENCE_TASKS
    small = {"hidden": 16, "embedding": 8, "vocabulary": 32}

    name: Literal["lstm"] = "lstm"
    """Name of the architecture."""
    forget_bias: float = 1.0
    """Initial bias of the forget gates; with 1 the cells remember at first (Jozefowicz et al.,
    2015)."""

    def module(self, data: DataSpec, recipe: TrainingRecipe) -> Recurrent:
        """Build the module for tokens, sequences and series.

        Raises:
            ConfigError: the targets do not match the steps, or an option does not fit the data.
        """
        module = Recurrent(self, nn.LSTM, recipe)
        for layer in module.layers.layers:
            assert isinstance(layer, nn.LSTM)
            set_forget_bias(layer, self.forget_bias)
        return module
