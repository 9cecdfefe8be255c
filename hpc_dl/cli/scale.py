"""``hpc-dl scale``: how much faster an experiment gets with more nodes and GPUs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from hpc_dl.cli.arguments import AsJson, Config, DataDir, Overrides, RunsDir, Site


def scale(
    config: Config,
    overrides: Overrides = None,
    nodes: Annotated[str, typer.Option("--nodes", metavar="N[,N]", help="Numbers of nodes.")] = "1",
    gpus: Annotated[
        str, typer.Option("--gpus", metavar="N[,N]", help="Numbers of GPUs per node (on CPUs: of ranks).")
    ] = "1,2",
    weak: Annotated[
        bool, typer.Option("--weak", help="Keep the batch of each rank instead of that over all ranks.")
    ] = False,
    lr_rule: Annotated[
        str,
        typer.Option("--lr-rule", metavar="RULE", help="How the learning rate follows the batch: none, linear, sqrt."),
    ] = "none",
    steps: Annotated[int, typer.Option("--steps", min=10, help="Optimizer steps on each shape.")] = 100,
    plot: Annotated[Path | None, typer.Option("--plot", metavar="FILE", help="Figure to write (.png or .svg).")] = None,
    site: Site = None,
    runs: RunsDir = None,
    data: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Measure the speed-up with more nodes and GPUs.

    Trains the same steps on each combination, as Slurm jobs at the same time or on this machine one
    after another, and prints the table that HPC centers ask for: time, speed-up, efficiency, and
    the share of the time in which rank 0 waits for data and for other ranks.

    By default the batch over all ranks stays the same (strong scaling), so that all shapes do the
    same work. With --weak each rank keeps its batch, and --lr-rule says what becomes of the
    learning rate: `linear` or `sqrt` in the batch over all ranks, with a warm-up.

    Examples:
        hpc-dl scale configs/cnn-fashion_mnist.yaml --gpus 1,2,4 --plot speed.png
        hpc-dl scale configs/mlp-digits.yaml trainer.accelerator=cpu --gpus 1,2

    Exit status:
        0    measured
        2    invalid input, or a shape failed; the others are cancelled
        130  Ctrl-C; the jobs are cancelled
    """
    from hpc_dl.cli.experiment_argument import load_experiment
    from hpc_dl.cli.output import emit, say, show, table
    from hpc_dl.cli.table_files import check_new_file
    from hpc_dl.cluster.folders import data_folder, runs_folder
    from hpc_dl.cluster.submit import load_site
    from hpc_dl.errors import ConfigError

    if lr_rule not in ("none", "linear", "sqrt"):
        raise ConfigError.at("--lr-rule", "is not known", value=lr_rule, allowed="none, linear, sqrt")
    if plot is not None and plot.suffix not in (".png", ".svg"):
        raise ConfigError.at("--plot", "must be a figure", value=str(plot), allowed=".png, .svg")
    if plot is not None:
        check_new_file(plot)
    counts = _counts("--nodes", nodes), _counts("--gpus", gpus)
    profile = load_site(site, say)
    runs_dir, data_dir = runs_folder(runs, profile), data_folder(data, profile)
    experiment = load_experiment(config, overrides)
    from hpc_dl.cluster.scaling import experiments, measure, measurements, recommendation, shapes
    from hpc_dl.cluster.termination import termination_as_interrupt

    found = shapes(experiment.resources, *counts)
    planned = experiments(experiment, found, steps=steps, weak=weak, lr_rule=lr_rule)  # type: ignore[arg-type]
    try:
        with termination_as_interrupt():
            folders = measure(planned, profile, runs=runs_dir, data_dir=data_dir, command=sys.argv, say=say)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    results = measurements(folders, planned)
    kind = "weak" if weak else "strong"
    if plot is not None:
        from hpc_dl.figures.scaling import draw_scaling

        draw_scaling(
            f"{experiment.name}: {kind} scaling",
            [each.ranks for each in results],
            [each.speedup for each in results],
            [each.data for each in results],
            [each.communication for each in results],
            plot,
        )
        say(f"Figure: {plot}")
    advice = recommendation(results)
    if as_json:
        facts = {"scaling": kind, "lr_rule": lr_rule, "steps": steps, "recommendation": advice}
        emit({**facts, "shapes": [each.facts() for each in results]})
        return
    rows = [
        [
            str(each.resources.nodes),
            str(each.resources.gpus_per_node),
            str(each.batch),
            "" if each.lr is None else f"{each.lr:.3g}",
            f"{1000 * each.step_s:.3g} ms",
            f"{each.batch / each.step_s:,.0f}",
            f"{each.speedup:.2f}",
            f"{each.efficiency:.0%}",
            f"{each.data:.0%}",
            f"{each.communication:.0%}",
        ]
        for each in results
    ]
    heads = ["nodes", "GPUs", "batch", "lr", "step", "samples/s", "speed-up", "eff.", "data", "comm."]
    table(heads, rows, title=f"{experiment.name}: {kind} scaling, learning-rate rule {lr_rule}", unbroken=True)
    show(f"\n{advice}")


def _counts(option: str, text: str) -> list[int]:
    """Return the numbers of an option ``1,2,4``."""
    from hpc_dl.errors import ConfigError

    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and 0 < int(part) < 100_000 for part in parts):
        raise ConfigError.at(option, "must be numbers above 0", value=text, allowed="for example 1,2,4")
    return sorted({int(part) for part in parts})
