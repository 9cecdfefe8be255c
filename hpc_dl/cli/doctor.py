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
    job: Annotated[
        bool,
        typer.Option(
            "--job", help="Also run a job of at most 10 min on the nodes, GPUs and cores that CONFIG requests."
        ),
    ] = False,
    timeout: Annotated[
        float,
        typer.Option("--timeout", metavar="MINUTES", min=0.1, help="Longest wait for the job of --job, in minutes."),
    ] = 1440,
    runs: RunsDir = None,
    data: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Examine this login node, the site profile and an experiment.

    Slurm's commands, the profile against today's cluster, whether Slurm takes the job (nothing is
    submitted), disk space, quotas, caches in $HOME, installed packages, the data file, W&B, the
    clock. Each finding is one line: what, why it matters, the command or key that helps.

    With --job, each rank of a short job also measures: CPU cores, GPUs, all-reduce between ranks
    and nodes, reading of the data, file locks, /dev/shm, software, network, clocks. Ctrl-C cancels
    the job.

    Examples:
        hpc-dl doctor configs/cnn-digits.yaml
        hpc-dl doctor configs/cnn-digits.yaml --job resources.nodes=2

    Exit status:
        0    nothing that would make a job fail
        1    something would
        2    invalid input
        130  Ctrl-C
    """
    from hpc_dl.cli.experiment_argument import load_experiment
    from hpc_dl.cli.output import emit, say, show
    from hpc_dl.cluster import site as sites
    from hpc_dl.cluster.doctor import checks
    from hpc_dl.cluster.doctor.check import Situation, of_faults
    from hpc_dl.cluster.folders import data_folder, runs_folder
    from hpc_dl.cluster.inspection.queries import inspect
    from hpc_dl.errors import ClusterError, ConfigError, HpcDlError

    if job and config is None:
        raise ConfigError.at("--job", "needs an experiment, whose resources the job requests", remedy="name CONFIG")
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
    found, summaries = checks.run(situation), {}
    if job and not any(each.fatal for each in found["submission"]):
        from hpc_dl.cluster.doctor.job import examine
        from hpc_dl.cluster.termination import termination_as_interrupt

        try:
            with termination_as_interrupt():
                report = examine(situation, timeout_s=60 * timeout, say=say)
            found, summaries = found | report.found, report.summaries
        except HpcDlError as error:
            found["job"] = of_faults(error)
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
    elif job:
        say("No job was submitted: see `submission`")
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
            measured = summaries.get(name)
            for text in map(str, findings) if findings else [f"ok ({measured})" if measured else "ok"]:
                show(f"{name.replace('_', ' ')}: {text}")
    raise typer.Exit(1 if any(each.fatal for findings in found.values() for each in findings) else 0)
