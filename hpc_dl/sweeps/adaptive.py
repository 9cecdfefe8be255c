"""Sweeps whose points are chosen when their tasks start, by what is known of the others by then.

``python -m hpc_dl.sweeps.adaptive RUN`` gives a member its point before it trains. It also records
the results of ended members in the study. Repeating either changes nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpc_dl.atomic_files import write_text
from hpc_dl.config import overrides, yaml
from hpc_dl.config.experiment import Experiment
from hpc_dl.errors import ConfigError, HpcDlError, RunError
from hpc_dl.learning.direction import direction
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.run_files import read_result
from hpc_dl.runs.state import ENDED, read_state, record_failure
from hpc_dl.schema import parse
from hpc_dl.studies.trial_file import RunTrial, read_trial
from hpc_dl.sweeps.config import Parameter, SweepConfig
from hpc_dl.sweeps.folder import SweepFolder
from hpc_dl.sweeps.members import Member
from hpc_dl.sweeps.points import Point, applies, check_conditions, conditional_last

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

    from hpc_dl.studies.study import Outcome, Study

_NAME_DIGITS = 12
_NOT_OF_THE_STUDY = {"trials", "repeats", "parallel", "per_task", "side_by_side"}


def check_installed(method: str) -> None:
    """Check that Optuna is installed.

    Raises:
        ConfigError: it is not.
    """
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise ConfigError.at(
            "sweep.method", "needs Optuna", value=method, remedy="install it: pip install 'hpc_dl[sweep]'"
        ) from None


def study_name(base: str, config: SweepConfig) -> str:
    """Return the name of the study; more trials or repeats continue it.

    Args:
        base: signature of the experiment, its data and code.
        config: the section.
    """
    varied = config.model_dump(mode="json", exclude=_NOT_OF_THE_STUDY)
    text = json.dumps([base, varied], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_NAME_DIGITS]


def probes(parameters: Mapping[str, Parameter], base: Mapping[str, Any]) -> list[Point]:
    """Return points that contain each listed value and both ends of each range once.

    Which points a sweep will have is not known before it runs; these are checked instead.

    Args:
        parameters: what is varied.
        base: the experiment, for conditions on settings that do not vary.

    Raises:
        ConfigError: a condition can never be met.
    """
    check_conditions(parameters, base)
    ordered = conditional_last(parameters)
    points = []
    for key, parameter in ordered:
        for value in parameter.extremes:
            wanted = {**_needed(key, parameters), key: value}
            point: Point = {}
            for other, its in ordered:
                if applies(its, point, base):
                    point[other] = wanted.get(other, its.extremes[0])
            points.append(point)
    return points


def members_of_study(base: Experiment, config: SweepConfig) -> list[Member]:
    """Return the members: all seeds of the first point, then the next point.

    Args:
        base: the experiment, with its data resolved.
        config: the section.
    """
    assert config.trials is not None
    base = replace(base, trainer=base.trainer.model_copy(update={"figures": False}))
    return [
        Member({}, seed, replace(base, seed=seed), trial=number)
        for number in range(config.trials)
        for seed in range(base.seed, base.seed + config.repeats)
    ]


def trial_of(member: Member, study: str, config: SweepConfig) -> RunTrial:
    """Return what a member's run folder says about its point."""
    assert member.trial is not None
    pruning = {"min_epochs": config.min_epochs, "reduction_factor": config.reduction_factor}
    return RunTrial(study, member.trial, config.objective, pruning if config.method == "asha" else None)


def propose(run: RunFolder) -> None:
    """Give a member its point, unless it has one, and bring the study up to date.

    Raises:
        HpcDlError: the point is no valid experiment, or a file is damaged.
    """
    trial = read_trial(run)
    if trial is None:
        return
    sweep = SweepFolder(run.path.parent)
    raw = yaml.load(sweep.study(trial.study))
    if not isinstance(raw, dict):
        raise RunError.at(sweep.study(trial.study), "is damaged", remedy="start the sweep again")
    config = parse(SweepConfig, raw.pop("sweep", None), "sweep")
    study = open_study(sweep, trial.study, config, trial.number)
    synchronize(sweep, study, trial.study)
    if trial.point is not None:
        return
    provisional = Experiment.from_dict(yaml.load(run.config))
    parameters, base = conditional_last(config.parameters), Experiment.from_dict(raw).to_dict()
    point = study.ask(trial.number, lambda of: suggested(of, parameters, base))
    experiment = Experiment.from_dict(overrides.assigned(raw, point))
    resolved = replace(
        experiment,
        seed=provisional.seed,
        trainer=experiment.trainer.model_copy(update={"figures": False}),
        data=experiment.data.model_copy(update={"source": None, "file": provisional.data.file}),
        model=experiment.model.model_copy(update={"init_from": provisional.model.init_from}),
    )
    write_text(run.config, yaml.dumps(resolved.to_dict()))
    replace(trial, point=point).write(run)


def open_study(sweep: SweepFolder, name: str, config: SweepConfig, number: int = 0) -> Study:
    """Open a study, or begin it.

    Args:
        sweep: its sweep.
        name: of the study.
        config: the section.
        number: of the point that will be asked for; decides the seed of the draws.
    """
    from optuna.samplers import RandomSampler

    from hpc_dl.studies.study import Study, tpe

    seed = int(np.random.SeedSequence([config.seed, number]).generate_state(1)[0])
    sampler = tpe(seed) if config.method == "tpe" else RandomSampler(seed)
    return Study(sweep.path, name, direction(config.objective, "auto"), sampler)


def synchronize(sweep: SweepFolder, study: Study, name: str) -> None:
    """Record the results of points in a study once their members have all ended.

    Args:
        sweep: its sweep.
        study: the study.
        name: of the study.
    """
    unfinished = study.unfinished()
    runs: dict[int, list[RunFolder]] = {}
    objective = ""
    for run in sweep.runs():
        trial = read_trial(run)
        if trial is not None and trial.study == name and trial.number in unfinished:
            objective = trial.objective
            runs.setdefault(trial.number, []).append(run)
    outcomes = {number: _outcome(members, objective) for number, members in runs.items()}
    study.tell({number: outcome for number, outcome in outcomes.items() if outcome is not None})


def _outcome(runs: Sequence[RunFolder], objective: str) -> Outcome | None:
    """What came of a point, judged by the mean of its seeds; ``None`` while one may still train."""
    values, states = [], set()
    for run in runs:
        state = read_state(run)["state"]
        if run.cancelled.exists() and state != "finished":
            state = "cancelled"
        if state not in ENDED or state == "stopped":
            return None
        states.add(state)
        value = read_result(run).get("metrics", {}).get(objective) if state == "finished" else None
        if isinstance(value, int | float) and math.isfinite(value):
            values.append(float(value))
        elif value is not None:
            states.add("diverged")
    if values:
        return math.fsum(values) / len(values)
    return "pruned" if states & {"pruned", "diverged"} else "failed"


def suggested(trial: BaseTrial, parameters: list[tuple[str, Parameter]], base: Mapping[str, Any]) -> Point:
    """Return the point of a trial.

    Args:
        trial: of the study.
        parameters: each after those that its condition names.
        base: the experiment, for conditions on settings that do not vary.
    """
    point: Point = {}
    for key, parameter in parameters:
        if applies(parameter, point, base):
            point[key] = _value(trial, key, parameter)
    return point


def _value(trial: BaseTrial, key: str, parameter: Parameter) -> Any:
    if (listed := parameter.listed) is not None:
        # As JSON, since Optuna keeps only scalars, and takes 1 and True for the same.
        choices = {json.dumps(value): value for value in listed}
        return choices[str(trial.suggest_categorical(key, list(choices)))]
    if parameter.integer is not None:
        return trial.suggest_int(key, *parameter.integer)
    if parameter.uniform is not None:
        return trial.suggest_float(key, *parameter.uniform)
    assert parameter.log_uniform is not None
    return trial.suggest_float(key, *parameter.log_uniform, log=True)


def _needed(key: str, parameters: Mapping[str, Parameter]) -> Point:
    """The values of other parameters under which one applies."""
    needed: Point = {}
    for other, value in parameters[key].when.items():
        if other in parameters:
            needed |= {**_needed(other, parameters), other: value}
    return needed


def main() -> int:
    """``python -m hpc_dl.sweeps.adaptive RUN``; a run that gets no point has failed."""
    run = RunFolder(Path(sys.argv[1]))
    try:
        propose(run)
    except Exception as error:
        print(error if isinstance(error, HpcDlError) else traceback.format_exc(), file=sys.stderr)
        with contextlib.suppress(HpcDlError, OSError):
            trial = read_trial(run)
            if trial is not None and trial.point is not None:
                return 0  # it trains nevertheless; the next task records the results
        record_failure(run, error, rank=0)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
