"""The plan of a chain: every step checked before anything is created."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hpc_dl.chains.config import INIT_FROM, ChainConfig, EvaluateStep, ExportStep, Step, TrainStep, earlier, model_of
from hpc_dl.cluster.prepare import check
from hpc_dl.config import experiment_file
from hpc_dl.config.experiment import Experiment
from hpc_dl.config.overrides import assigned
from hpc_dl.config.resources import Resources
from hpc_dl.data.spec import DataSpec
from hpc_dl.errors import ConfigError, Fault, HpcDlError, RunError
from hpc_dl.inference.output_file import check_output
from hpc_dl.schema import parse

if TYPE_CHECKING:
    from hpc_dl.cluster.site import SiteProfile

Say = Callable[[str], None]


@dataclass(frozen=True)
class PlannedStep:
    """A step that has been checked.

    Attributes:
        name: of the step.
        config: its part of the YAML file.
        experiment: what is trained, or was trained by the step whose model it uses; with its name
            and resources, the data resolved, and without the weights of another step.
        data: the data.
        model: the step whose weights it uses.
        earlier: the steps that must finish before.
    """

    name: str
    config: Step
    experiment: Experiment
    data: DataSpec
    model: str | None
    earlier: list[str]


def plan(
    chain: ChainConfig,
    folder: Path,
    site: SiteProfile,
    *,
    runs: Path,
    data_dir: Path | None,
    say: Say,
    try_batches: bool = False,
) -> list[PlannedStep]:
    """Check all steps; writes nothing but missing data.

    Args:
        chain: the chain.
        folder: of its YAML file, for the paths in it.
        site: the site profile, for its limits.
        runs: folder of all runs.
        data_dir: folder of the shipped data sources; ``None`` for the default.
        say: prints one line for the user.
        try_batches: whether to run batches through a user's own modules.

    Raises:
        ConfigError: with all faults of all steps, each with the step's name.
    """
    planned: dict[str, PlannedStep] = {}
    faults: list[Fault] = []
    for name, step in chain.steps.items():
        if any(other not in planned for other in earlier(step)):
            continue  # an earlier step has faults, which are reported
        try:
            if isinstance(step, TrainStep):
                experiment, data = _training(chain, name, step, folder, runs, data_dir, say, try_batches)
            else:
                used = planned[model_of(step) or ""]
                experiment, data = _use(chain, name, step, used), used.data
            site.check(experiment)
            planned[name] = PlannedStep(name, step, experiment, data, model_of(step), earlier(step))
            _check_weights(planned[name], planned)
        except HpcDlError as error:
            faults += [dataclasses.replace(fault, where=f"steps.{name}: {fault.where}") for fault in error.faults]
    outputs = [step.out for step in chain.steps.values() if isinstance(step, ExportStep)]
    if len(set(outputs)) < len(outputs):
        faults.append(Fault("steps", "two steps export to the same file", value=", ".join(outputs)))
    if faults:
        raise ConfigError(*faults)
    return list(planned.values())


def _training(
    chain: ChainConfig,
    name: str,
    step: TrainStep,
    folder: Path,
    runs: Path,
    data_dir: Path | None,
    say: Say,
    try_batches: bool,
) -> tuple[Experiment, DataSpec]:
    beside = folder / step.train
    raw, _ = experiment_file.read(beside if beside.exists() else Path(step.train), (), say)
    own = dict(step.set)
    if model_of(step) is not None:  # weights that do not exist yet, also instead of those that the file names
        own[INIT_FROM] = None
    own.setdefault("name", f"{chain.name}-{name}")  # that of the file is the same for several steps
    experiment = Experiment.from_dict(assigned(raw, own))
    resolved, data, _ = check(experiment, data_dir=data_dir, say=say, runs=runs, try_batches=try_batches)
    return resolved, data


def _use(chain: ChainConfig, name: str, step: EvaluateStep | ExportStep, used: PlannedStep) -> Experiment:
    """The experiment of a step that trains nothing: that of the model, on one device."""
    if isinstance(step, EvaluateStep) and used.data.file and step.split not in used.data.sizes:
        raise ConfigError.at(
            "split", "the data have no such split", value=step.split, allowed=", ".join(used.data.sizes)
        )
    if isinstance(step, ExportStep):
        check_output(Path(step.out), force=step.force)
    given = used.experiment.resources
    one_device = given.model_dump() | {"nodes": 1, "gpus_per_node": min(1, given.gpus_per_node)}
    resources = parse(Resources, one_device | step.resources, "resources")
    if resources.world_size > 1:
        raise ConfigError.at("resources", "an evaluation or export uses one device", value=resources.world_size)
    return dataclasses.replace(used.experiment, name=f"{chain.name}-{name}", resources=resources)


def _check_weights(step: PlannedStep, planned: Mapping[str, PlannedStep]) -> None:
    """Check that a training can start from the weights of another step, as far as that is known."""
    if step.model is None or not isinstance(step.config, TrainStep):
        return
    other = planned[step.model]
    if step.experiment.model.import_paths or other.experiment.model.import_paths:
        return  # a user's own code may do anything when it is built
    import torch

    from hpc_dl.training.model_building import build_model

    with torch.device("meta"):
        own, saved = (build_model(of.experiment, of.data).state_dict() for of in (step, other))
    if not any(name in saved and saved[name].shape == value.shape for name, value in own.items()):
        raise RunError.at(
            INIT_FROM,
            "no weight of that step matches this model in name and shape",
            value=f"@{step.model}",
            remedy="use the same architecture and width",
        )
