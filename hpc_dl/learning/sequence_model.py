"""The LightningModule of every architecture that reads steps: tokens, sequences and series."""

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

#: The inputs and tasks of these architectures.
SEQUENCE_INPUTS: tuple[InputKind, ...] = ("series", "sequence", "tokens")
SEQUENCE_TASKS: tuple[TaskName, ...] = (
    "classification",
    "multilabel",
    "regression",
    "sequence_labeling",
    "language_modeling",
)


class SequenceModel(Supervised):
    """A network that reads the steps of a sample.

    A subclass builds its layers on vectors of size ``self.steps.size`` and maps them to outputs in
    :meth:`forward_steps`: ``self.num_outputs`` numbers for each step if ``self.per_step``, else for
    each sample.

    Attributes:
        per_step: whether each step has a target (many-to-many) or each sample (many-to-one).
        num_outputs: outputs of a step, or of a sample.
        steps: the layer that turns each step into a vector.
    """

    def __init__(self, recipe: TrainingRecipe, embedding: int, vocabulary: int | None = None) -> None:
        """Determine what a step is.

        Args:
            recipe: task, optimizer and schedule, with the specification of the data.
            embedding: size of the vector of a token.
            vocabulary: number of different tokens, where the data do not define it.

        Raises:
            ConfigError: the targets do not match the steps, or the vocabulary is unknown.
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
    def forward_steps(self, steps: Tensor, lengths: Tensor | None) -> Tensor:
        """Map the steps of a batch to outputs.

        Args:
            steps: (B, T, ``self.steps.size``).
            lengths: (B,) number of steps of each sample, the steps after them are padding; None
                where all samples have T steps.

        Returns:
            (B, T, num_outputs) if ``self.per_step``, else (B, num_outputs).
        """

    def forward(self, x: Tensor | Ragged) -> Tensor:
        """Map samples to outputs.

        Args:
            x: series (B, C, T); windows of a stream (B, T, …) or, for tokens, (B, T); or samples of
                different lengths, (total steps, …).

        Returns:
            (B, K) for a target per sample. For a target per step: classes (B, K, T), values (B, T *
            K), and (total steps, K) for samples of different lengths.
        """
        if isinstance(x, Ragged):
            values, lengths = pad(x.values, x.offsets)
            outputs = self.forward_steps(self.steps(values), lengths)
            return unpad(outputs, lengths) if self.per_step else outputs
        series = self.recipe.data.input_kind == "series"
        outputs = self.forward_steps(self.steps(x.transpose(1, 2) if series else x), None)
        if not self.per_step:
            return outputs
        return outputs.transpose(1, 2) if self.recipe.data.task in PER_POSITION else outputs.flatten(1)


def has_step_targets(data: DataSpec) -> bool:
    """Whether each step has its own target."""
    target = data.targets[0]
    return data.task in PER_POSITION or target.ragged or target.window is not None


def predicts_next(data: DataSpec) -> bool:
    """Whether the targets are later steps of the inputs, which the network must not see."""
    return any(target.window is not None and target.window.shift > 0 for target in data.targets)


def _num_features(data: DataSpec) -> int:
    field = data.inputs[0]
    if data.input_kind == "series":
        return data.num_channels
    return math.prod(field.shape if field.window is None else field.shape[1:])


def _vocabulary(data: DataSpec, configured: int | None) -> int:
    """Return the number of different tokens."""
    if configured is not None:
        return configured
    if predicts_next(data) and data.task in PER_POSITION:  # the targets are tokens of the same vocabulary
        return data.num_outputs
    if data.input_dtype == "uint8":
        return 256
    raise ConfigError.at(
        "model.vocabulary",
        f"is required: {data.file} does not define the number of different tokens",
        remedy="set it to the largest token of the training split, plus 1",
    )


def _check_targets(data: DataSpec) -> None:
    """Check that there is one target for each step."""
    if not has_step_targets(data):
        return
    field, target = data.inputs[0], data.targets[0]
    faults = []
    if field.ragged != target.ragged:
        mismatch = (
            "inputs differ in length but targets do" if field.ragged else "targets differ in length but inputs do"
        )
        faults.append(Fault("data.targets", f"{mismatch} not, in {data.file}", remedy="store one target per step"))
    elif data.task in PER_POSITION:
        expected = () if field.ragged else field.shape[-1:] if data.input_kind == "series" else field.shape[:1]
        if target.shape != expected:
            faults.append(
                Fault("data.targets", "must contain one class for each step", value=target.shape, allowed=f"{expected}")
            )
    if faults:
        raise ConfigError(*faults)
