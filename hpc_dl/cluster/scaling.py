"""A scaling test: the same work on several shapes, and the table that HPC centers ask for."""

from __future__ import annotations

import dataclasses
import math
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hpc_dl.cluster.follow import follow_runs, has_ended
from hpc_dl.cluster.launch import INTERRUPTED, launch
from hpc_dl.cluster.prepare import check, create
from hpc_dl.cluster.status import cancel, status
from hpc_dl.cluster.submit import submit_run, uses_slurm
from hpc_dl.config.resources import Resources
from hpc_dl.data.own_data_config import OwnLoadersConfig
from hpc_dl.errors import ConfigError, HpcDlError, RunError
from hpc_dl.learning.schedules import WithWarmup
from hpc_dl.models.custom import CustomModelConfig
from hpc_dl.regular_files import read_json
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import read_state
from hpc_dl.training.step_times import step_times_file

if TYPE_CHECKING:
    from hpc_dl.cluster.site import SiteProfile
    from hpc_dl.config.experiment import Experiment

LrRule = Literal["none", "linear", "sqrt"]
GOOD_EFFICIENCY = 0.7  # what most centers ask for at least
_MUCH_WAITING = 0.15  # of the time
_WARMUP = 0.1  # of the steps


@dataclass(frozen=True)
class Measurement:
    """What one shape achieved.

    Attributes:
        resources: the shape.
        run: the name of its run.
        lr: its learning rate; ``None`` for a module with its own optimizer.
        batch: samples of a step, on all ranks together.
        step_s: median time of a step.
        data: share of the time in which rank 0 waited for data.
        communication: share in which it waited for other ranks.
        speedup: samples per second, relative to the smallest shape.
        efficiency: the speed-up divided by how many times as many ranks there are.
    """

    resources: Resources
    run: str
    lr: float | None
    batch: int
    step_s: float
    data: float
    communication: float
    speedup: float
    efficiency: float

    @property
    def ranks(self) -> int:
        """Ranks of the shape."""
        return self.resources.world_size

    def facts(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        shape = {"nodes": self.resources.nodes, "gpus_per_node": self.resources.gpus_per_node, "ranks": self.ranks}
        own = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "resources"}
        return shape | own | {"samples_per_s": self.batch / self.step_s}


def shapes(resources: Resources, nodes: Sequence[int], gpus: Sequence[int]) -> list[Resources]:
    """Return each combination of nodes and GPUs per node, the fewest ranks first.

    The memory of a node is shared out as in the experiment: as much for each rank.

    Args:
        resources: of the experiment.
        nodes: numbers of nodes.
        gpus: numbers of GPUs on each node; with ``trainer.accelerator: cpu`` ranks on its CPUs.
    """
    per_rank_mib = resources.memory_gib * 1024 / resources.ranks_per_node
    combinations = {(n, g) for n in nodes for g in gpus}
    found = [
        resources.model_copy(
            update={"nodes": n, "gpus_per_node": g, "memory": f"{math.ceil(per_rank_mib * max(1, g))}M"}
        )
        for n, g in combinations
    ]
    return sorted(found, key=lambda shape: (shape.world_size, shape.nodes))


def experiments(
    experiment: Experiment, found: Sequence[Resources], *, steps: int, weak: bool, lr_rule: LrRule
) -> list[Experiment]:
    """Return the experiment on each shape: nothing but ``steps`` training steps, no W&B.

    Strong scaling keeps the batch over all ranks, so that all shapes do the same steps; weak
    scaling keeps the batch of each rank.

    Args:
        experiment: the experiment.
        found: the shapes, the smallest first.
        steps: optimizer steps of each.
        weak: whether to scale weakly.
        lr_rule: how the learning rate follows the batch over all ranks: ``linear`` (Goyal et al.,
            2017), ``sqrt`` (Krizhevsky, 2014); with a warm-up where the schedule has one.

    Raises:
        ConfigError: the batch cannot be divided among the ranks, or is set by a user's own loaders;
            or the model has an optimizer of its own, whose rate no rule can change.
    """
    if isinstance(experiment.data, OwnLoadersConfig):
        raise ConfigError.at("data", "come from loaders that set their own batch size, which scaling must set")
    batch = experiment.batch_size_per_device * found[0].world_size
    if uneven := [shape.world_size for shape in found if batch % shape.world_size and not weak]:
        raise ConfigError.at(
            "data.batch_size",
            f"makes a batch of {batch} over the {found[0].world_size} ranks of the smallest shape, which cannot be "
            "divided among those of the others",
            value=", ".join(map(str, uneven)),
            remedy="choose another batch size, or use --weak",
        )
    if lr_rule != "none" and isinstance(experiment.model, CustomModelConfig):
        raise ConfigError.at("model.class", "has an optimizer of its own, whose rate --lr-rule cannot change")
    return [_on(shape, experiment, batch, found[0].world_size, steps, weak, lr_rule) for shape in found]


def measure(
    planned: Sequence[Experiment],
    site: SiteProfile,
    *,
    runs: Path,
    data_dir: Path | None,
    command: list[str],
    say: Callable[[str], None],
) -> list[RunFolder]:
    """Run the shapes: on Slurm all of them as jobs, on this machine one after another.

    Args:
        planned: the experiments.
        site: the site profile.
        runs: folder of all runs.
        data_dir: folder of the shipped data sources; ``None`` for the default.
        command: the command line, for the provenance.
        say: prints one line for the user.

    Returns:
        Their runs, finished.

    Raises:
        HpcDlError: a shape cannot run, or one failed; the others are cancelled, also by Ctrl-C.
    """
    checked = []
    for experiment in planned:
        site.check(experiment)
        checked.append(check(experiment, data_dir=data_dir, say=say, runs=runs))
    on_slurm = uses_slurm(site)
    if not on_slurm and any(experiment.resources.nodes > 1 for experiment in planned):
        raise ConfigError.at("--nodes", "several nodes need Slurm", allowed="1 on this machine")
    folders: list[RunFolder] = []
    try:
        folders += (create(resolved, data, runs=runs, command=command) for resolved, data, _ in checked)
        for run, experiment in zip(folders, planned, strict=True):
            if on_slurm:
                facts = submit_run(run, experiment, site, data_dir)
                say(f"Submitted {run.name} (Slurm job {facts['job_id']})")
            else:
                say(f"Running {run.name}")
                exit_status = launch(run, experiment, foreground=False, in_process=False)
                if exit_status == INTERRUPTED or read_state(run).get("cause") == "interrupt":
                    raise KeyboardInterrupt
                _check_finished(run, status(run))
        if on_slurm:
            _wait(folders, say)
    except BaseException:
        for run in folders:
            with suppress(HpcDlError):
                cancel(run) if run.job.exists() else shutil.rmtree(run.path, ignore_errors=True)
        raise
    return folders


def measurements(runs: Sequence[RunFolder], planned: Sequence[Experiment]) -> list[Measurement]:
    """Return what the shapes achieved; the first is the reference.

    Raises:
        RunError: a run has measured nothing.
    """
    found: list[Measurement] = []
    for run, experiment in zip(runs, planned, strict=True):
        times = read_json(step_times_file(run))
        keys = ("step_s", "data", "communication")
        if not isinstance(times, dict) or not all(isinstance(times.get(key), float | int) for key in keys):
            raise RunError.at(run.name, "has measured no steps", remedy="use more --steps")
        rate = (batch := experiment.batch_size_per_device * experiment.resources.world_size) / times["step_s"]
        first = next(iter(found), None)
        speedup = rate / (first.batch / first.step_s) if first else 1.0
        more = experiment.resources.world_size / first.ranks if first else 1.0
        lr = None if isinstance(experiment.model, CustomModelConfig) else experiment.optimizer.lr
        waiting = {key: float(times[key]) for key in keys}
        found.append(
            Measurement(
                experiment.resources, run.name, lr, batch, **waiting, speedup=speedup, efficiency=speedup / more
            )
        )
    return found


def recommendation(found: Sequence[Measurement]) -> str:
    """Say which shape to use, and what limits the larger ones."""
    good = [each for each in found if each.efficiency >= GOOD_EFFICIENCY]
    best = max(good, key=lambda each: (each.speedup, -each.ranks))
    text = (
        f"Use resources.nodes={best.resources.nodes} resources.gpus_per_node={best.resources.gpus_per_node}: the "
        f"fastest shape with an efficiency of at least {GOOD_EFFICIENCY:.0%}."
    )
    worst = min(found, key=lambda each: each.efficiency)
    if worst.efficiency >= GOOD_EFFICIENCY:
        return f"{text} Larger shapes may pay as well."
    causes = {
        "data (more resources.cpus_per_gpu, `hpc-dl data bench`)": worst.data,
        "other ranks (a larger batch on each, fewer nodes)": worst.communication,
    }
    limits = [f"{share:.0%} of the time for {cause}" for cause, share in causes.items() if share > _MUCH_WAITING]
    if limits:
        return f"{text} With {worst.ranks} ranks, rank 0 waits {' and '.join(limits)}."
    return f"{text} With {worst.ranks} ranks, each has too little work for a step."


def _on(
    shape: Resources,
    experiment: Experiment,
    batch: int,
    fewest: int,
    steps: int,
    weak: bool,
    lr_rule: LrRule,
) -> Experiment:
    """The experiment on one shape."""
    per_rank = batch // fewest if weak else batch // shape.world_size
    factor = per_rank * shape.world_size / batch
    changes: dict[str, Any] = {}
    if lr_rule != "none" and factor != 1:
        lr = experiment.optimizer.lr * (factor if lr_rule == "linear" else math.sqrt(factor))
        changes["optimizer"] = experiment.optimizer.model_copy(update={"lr": lr})
        if isinstance(experiment.schedule, WithWarmup):
            warmup = max(experiment.schedule.warmup_steps, round(_WARMUP * steps))
            changes["schedule"] = experiment.schedule.model_copy(update={"warmup_steps": warmup})
    return dataclasses.replace(
        experiment.with_steps_only(steps, f"{shape.nodes}x{shape.gpus_per_node}", step_times=True),
        data=experiment.data.model_copy(update={"batch_size": per_rank, "global_batch_size": None}),
        resources=shape,
        **changes,
    )


def _wait(runs: Sequence[RunFolder], say: Callable[[str], None]) -> None:
    """Wait until all runs have finished; raise an error as soon as one ends otherwise."""
    reported: dict[RunFolder, str] = {}
    for rows in follow_runs(runs):
        for run, facts in zip(runs, rows, strict=True):
            if reported.get(run) != facts["state"]:
                reported[run] = facts["state"]
                say(f"[{facts['state']}] {run.name}")
            if has_ended(facts):
                _check_finished(run, facts)


def _check_finished(run: RunFolder, facts: dict[str, Any]) -> None:
    if facts["state"] != "finished":
        reason = facts.get("reason", "no reason was recorded")
        raise RunError.at(run.name, f"{facts['state']}: {reason}", remedy=f"see {run.log(0)}")
