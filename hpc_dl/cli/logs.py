"""``hpc-dl logs``: the log of a run."""

from __future__ import annotations

from typing import Annotated

import typer

from hpc_dl.cli.arguments import RunName, RunsDir

_MOST_BYTES = 64 << 20


def logs(
    name: RunName,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print new lines until the run ends.")] = False,
    rank: Annotated[int, typer.Option("--rank", metavar="N", min=0, help="Rank whose log is shown.")] = 0,
    runs: RunsDir = None,
) -> None:
    """Show the log of a rank.

    Before the rank has a log, the output of Slurm and Python is shown.

    Example:
        hpc-dl logs latest --follow

    Exit status:
        0    the log was shown
        2    invalid input
        75   with --follow: the run stopped (`hpc-dl resume` continues it)
        130  with --follow: Ctrl-C
    """
    from hpc_dl.cli.output import say, show
    from hpc_dl.cli.run_selection import select_run
    from hpc_dl.cluster.follow import LogReader, follow_run
    from hpc_dl.cluster.status import log_of
    from hpc_dl.errors import RunError, Stopped

    run = select_run(name, runs)
    numbers = (path.stem.removeprefix("rank-") for path in run.logs.glob("rank-*.log"))
    ranks = sorted(int(number) for number in numbers if number.isdecimal())
    if ranks and rank not in ranks:
        raise RunError.at(
            "--rank",
            "has no log in this run",
            value=rank,
            allowed=", ".join(map(str, ranks)),
            remedy=f"see {run.logs}",
        )
    if follow:
        state = ""
        try:
            for update in follow_run(run, rank):
                if isinstance(update, str):
                    show(update)
                else:
                    state = update["state"]
                    say(f"[{update['state']}] {update.get('reason', '')}".rstrip())
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        if state == "stopped":
            raise typer.Exit(Stopped.exit_status)
        return
    log = log_of(run, rank)
    if log is None:
        say(f"hpc-dl: {run.name} has no log yet; `hpc-dl status {name}` shows why")
        return
    if (num_bytes := log.stat().st_size) > _MOST_BYTES:
        say(f"hpc-dl: {log} has {num_bytes:,} bytes; these are the last {_MOST_BYTES:,}")
    for line in LogReader(log, _MOST_BYTES).remaining_lines():
        show(line)
