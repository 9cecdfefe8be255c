"""``hpc-dl doctor``: examine this login node and one experiment before it waits in the queue."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hpc_dl.cli.arguments import AsJson, DataDir, Overrides, RunsDir, Site
from hpc_dl.cli.completion import complete_configs


def doctor(
    config: Annotated[
        Path | None,
        typer.Argument(
            metavar="[CONFIG]",
            help="An experiment, as for `hpc-dl submit`; without one only this machine is examined.",
            autocompletion=complete_configs,
        ),
    ] = None,
    overrides: Overrides = None,
    site: Site = None,
    runs: RunsDir = None,
    data: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Examine this login node, the site profile and an experiment.

    Slurm's commands, the profile against today's cluster, whether Slurm takes the job (nothing is
    submitted), disk space, quotas, caches in $HOME, installed packages, the data file, W&B, the
    clock. Each finding is one line: what, why it matters, the command or key that helps.

    Example:
        hpc-dl doctor configs/cnn-digits.yaml

    Exit status:
        0  nothing that would make a job fail
        1  something would
        2  invalid input
    """
    from hpc_dl.cli.experiment_argument import load_experiment
    from hpc_dl.cli.output import emit, say, show
    from hpc_dl.cluster import site as sites
    from hpc_dl.cluster.doctor import checks
    from hpc_dl.cluster.doctor.check import Situation
    from hpc_dl.cluster.folders import data_folder, runs_folder
    from hpc_dl.cluster.inspection.queries import inspect
    from hpc_dl.errors import ClusterError

    profile = sites.load(site)
    experiment = load_experiment(config, overrides) if config is not None else None
    facts = None
    if profile.scheduler != "local":
        say("Asking Slurm …")
        try:
            facts = inspect()
        except ClusterError as error:
            say(f"Not checked: the cluster. {error}")
    situation = Situation(profile, runs_folder(runs, profile), data_folder(data, profile), facts, experiment)
    found = checks.run(situation)
    if as_json:
        emit(
            [
                {"check": name, "what": each.what, "why": each.why, "remedy": each.remedy, "fatal": each.fatal}
                for name, findings in found.items()
                for each in findings
            ]
        )
    else:
        for name, findings in found.items():
            for text in map(str, findings) if findings else ["ok"]:
                show(f"{name.replace('_', ' ')}: {text}")
    raise typer.Exit(1 if any(each.fatal for findings in found.values() for each in findings) else 0)
