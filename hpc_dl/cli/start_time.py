"""``hpc-dl start-time``: when Slurm would start an experiment."""

from __future__ import annotations

import datetime

from hpc_dl.cli.arguments import AsJson, Config, DataDir, Overrides, Site


def start_time(
    config: Config, overrides: Overrides = None, site: Site = None, data: DataDir = None, as_json: AsJson = False
) -> None:
    """Show when and where Slurm would start an experiment.

    Asks Slurm (`sbatch --test-only`) about each partition of the site profile (`partition: a,b`;
    without one, about all of the cluster) and about all ways to spread the same GPUs over nodes,
    which train the same. Nothing is submitted. It is an estimate: jobs that end early, or come with
    a higher priority, change it.

    `hpc-dl submit --first` submits the experiment where it would start first.

    Example:
        hpc-dl start-time configs/cnn-fashion_mnist.yaml resources.gpus_per_node=4
    """
    from hpc_dl.cli.experiment_argument import load_experiment
    from hpc_dl.cli.output import emit, say, table
    from hpc_dl.cluster.folders import data_folder
    from hpc_dl.cluster.submit import load_site
    from hpc_dl.formatting import duration

    profile = load_site(site, say)
    experiment = load_experiment(config, overrides)
    from hpc_dl.cluster.start_time import described, start_times

    options = start_times(experiment, profile, data_folder(data, profile), say)
    if not options:
        profile.check(experiment)  # says which limit of the site the experiment exceeds
    now = datetime.datetime.now()
    if as_json:
        emit(
            [
                {
                    "partition": option.partition or None,
                    "nodes": option.resources.nodes,
                    "gpus_per_node": option.resources.gpus_per_node,
                    "start": option.start.isoformat() if option.start else None,
                    "refusal": option.refusal or None,
                }
                for option in options
            ]
        )
        return
    rows = []
    for option in options:
        start = f"{option.start:%Y-%m-%d %H:%M:%S}" if option.start else "never"
        wait = duration(max(0.0, (option.start - now).total_seconds()), whole_seconds=True) if option.start else ""
        rows.append([option.partition or "(default)", described(option.resources), start, wait, option.refusal])
    columns = ["partition", "shape", "expected start", "in", "refusal"]
    if not any(row[-1] for row in rows):
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    table(columns, rows)
