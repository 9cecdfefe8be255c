"""Looking into the checkpoint that a training is to go on from, before anything is built on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from hpc_dl.errors import Fault, RunError
from hpc_dl.runs.checkpoints import Checkpoint
from hpc_dl.training.lightning.epoch_loop import Position

#: Under this key a checkpoint holds what Lightning leaves out.
KEY = "hpc_dl"

_NEW_RUN = "begin a new run with `hpc-dl train` or `submit`"
_MUST_AGREE = (
    ("data", "data.file", "has another content than the data that the run has learned from so far"),
    ("seed", "seed", "is not the run's"),
    (
        "global_batch_size",
        "data.batch_size",
        "gives a batch over all ranks another size than the run's",
    ),
)
_SAME_END = ("max_epochs", "max_steps")


@dataclass(frozen=True)
class Entry:
    """Where and how a training goes on.

    Attributes:
        position: between which batches.
        complete: nothing is left to train, only to test.
        progress: Lightning's counters.
        callbacks: states of the callbacks, by their keys.
    """

    position: Position
    complete: bool
    progress: dict[str, Any]
    callbacks: dict[str, Any]


def examine(start: Checkpoint, facts: Mapping[str, Any], model: pl.LightningModule) -> Entry:
    """Find out where a checkpoint enters the training, and whether it belongs to it at all.

    Args:
        start: a whole checkpoint of this run.
        facts: what this attempt would put into its own checkpoints.
        model: the module with fresh weights.

    Raises:
        RunError: it belongs to other data, to another model or another global batch; with all
            faults found.
    """
    # Our own file, from the run's own folder: a user's module may keep more in it than plain
    # values.
    content = torch.load(start.path, weights_only=False, mmap=True, map_location="cpu")
    own = content[KEY]
    faults = [
        Fault(where, problem, value=facts[key], allowed=str(own[key]), remedy=_NEW_RUN)
        for key, where, problem in _MUST_AGREE
        if own[key] != facts[key]
    ]
    if problem := _misfit(content["state_dict"], model):
        faults.append(Fault("model", f"does not fit {start.path.name}: {problem}", remedy=_NEW_RUN))
    if faults:
        raise RunError(*faults)
    complete = own["complete"] and all(own[key] == facts[key] for key in _SAME_END)
    return Entry(Position(**own["position"]), complete, content["loops"]["fit_loop"], content["callbacks"])


def _misfit(saved: dict[str, torch.Tensor], model: pl.LightningModule) -> str:
    """How a model's weights differ from saved ones, in words; empty when they fit."""
    own = model.state_dict()
    lazy = {name for name, value in own.items() if isinstance(value, (UninitializedParameter, UninitializedBuffer))}
    if missing := saved.keys() - own.keys():
        return f"it has no {min(missing)}"
    if new := own.keys() - saved.keys():
        return f"{min(new)} is new"
    other = [name for name in sorted(saved) if name not in lazy and saved[name].shape != own[name].shape]
    return f"{other[0]} was {tuple(saved[other[0]].shape)}, now {tuple(own[other[0]].shape)}" if other else ""
