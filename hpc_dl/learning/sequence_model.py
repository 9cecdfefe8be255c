"""The LightningModule that every architecture over steps extends: tokens, sequences and series
alike.
"""

from __future__ import annotations

import math
from abc import abstractmethod

from torch import Tensor

from hpc_dl.data.ragged import Ragged
from hpc_dl.data.spec import PER_POSITION, DataSpec, InputKind, TaskName
from hpc_dl.errors import ConfigError, Fault
from hpc_dl.learning.recipe import TrainingRecipe
from hpc_dl.learning.supervised import Supervised
from hpc_dl.nn.sequences import StepEmbedding, pad, unpad

#: What such an architecture takes, and what for.
SEQUENCE_INPUTS: tuple[InputKind, ...] = ("series", "sequence", "tokens")
SEQUENCE_TASKS: tuple[TaskName, ...] = (
    "classification",
    "multilabel",
    "regression",
    "sequence_labeling",
    "language_modeling",
)


class SequenceModel(Supervised):
    """A network over the steps of a sample.

    A subclass builds its layers on vectors of size ``self.steps.size`` and says in :meth:`judge`
    what it makes of them: ``self.num_outputs`` numbers for each step where ``self.per_step``, else
    for each sample.

    Attributes:
        per_step: whether each step has a target of its own (many-to-many), or the sample has one
            (many-to-one).
        num_outputs: of a step or of a sample.
        steps: makes a vector of each step.
    """

    def __init__(self, recipe: TrainingRecipe, embedding: int, vocabulary: int | None = None) -> None:
        """Look what a step is.

        Args:
            recipe: task, optimizer and schedule, with the data.
            embedding: size of a token's vector.
            vocabulary: number of different tokens, where the data do not tell.

        Raises:
            ConfigError: the targets do not fit the steps, or the vocabulary is unknown.
        """
        super().__init__(recipe)
        data = recipe.data
        _check_targets(data)
        self.per_step = has_step_targets(data)
        windowed = self.per_step and data.task == "regression" and data.targets[0].window is not None
        self.num_outputs = data.num_outputs // data.targets[0].shape[0] if windowed else data.num_outputs
        tokens = _vocabulary(data, vocabulary) if data.input_kind == "tokens" else None
        self.steps = StepEmbedding(_num_features(data), tokens, embedding)

    @abstractmethod
    def judge(self, steps: Tensor, lengths: Tensor | None) -> Tensor:
        """Map the steps of a batch to outputs.

        Args:
            steps: (B, T, ``self.steps.size``).
            lengths: (B,) steps of each sample, what comes after them is padding; None where all
                have T.

        Returns:
            (B, T, num_outputs) where ``self.per_step``, else (B, num_outputs).
        """

    def forward(self, x: Tensor | Ragged) -> Tensor:
        """Map samples to what their task asks for.

        Args:
            x: series (B, C, T); windows of a stream (B, T, …) or, of tokens, (B, T); or samples of
                different lengths, (total steps, …).

        Returns:
            (B, K) for a sample's targets. For those of steps: classes (B, K, T), values (B, T * K),
            and (total steps, K) where samples differ in length.
        """
        if isinstance(x, Ragged):
            values, lengths = pad(x.values, x.offsets)
            outputs = self.judge(self.steps(values), lengths)
            return unpad(outputs, lengths) if self.per_step else outputs
        series = self.recipe.data.input_kind == "series"
        outputs = self.judge(self.steps(x.transpose(1, 2) if series else x), None)
        if not self.per_step:
            return outputs
        return outputs.transpose(1, 2) if self.recipe.data.task in PER_POSITION else outputs.flatten(1)


def has_step_targets(data: DataSpec) -> bool:
    """Whether each step has a target of its own."""
    target = data.targets[0]
    return data.task in PER_POSITION or target.ragged or target.window is not None


def predicts_next(data: DataSpec) -> bool:
    """Whether the targets are later steps of the inputs: a network that looks ahead would see the
    answers.
    """
    return any(target.window is not None and target.window.shift > 0 for target in data.targets)


def _num_features(data: DataSpec) -> int:
    field = data.inputs[0]
    if data.input_kind == "series":
        return data.num_channels
    return math.prod(field.shape if field.window is None else field.shape[1:])


def _vocabulary(data: DataSpec, given: int | None) -> int:
    """How many different tokens there are."""
    if given is not None:
        return given
    if predicts_next(data) and data.task in PER_POSITION:  # the targets are tokens of the same vocabulary
        return data.num_outputs
    if data.input_dtype == "uint8":
        return 256
    raise ConfigError.at(
        "model.vocabulary",
        f"is required: {data.file} does not tell how many different tokens there are",
        remedy="give the largest token of the training split, plus 1",
    )


def _check_targets(data: DataSpec) -> None:
    """Targets of steps belong to the steps of the inputs."""
    if not has_step_targets(data):
        return
    field, target = data.inputs[0], data.targets[0]
    faults = []
    if field.ragged != target.ragged:
        which = "inputs differ in length but targets do" if field.ragged else "targets differ in length but inputs do"
        faults.append(Fault("data.targets", f"{which} not, in {data.file}", remedy="give each step one target"))
    elif data.task in PER_POSITION:
        expected = () if field.ragged else field.shape[-1:] if data.input_kind == "series" else field.shape[:1]
        if target.shape != expected:
            faults.append(
                Fault("data.targets", "must hold one class for each step", value=target.shape, allowed=f"{expected}")
            )
    if faults:
        raise ConfigError(*faults)
