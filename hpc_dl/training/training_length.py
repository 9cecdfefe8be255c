"""The length of a training, in batches per epoch and in optimizer steps."""

from __future__ import annotations

import math

from hpc_dl.config.experiment import Experiment
from hpc_dl.data.spec import DataSpec


def batches_per_epoch(experiment: Experiment, data: DataSpec) -> int:
    """The number of training batches per rank and epoch, after ``limit_train_batches``.

    0 for a module with its own loaders: it is not known before they exist.
    """
    if not data.file:
        return 0
    limit = experiment.trainer.limit_train_batches
    batches = data.sizes["train"] // (experiment.batch_size_per_device * experiment.resources.world_size)
    return min(batches, limit) if isinstance(limit, int) else int(batches * limit)


def steps_per_epoch(experiment: Experiment, data: DataSpec) -> int:
    """The number of optimizer steps of an epoch; 0 where :func:`batches_per_epoch` is."""
    return math.ceil(batches_per_epoch(experiment, data) / experiment.trainer.accumulate_grad_batches)


def total_steps(experiment: Experiment, data: DataSpec) -> int:
    """The number of optimizer steps of the whole training, without early stopping."""
    config = experiment.trainer
    steps = config.max_steps or math.inf
    if config.epochs != -1:
        assert config.epochs is not None
        steps = min(steps, config.epochs * steps_per_epoch(experiment, data))
    return int(steps)
