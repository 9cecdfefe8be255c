"""The point at which a training resumes, read from its checkpoint and checked before its use."""

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
from hpc_dl.training.model_building import restores_itself

#: The key of a checkpoint under which hpc_dl stores what Lightning omits.
KEY = "hpc_dl"

_NEW_RUN = "start a new run with `hpc-dl train` or `submit`"
_MUST_AGREE = (
    ("data", "data.file", "differs from the data that the run was trained on so far"),
    ("seed", "seed", "differs from the run's seed"),
    ("global_batch_size", "data.batch_size", "changes the size of a batch over all ranks"),
)
_SAME_END = ("max_epochs", "max_steps")


@dataclass(frozen=True)
class ResumePoint:
    """Where and how a training resumes.

    Attributes:
        position: the point between two batches.
        complete: whether the training is done, so that only the test remains.
        progress: Lightning's counters.
        callbacks: states of the callbacks, by their keys.
    """

    position: Position
    complete: bool
    progress: dict[str, Any]
    callbacks: dict[str, Any]


def examine(start: Checkpoint, facts: Mapping[str, Any], model: pl.LightningModule) -> ResumePoint:
    """Return the point at which a checkpoint resumes the training, after checking that it fits.

    Args:
        start: an intact checkpoint of this run.
        facts: what this attempt would store in its own checkpoints.
        model: the module with fresh weights.

    Raises:
        RunError: it belongs to other data, another model or another global batch size; with all
            faults found.
    """
    # Our own file, from the run's own folder: a user's module may store more in it than plain
    # values.
    content = torch.load(start.path, weights_only=False, mmap=True, map_location="cpu")
    own = content[KEY]
    faults = [
        Fault(where, problem, value=facts[key], allowed=str(own[key]), remedy=_NEW_RUN)
        for key, where, problem in _MUST_AGREE
        if own[key] != facts[key]
    ]
    if not restores_itself(model) and (problem := _model_difference(content["state_dict"], model)):
        faults.append(Fault("model", f"does not fit {start.path.name}: {problem}", remedy=_NEW_RUN))
    if faults:
        raise RunError(*faults)
    complete = own["complete"] and all(own[key] == facts[key] for key in _SAME_END)
    return ResumePoint(Position(**own["position"]), complete, content["loops"]["fit_loop"], content["callbacks"])


def _model_difference(saved: dict[str, torch.Tensor], model: pl.LightningModule) -> str:
    """Describe how a model's weights differ from saved ones; empty when they fit."""
    own = model.state_dict()
    lazy = {name for name, value in own.items() if isinstance(value, (UninitializedParameter, UninitializedBuffer))}
    if missing := saved.keys() - own.keys():
        return f"it has no {min(missing)}"
    if new := own.keys() - saved.keys():
        return f"{min(new)} is new"
    other = [name for name in sorted(saved) if name not in lazy and saved[name].shape != own[name].shape]
    return f"{other[0]} was {tuple(saved[other[0]].shape)}, now {tuple(own[other[0]].shape)}" if other else ""
