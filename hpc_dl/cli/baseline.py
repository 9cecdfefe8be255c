"""``hpc-dl baseline``: compare finished runs with simple models."""

from __future__ import annotations

from typing import Annotated

import typer

from hpc_dl.cli.arguments import AsJson, Config, DataDir, Overrides, RunsDir


def baseline(
    config: Config,
    overrides: Overrides = None,
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, metavar="N", help="Number of fits of each model that uses random numbers.")
    ] = 3,
    runs: RunsDir = None,
    data: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Compare finished runs with simple models on the same splits.

    The comparison is stored with the runs. The results of later runs on the same data refer to it.

    Example:
        hpc-dl baseline configs/cnn-digits.yaml
    """
    from hpc_dl.cli.experiment_argument import load_experiment
    from hpc_dl.cli.output import emit, say, show, table
    from hpc_dl.cluster.folders import data_folder, runs_folder

    runs_dir, data_dir = runs_folder(runs), data_folder(data)
    experiment = load_experiment(config, overrides)
    from hpc_dl.baselines.compare import compare
    from hpc_dl.learning.intervals import student_t, with_interval

    comparison = compare(experiment, runs=runs_dir, data_dir=data_dir, seeds=seeds, say=say)
    if as_json:
        emit(comparison)
        return
    simple_models = comparison["simple"]
    metrics = sorted({name for model in simple_models for name in model["metrics"] if name.startswith("test/")})

    def mean_and_interval(values: list[float]) -> str:
        return with_interval(*student_t(values))

    rows = [
        [model["name"], *[mean_and_interval(model["metrics"][m]) if m in model["metrics"] else "" for m in metrics]]
        for model in simple_models
    ]
    rows += [
        [f"{name} (network)", *[mean_and_interval(values) if m == comparison["metric"] else "" for m in metrics]]
        for name, values in comparison["networks"].items()
    ]
    table(["model", *metrics], rows)
    show(f"\n{comparison['verdict']}")
