"""The few figures that a finished run draws into ``RUN/figures``."""

from __future__ import annotations

import torch

from hpc_dl.data.datamodule import HDF5DataModule
from hpc_dl.figures.drawing import at_end, draw
from hpc_dl.figures.subject import Subject
from hpc_dl.runs.checkpoints import Checkpoint
from hpc_dl.training.attempt import Attempt
from hpc_dl.training.console import say

_SECONDS = 0.5  # for reading the validation data, after the first batch


def draw_end_figures(attempt: Attempt, best: Checkpoint) -> None:
    """Draw the figures that say most about the run, from its best weights; never raises.

    The result is recorded already, and nothing is trained after this.
    """
    if not attempt.experiment.trainer.figures:
        return
    model, batches = attempt.model, attempt.batches
    with attempt.watchdog.phase("drawing the figures"):
        try:
            content = torch.load(best.path, weights_only=False, mmap=True)
            model.load_state_dict(content["state_dict"])
            model.to(attempt.trainer.strategy.root_device)
            if isinstance(batches, HDF5DataModule):
                subject = Subject(attempt.run, attempt.data, model, batches, _SECONDS)
            else:
                subject = Subject(attempt.run)
            paths = draw(subject, at_end(subject), attempt.run.figures)
            say(f"Figures in {attempt.run.figures}: {', '.join(path.name for path in paths)}")
        except Exception as error:
            say(f"The figures could not be drawn: {type(error).__name__}: {error}")
