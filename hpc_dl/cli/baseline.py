"""``hpc-dl baseline``: do we really need a deep model?"""

from __future__ import annotations

from typing import Annotated

import typer

from hpc_dl.cli.train import AsJson, Config, DataDir, Overrides, Runs


def baseline(
    config: Config,
    overrides: Overrides = None,
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, metavar="N", help="How often models that draw something are fitted.")
    ] = 3,
    runs: Runs = None,
    data: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Fit simple models on the same splits, and say whether the finished networks beat them.

    What is found is kept with the runs: each later result on these data tells it in a line.
    """
    from hpc_dl.baselines.compare import compare, interval
    from hpc_dl.cli.output import emit, say, table
    from hpc_dl.config.experiment import Experiment
    from hpc_dl.runs.folder import default_runs

    experiment = Experiment.load(config, overrides or [], say)
    found = compare(experiment, runs=runs or default_runs(), data_dir=data, seeds=seeds, say=say)
    if as_json:
        emit(found)
        return
    names = sorted({name for model in found["simple"] for name in model["metrics"] if name.startswith("test/")})

    def told(values: list[float]) -> str:
        mean, half = interval(values)
        return f"{mean:.4g}" if half != half else f"{mean:.4g} ± {half:.2g}"

    rows = [[m["name"], *[told(m["metrics"][n]) if n in m["metrics"] else "" for n in names]] for m in found["simple"]]
    rows += [
        [f"{name} (network)", *[told(values) if n == found["metric"] else "" for n in names]]
        for name, values in found["networks"].items()
    ]
    table(["model", *names], rows)
    print(f"\n{found['verdict']}")
