"""Transformer encoder: self-attention over the steps of a sequence (Vaswani et al., 2017)."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from hpc_dl.data.spec import DataSpec
from hpc_dl.errors import ConfigError, Fault
from hpc_dl.learning.recipe import TrainingRecipe
from hpc_dl.learning.sequence_model import (
    SEQUENCE_INPUTS,
    SEQUENCE_TASKS,
    SequenceModel,
    has_step_targets,
    predicts_next,
)
from hpc_dl.models.base import ModelConfig
from hpc_dl.nn.attention import Encoder, EncoderOptions, PositionalEncoding, PositionsName
from hpc_dl.nn.sequences import mean_of_steps
from hpc_dl.schema import Unit


class TransformerConfig(EncoderOptions, ModelConfig):
    """Blocks of self-attention and dense layers, with an output per step or per sample."""

    inputs = SEQUENCE_INPUTS
    tasks = SEQUENCE_TASKS
    small = {"width": 16, "depth": 1, "heads": 2, "dropout": 0.0, "vocabulary": 32}

    name: Literal["transformer"] = "transformer"
    """Name of the architecture."""
    positions: PositionsName = "sinusoidal"
    """Positional encoding: ``sinusoidal``, ``learned`` vectors, or ``none``, where the order of the
    steps has no meaning."""
    max_length: Annotated[int | None, Field(ge=1), Unit("steps")] = None
    """Number of steps of the longest sample, for ``learned`` positions where samples differ in
    length."""
    vocabulary: Annotated[int | None, Field(ge=1), Unit("tokens")] = None
    """Number of different tokens, where the data do not define it; larger token numbers are treated
    as the last one, "unknown"."""
    causal: Literal["auto", True, False] = "auto"
    """Attend only to the step itself and to earlier steps; ``auto``: where the targets are later
    steps, such as next tokens."""

    @property
    def fixed_size(self) -> str:
        """See :class:`ModelSection`."""
        return "it has learned a vector for each position" if self.positions == "learned" else ""

    def module(self, data: DataSpec, recipe: TrainingRecipe) -> Transformer:
        """Build the module for tokens, sequences and series.

        Raises:
            ConfigError: the targets do not match the steps, or an option does not fit the data.
        """
        faults = []
        if self.positions == "learned" and self.max_length is None and data.inputs[0].ragged:
            faults.append(
                Fault(
                    "model.max_length",
                    f"is required for learned positions: the samples of {data.file} differ in length",
                    remedy="set it to the length of the longest sample, or choose other `model.positions`",
                )
            )
        if self.causal is False and predicts_next(data):
            faults.append(
                Fault(
                    "model.causal",
                    "would let the network read the next steps, which it has to predict",
                    value=False,
                    allowed="auto or true where `data.targets` are later steps of the inputs",
                )
            )
        if self.causal is True and self.read_out == "class_token" and not has_step_targets(data):
            faults.append(
                Fault(
                    "model.read_out",
                    "comes first, and with `model.causal: true` cannot attend to the steps",
                    value=self.read_out,
                    allowed="mean",
                )
            )
        if faults:
            raise ConfigError(*faults)
        return Transformer(self, recipe)


class Transformer(SequenceModel):
    """Vectors of the steps and their positions, an encoder, a linear head."""

    def __init__(self, config: TransformerConfig, recipe: TrainingRecipe) -> None:
        super().__init__(recipe, config.width, config.vocabulary)
        data = recipe.data
        tokens = data.input_kind == "tokens"
        self.project = nn.Identity() if tokens else nn.Linear(self.steps.size, config.width)
        with_token = config.read_out == "class_token" and not self.per_step
        self.class_token = nn.Parameter(torch.randn(config.width)) if with_token else None
        self.positions = PositionalEncoding(config.positions, config.width, _longest(config, data))
        self.causal = predicts_next(data) if config.causal == "auto" else config.causal
        self.encoder = Encoder(config)
        self.head = nn.Linear(config.width, self.num_outputs)

    def forward_steps(self, steps: Tensor, lengths: Tensor | None) -> Tensor:
        """Map (B, T, F) to (B, T, num_outputs) or (B, num_outputs), see :class:`SequenceModel`."""
        steps = self.positions(self.project(steps))
        if self.class_token is not None:
            steps = torch.cat([self.class_token.expand(len(steps), 1, -1), steps], dim=1)
            lengths = None if lengths is None else lengths + 1
        states = self.encoder(steps, lengths, self.causal)
        if not self.per_step:
            states = states[:, 0] if self.class_token is not None else mean_of_steps(states, lengths)
        outputs: Tensor = self.head(states)
        return outputs


def _longest(config: TransformerConfig, data: DataSpec) -> int:
    """Return the number of steps of the longest sample; 0 where it is neither known nor needed."""
    field = data.inputs[0]
    if config.max_length is not None or field.ragged:
        return config.max_length or 0
    return field.shape[-1] if data.input_kind == "series" else field.shape[0]
