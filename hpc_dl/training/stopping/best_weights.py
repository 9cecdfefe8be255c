"""The best weights of a training, kept in memory while the disk has no space for them."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, Literal

import pytorch_lightning as pl
import torch

from hpc_dl.formatting import shortened
from hpc_dl.runs.checkpoints import Kind

Write = Callable[[Kind, int, Callable[[BinaryIO], None]], OSError | None]


class BestWeights:
    """The best weights so far; all ranks decide alike, rank 0 writes.

    Weights that could not be written stay in memory until they are: a checkpoint to resume from
    must not be newer than the best weights on disk, or a resumed run would not know them.

    Attributes:
        value: value of the monitored metric; NaN where nothing was monitored, ``None`` before
            anything was kept.
        step: optimizer steps done at that moment.
        mode: whether small or large values are better.
    """

    def __init__(self, mode: Literal["min", "max"], write: Write, say: Callable[[str], None], *, writes: bool) -> None:
        """Start without any weights.

        Args:
            mode: whether small or large values are better.
            write: writes a checkpoint on rank 0, and returns the error, if any, on all ranks.
            say: shows the user one line.
            writes: whether this is rank 0.
        """
        self.mode = mode
        self._write = write
        self._say = say
        self._writes = writes
        self._unwritten: bytes | None = None
        self._said_nan = False
        self._left_out: list[str] = []
        self.value: float | None = None
        self.step: int | None = None

    def consider(self, trainer: pl.Trainer, name: str, value: float) -> None:
        """Keep the present weights if their value of a metric is better than the best so far."""
        if math.isnan(value) and not self._said_nan:
            self._said_nan = True
            self._say(
                f"{name} is nan at step {trainer.global_step}: "
                "such weights count as the best only while there are no others."
            )
        if self.value is None or math.isnan(self.value):  # any number is better than none
            better = self.value is None or not math.isnan(value)
        else:
            better = value < self.value if self.mode == "min" else value > self.value
        if better:
            self.keep(trainer, value)

    def keep(self, trainer: pl.Trainer, value: float) -> None:
        """Keep the present weights."""
        checkpoint = trainer._checkpoint_connector.dump_checkpoint(weights_only=True)
        left_out = _leave_out_objects(checkpoint)
        if left_out != self._left_out:
            self._left_out = left_out
            self._say(
                f"The file with the best weights leaves out what is neither a plain value nor a tensor "
                f"({shortened(left_out, 3)}); it can be read without running code."
            )
        checkpoint["metrics"] = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.value, self.step = value, trainer.global_step
        self._unwritten = None
        if problem := self._write("best", self.step, lambda file: torch.save(checkpoint, file)):
            content = io.BytesIO()
            if self._writes:
                torch.save(checkpoint, content)
            self._unwritten = content.getvalue()
            self._say(f"The best weights, of step {self.step}, could not be written ({problem}); training continues.")

    def write_pending(self) -> OSError | None:
        """Retry writing weights that could not be written; return the error, if any."""
        content = self._unwritten
        if content is None or self.step is None:
            return None
        problem = self._write("best", self.step, lambda file: (file.write(content), None)[1])
        if problem is None:
            self._unwritten = None
        return problem

    def state_dict(self) -> dict[str, Any]:
        """The best value and its step, for a checkpoint."""
        return {"best": self.value, "best_step": self.step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the best value and its step from a checkpoint."""
        self.value, self.step = state["best"], state["best_step"]


_SAVED_ARGUMENTS = ("hyper_parameters", "datamodule_hyper_parameters")
_TYPE_OF_ARGUMENTS = "hparams_type"


def _leave_out_objects(checkpoint: dict[str, Any]) -> list[str]:
    """Remove saved hyperparameters that ``torch.load(weights_only=True)`` refuses; return names.

    A module's ``save_hyperparameters`` may save a path, a function or a network.
    """
    left_out = []
    for key in _SAVED_ARGUMENTS:
        saved = checkpoint.get(key)
        if not isinstance(saved, Mapping) or _is_plain(saved):
            continue
        plain = {str(name): value for name, value in saved.items() if _is_plain(value)}
        left_out += [str(name) for name in saved if str(name) not in plain]
        checkpoint[key] = plain
    if not _is_plain(checkpoint.get(_TYPE_OF_ARGUMENTS)):
        del checkpoint[_TYPE_OF_ARGUMENTS]  # OmegaConf's
    return left_out


def _is_plain(value: Any) -> bool:
    content = io.BytesIO()
    try:
        torch.save(value, content)
        content.seek(0)
        torch.load(content, weights_only=True)
    except Exception:  # what pickle raises depends on the object
        return False
    return True
