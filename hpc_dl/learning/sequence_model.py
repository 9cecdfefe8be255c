"""The LightningModule of every architecture that reads steps: tokens, sequences and series."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from hpc_dl.data.ragged import Ragged
from hpc_dl.data.spec import PER_POSITION, DataSpec, InputKind, TaskName
from hpc_dl.errors import ConfigError, Fault
from hpc_dl.learning.abilities import Ability
from hpc_dl.learning.recipe import TrainingRecipe
from hpc_dl.learning.supervised import Supervised
from hpc_dl.nn.sequences import StepEmbedding, pad, unpad
from hpc_dl.nn.token_sampling import draw_tokens

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

    @property
    def abilities(self) -> tuple[Ability, ...]:
        """A language model also generates text."""
        is_language_model = self.recipe.data.input_kind == "tokens" and predicts_next(self.recipe.data)
        return (*super().abilities, "generate text") if is_language_model else super().abilities

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

    @torch.no_grad()
    def generate(
        self, start: Tensor, steps: int, temperature: float = 1.0, seed: int = 0, top_k: int | None = None
    ) -> Tensor:
        """Continue a text: draw each next token from the predicted probabilities.

        Args:
            start: (B, T) int64 tokens of the text so far, T at least 1, on the module's device.
            steps: number of tokens to generate.
            temperature: see :func:`hpc_dl.nn.token_sampling.draw_tokens`.
            seed: seed of the random numbers.
            top_k: see :func:`hpc_dl.nn.token_sampling.draw_tokens`.

        Returns:
            (B, steps) int64 tokens.

        Raises:
            ConfigError: the network does not predict the next token, or the temperature is
                negative.
        """
        if "generate text" not in self.abilities:
            file = self.recipe.data.file
            raise ConfigError.at(
                "data.targets", f"of {file} are not the next tokens", remedy="set `targets: null` with `windows`"
            )
        if temperature < 0:
            raise ConfigError.at("temperature", "must not be negative", value=temperature)
        training = self.training
        self.eval()
        generator = torch.Generator(start.device).manual_seed(seed)
        generated: list[Tensor] = []
        tokens, memory = start, None
        for _ in range(steps):
            logits, memory = self.next_logits(tokens, memory)
            tokens = draw_tokens(logits, generator, temperature, top_k)
            generated.append(tokens)
        self.train(training)
        return torch.cat(generated, 1) if generated else start[:, :0]

    def next_logits(self, tokens: Tensor, memory: Any) -> tuple[Tensor, Any]:
        """Return the logits of the token after a text, (B, K), and what to remember of the text.

        Reads the text from its beginning for each token, at most as many tokens as a training
        sample has; a network with a state overrides this.

        Args:
            tokens: (B, T) that follow what was read before.
            memory: of what was read before; None at the beginning.
        """
        read = tokens if memory is None else torch.cat([memory, tokens], dim=1)
        read = read[:, -self.recipe.data.input_shape[0] :]
        logits: Tensor = self(read)[:, :, -1]
        return logits, read


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
