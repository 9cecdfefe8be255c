"""Checks of the members of a sweep: their data, their models, their objective."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hpc_dl.cluster.prepare import check_model, with_data
from hpc_dl.config.experiment import Experiment
from hpc_dl.data.spec import DataSpec
from hpc_dl.errors import ConfigError, HpcDlError
from hpc_dl.learning.direction import known_direction
from hpc_dl.sweeps.members import Member
from hpc_dl.sweeps.points import described
from hpc_dl.training.monitored_metrics import known_metrics

Say = Callable[[str], None]

# The sections that decide whether a model can be built for its data and trained.
_CHECKED = ("data", "model", "loss", "metrics", "trainer", "checkpoint", "schedule", "resources")


def checked(
    members: list[Member], *, runs: Path, data_dir: Path | None, say: Say, try_batches: bool
) -> tuple[list[tuple[Experiment, DataSpec]], int]:
    """Check each different model and data set once; return each member's experiment and data."""
    said: set[str] = set()

    def say_once(line: str) -> None:
        if line not in said:
            said.add(line)
            say(line)

    opened: dict[str, tuple[Experiment, DataSpec]] = {}
    models: set[str] = set()
    result = []
    for member in members:
        content = member.experiment.to_dict()
        data_key = json.dumps([content["data"], content["model"].get("init_from")])
        model_key = json.dumps([content[section] for section in _CHECKED])
        try:
            if data_key not in opened:
                opened[data_key] = with_data(member.experiment, data_dir=data_dir, say=say_once, runs=runs)
            first, data = opened[data_key]
            model = member.experiment.model.model_copy(update={"init_from": first.model.init_from})
            resolved = replace(member.experiment, data=first.data, model=model)
            if model_key not in models:
                check_model(resolved, data, say=say_once, try_batches=try_batches)
                models.add(model_key)
        except HpcDlError as error:
            where = described(member.point)
            raise type(error)(
                *(replace(fault, where=f"{fault.where} (with {where})") for fault in error.faults)
            ) from None
        result.append((resolved, data))
    return result, len(models)


def check_objective(objective: str, experiment: Experiment, data: DataSpec) -> None:
    """Check that the objective is logged, as far as that is known before the training.

    Raises:
        ConfigError: nothing logs it.
    """
    known = known_metrics(experiment, data)
    if known is not None and objective not in known:
        raise ConfigError.at(
            "sweep.objective", "is not a metric of this task", value=objective, allowed=", ".join(known)
        )
    if known_direction(objective) is None:
        raise ConfigError.at(
            "sweep.objective",
            "it is not known whether lower or higher values are better",
            value=objective,
            remedy="log it under a name that says so, such as val/loss, val/…_error or val/…_score",
        )
