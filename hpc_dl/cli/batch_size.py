"""``hpc-dl batch-size``: the largest and the fastest batch size of a device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hpc_dl.cli.arguments import AsJson, Config, DataDir, Overrides, RunsDir

if TYPE_CHECKING:
    from hpc_dl.cluster.batch_size import Trial


def batch_size(
    config: Config,
    overrides: Overrides = None,
    minutes: Annotated[float, typer.Option(min=0.1, help="Try no other size after this time.")] = 10.0,
    with_lr_range: Annotated[
        bool, typer.Option("--lr-range", help="Then run `lr-range` with the fastest batch size.")
    ] = False,
    runs: RunsDir = None,
    data: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Find the largest and the fastest batch size of a device.

    Trains a few steps with 8, 16, 32, ... samples on one device of this machine, until they need
    more memory than the GPU has, or on CPUs than resources.memory, and then with sizes in between.
    Each size trains in a process of its own, which may run out of memory. For a GPU run it on a
    machine that has one, such as in a job of Slurm.

    The fastest is the smallest size that trains as many samples per second as any other, within 3%.
    A larger batch needs another learning rate.

    Example:
        hpc-dl batch-size configs/cnn-digits.yaml
        srun --gpus=1 hpc-dl batch-size configs/cnn-digits.yaml --lr-range

    Exit status:
        0  measured
        2  invalid input, or a training failed for another reason than memory
    """
    from hpc_dl.cli.experiment_argument import load_experiment
    from hpc_dl.cli.output import emit, say, show, table
    from hpc_dl.cluster.folders import data_folder
    from hpc_dl.compatibility.checks import check_training
    from hpc_dl.errors import ConfigError, RunError

    if as_json and with_lr_range:
        raise ConfigError.at("--json", "prints one result, not that of --lr-range too", remedy="call lr-range after it")
    experiment = load_experiment(config, overrides)
    check_training(with_wandb=False)
    from hpc_dl.cluster.batch_size import fastest, largest, measure

    trials = measure(
        experiment,
        data_dir=data_folder(data),
        seconds=60 * minutes,
        say=say,
        report=lambda trial: say(f"  {trial.size}: {trial.problem or f'{trial.samples_per_s:,.0f} samples/s'}"),
    )
    most, best = largest(trials), fastest(trials)
    if most is None or best is None:
        problems = ", ".join(f"{trial.size}: {trial.problem}" for trial in trials.values())
        raise RunError.at(experiment.name, f"trains with no batch size ({problems})", remedy="request more memory")
    if as_json:
        facts = [trial.facts() for _, trial in sorted(trials.items())]
        emit({"largest": most.size, "fastest": best.size, "trials": facts})
        return
    rows = [_row(trial) for _, trial in sorted(trials.items())]
    table(["data.batch_size", "samples/s", "memory", ""], rows, title=f"{experiment.name}: one device")
    show(f"\nLargest: data.batch_size={most.size}. Fastest: data.batch_size={best.size}.")
    if with_lr_range:
        from hpc_dl.cli.lr_range import lr_range

        chosen = [f"data.batch_size={best.size}", "data.global_batch_size=null"]
        lr_range(config, [*(overrides or []), *chosen], runs=runs, data=data)


def _row(trial: Trial) -> list[str]:
    from hpc_dl.formatting import megabytes

    if trial.samples_per_s is None:
        return [str(trial.size), "", "", trial.problem]
    return [str(trial.size), f"{trial.samples_per_s:,.0f}", megabytes(trial.memory or 0), ""]
