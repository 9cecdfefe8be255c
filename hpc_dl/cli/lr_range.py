"""``hpc-dl lr-range``: find a learning rate by a short training at rising rates."""

from __future__ import annotations

import dataclasses
import math
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpc_dl.cli.arguments import AsJson, Config, DataDir, Overrides, RunsDir

if TYPE_CHECKING:
    from hpc_dl.config.experiment import Experiment
    from hpc_dl.runs.folder import RunFolder

_ROWS_PER_DECADE = 2


def lr_range(
    config: Config,
    overrides: Overrides = None,
    first: Annotated[float, typer.Option("--from", help="Learning rate of the first step.")] = 1e-6,
    last: Annotated[float, typer.Option("--to", help="Learning rate of the last step.")] = 10.0,
    steps: Annotated[int, typer.Option(min=20, help="Optimizer steps.")] = 200,
    runs: RunsDir = None,
    data: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Find a learning rate by a short training at rising rates.

    The learning-rate range test of Smith (2017): the rate rises from --from to --to, by the same
    factor at each step. A run of its own, NAME-lr-range, has the curve in its journal and in
    lr-range.json; that it may diverge at the greatest rates is part of the test. The suggested rate
    is the one at which the loss falls fastest, at most a tenth of the rate with the lowest loss.
    Set it as optimizer.lr; repeat the test for another batch size, optimizer or model.

    Example:
        hpc-dl lr-range configs/mlp-digits.yaml optimizer.name=sgd
    """
    from hpc_dl.cli.experiment_argument import load_experiment
    from hpc_dl.cli.output import emit, say, show, table
    from hpc_dl.cluster.folders import data_folder, runs_folder
    from hpc_dl.compatibility.checks import check_training
    from hpc_dl.errors import ConfigError, RunError

    if not 0 < first < last < math.inf:
        raise ConfigError.at(
            "--from", "must be above 0 and below --to", value=first, allowed=f"above 0, below {last:g}"
        )
    runs_dir, data_dir = runs_folder(runs), data_folder(data)
    experiment = rising(load_experiment(config, overrides), first, last, steps)
    from hpc_dl.atomic_files import write_json
    from hpc_dl.cluster.launch import launch
    from hpc_dl.cluster.prepare import prepare
    from hpc_dl.runs.state import read_state

    check_training(with_wandb=False)
    run = prepare(experiment, runs=runs_dir, data_dir=data_dir, command=sys.argv, say=say)
    say(f"Run folder: {run.path}")
    status = launch(run, experiment, foreground=True)
    state = read_state(run)
    if status and state["state"] != "diverged":
        say(f"hpc-dl: the run {state['state']}: {state.get('reason', 'no reason was recorded')}")
        raise typer.Exit(status)
    result = curve(run, first, last, steps)
    if not result["losses"]:
        raise RunError.at(run.name, f"logs no train/loss: {experiment.model.title} has several losses")
    write_json(run.path / "lr-range.json", result)
    if as_json:
        emit(result)
        return
    rows = _rows(result["rates"], result["losses"])
    table(["optimizer.lr", "train/loss"], [[f"{rate:.3g}", f"{loss:.4g}"] for rate, loss in rows])
    if result["suggested"] is None:
        show("\nNo suggestion: at no rate did the loss fall by more than its scatter. Try more --steps.")
        return
    show(f"\nThe loss falls fastest at {result['steepest']:.2g} and is lowest at {result['lowest']:.2g}.")
    show(f"Suggested: optimizer.lr={result['suggested']:.2g}")


def rising(experiment: Experiment, first: float, last: float, steps: int) -> Experiment:
    """Return the experiment as a range test: rising rates, nothing but training, no W&B.

    Raises:
        ConfigError: the model has an optimizer of its own.
    """
    from hpc_dl.errors import ConfigError
    from hpc_dl.learning.schedules import RangeTest
    from hpc_dl.models.custom import CustomModelConfig

    if isinstance(experiment.model, CustomModelConfig):
        raise ConfigError.at("model.class", "has an optimizer of its own, whose rate hpc_dl cannot raise")
    return dataclasses.replace(
        experiment.with_steps_only(steps, "lr-range", log_every_n_steps=1, on_nan="stop"),
        optimizer=experiment.optimizer.model_copy(update={"lr": first}),
        schedule=RangeTest(last=last),
    )


def curve(run: RunFolder, first: float, last: float, steps: int) -> dict[str, Any]:
    """Return the finite losses of a range test by rate, and the suggested rate."""
    import math

    from hpc_dl.learning.range_test import rate_at, suggest
    from hpc_dl.tracking.journal import read_journal

    rows = [(row["step"], float(row["train/loss"])) for row in read_journal(run.journal) if "train/loss" in row]
    finite = [(step, loss) for step, loss in rows if math.isfinite(loss)]
    rates = [rate_at(step - 1, steps, first, last) for step, _ in finite]
    losses = [loss for _, loss in finite]
    return {"run": run.name, "dir": str(run.path), **suggest(rates, losses), "rates": rates, "losses": losses}


def _rows(rates: list[float], losses: list[float]) -> list[tuple[float, float]]:
    """Some points of the curve, smoothed."""
    import math

    from hpc_dl.learning.range_test import smoothed

    if not rates:
        return []
    decades = math.log10(rates[-1] / rates[0])
    every = max(1, round(len(rates) / max(1.0, _ROWS_PER_DECADE * decades)))
    return list(zip(rates, smoothed(losses).tolist(), strict=True))[::every]
