"""The experiment as it is rehearsed: the same, but short."""

from __future__ import annotations

from hpc_dl.cluster import signal_lead
from hpc_dl.config.experiment import Experiment
from hpc_dl.errors import ConfigError
from hpc_dl.training.stopping.rehearsal import PATIENCE_S

#: Optimizer steps of a rehearsal, those before the signal, and those of an epoch: the signal comes
#: in the middle of the second epoch, between two validations.
STEPS, STEPS_BEFORE_SIGNAL, STEPS_PER_EPOCH = 20, 10, 8
_MINUTES = 30  # a short job spends less time in the queue, and a stalled one ends soon
_EVALUATION_BATCHES = 2


def shortened(experiment: Experiment) -> Experiment:
    """Return the experiment to rehearse, which differs only in its length and its reports.

    Raises:
        ConfigError: the experiment allows no requeues.
    """
    if experiment.resources.max_requeues == 0:
        raise ConfigError.at(
            "resources.max_requeues",
            "must not be 0 in a rehearsal: the job would not be requeued",
            value=0,
            allowed="1 or more",
        )
    raw = experiment.to_dict()
    trainer, resources = raw["trainer"], raw["resources"]
    raw["name"] = signal_lead.rehearsal_name(experiment.name)
    trainer |= {
        "max_epochs": None,
        "max_steps": STEPS,
        "limit_train_batches": STEPS_PER_EPOCH * trainer["accumulate_grad_batches"],
        "limit_val_batches": _EVALUATION_BATCHES,
        "limit_test_batches": _EVALUATION_BATCHES,
        "val_check_interval": 1.0,
        "check_val_every_n_epoch": 1,
        "log_every_n_steps": 1,
    }
    if trainer["stall_timeout"] is not None:  # the wait for the signal must not count as a stall
        trainer["stall_timeout"] = max(trainer["stall_timeout"], 2 * PATIENCE_S / 60)
    resources["time"] = min(experiment.resources.minutes, _MINUTES)
    raw["checkpoint"]["every"] = "auto"
    raw["wandb"]["mode"] = "disabled"
    return Experiment.from_dict(raw)
