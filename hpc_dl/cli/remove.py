"""``hpc-dl remove``: delete runs and sweeps."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from hpc_dl.cli.arguments import RunNames, RunsDir

if TYPE_CHECKING:
    from pathlib import Path

    from hpc_dl.runs.folder import RunFolder
    from hpc_dl.sweeps.folder import SweepFolder

_MOST_NAMES = 5


def remove(
    names: RunNames,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    runs: RunsDir = None,
) -> None:
    """Delete runs, or a sweep with all its members; asks before.

    Runs that have not ended stay, and runs that another one starts from (model.init_from, --after).
    Snapshots of the code in RUNS/.code go with the last run that uses them.

    Example:
        hpc-dl remove cnn-digits-k3f
        hpc-dl remove mlp-digits-sweep --yes

    Exit status:
        0  deleted
        1  not deleted, since the answer was not yes
        2  invalid input, or a run must stay; then nothing is deleted
    """
    from hpc_dl.cli.output import say
    from hpc_dl.cluster.folders import runs_folder
    from hpc_dl.cluster.removal import check_removable, remove_folder
    from hpc_dl.runs.folder import RunFolder
    from hpc_dl.runs.search import all_runs
    from hpc_dl.runs.snapshot import remove_unused
    from hpc_dl.runs.trust import check_own
    from hpc_dl.sweeps.search import all_sweeps, members_of

    sweeps, single = _selected(names, runs)
    going = [*single, *(run for sweep in sweeps for run in sweep.runs() if run.path.exists())]
    folders = [*(run.path for run in single), *(sweep.path for sweep in sweeps)]
    for folder in folders:
        check_own(RunFolder(folder))
    parent = runs_folder(runs).absolute()
    others = [
        run
        for place in {parent, *(folder.parent for folder in folders)}
        for run in (*all_runs(place), *(run for sweep in all_sweeps(place) for run in members_of(sweep)))
    ]
    check_removable(going, others)
    if not yes and not _agrees(folders, len(going)):
        say("Nothing was deleted.")
        raise typer.Exit(1)
    for folder in folders:
        remove_folder(folder)
    for store in {run.path.parent for run in single}:
        remove_unused(store, all_runs(store))
    say(f"Deleted {', '.join(folder.name for folder in folders)}.")


def _selected(names: list[str], runs: Path | None) -> tuple[list[SweepFolder], list[RunFolder]]:
    """The sweeps and the single runs that the user names, each once."""
    from hpc_dl.cli.run_selection import select_run, select_sweep
    from hpc_dl.errors import RunError
    from hpc_dl.sweeps.folder import SweepFolder

    sweeps: list[SweepFolder] = []
    single: list[RunFolder] = []
    for name in names:
        if (sweep := select_sweep(name, runs)) is not None:
            sweeps.append(sweep)
            continue
        run = select_run(name, runs)
        if (sweep := SweepFolder(run.path.parent)).exists:
            raise RunError.at(
                run.name, f"is a member of {sweep.name}", remedy=f"`hpc-dl remove {sweep.name}` deletes all"
            )
        single.append(run)
    return list(dict.fromkeys(sweeps)), list(dict.fromkeys(single))


def _agrees(folders: list[Path], num_runs: int) -> bool:
    from hpc_dl.cli.output import say
    from hpc_dl.cluster.removal import size_of
    from hpc_dl.errors import RunError
    from hpc_dl.formatting import megabytes, shortened

    if not sys.stdin.isatty():
        raise RunError.at("remove", "asks before it deletes, and there is no terminal to ask on", remedy="add --yes")
    what = shortened([folder.name for folder in folders], _MOST_NAMES)
    count = "1 run" if num_runs == 1 else f"{num_runs} runs"
    say(f"Delete {what} ({count}, {megabytes(size_of(folders))}) for good? [y/N]")
    return sys.stdin.readline().strip().lower() in ("y", "yes")
