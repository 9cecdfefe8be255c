"""``hpc-dl logs``: what a run has printed."""

from __future__ import annotations

from typing import Annotated

import typer

from hpc_dl.cli.train import Runs

RunWord = Annotated[
    str, typer.Argument(metavar="RUN", help="A run's name, the beginning of one, its folder, or 'latest'.")
]


def logs(
    word: RunWord,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run ends.")] = False,
    rank: Annotated[int, typer.Option("--rank", metavar="N", min=0, help="Whose log.")] = 0,
    runs: Runs = None,
) -> None:
    """Show the log of a rank; before there is one, what Slurm and Python have printed.

    Exit status: 0; with --follow 75 when the run stopped and waits for `hpc-dl resume`.
    """
    from hpc_dl.cli.output import say
    from hpc_dl.cli.status import find_runs
    from hpc_dl.cluster.follow import LogReader, follow_run
    from hpc_dl.cluster.status import log_of
    from hpc_dl.errors import RunError, Stopped

    run = find_runs([word], runs)[0]
    there = sorted(int(path.stem.removeprefix("rank-")) for path in run.logs.glob("rank-*.log"))
    if there and rank not in there:
        raise RunError.at(
            "--rank", "has no log in this run", value=rank, allowed=", ".join(map(str, there)), remedy=f"see {run.logs}"
        )
    if follow:
        state = ""
        try:
            for news in follow_run(run, rank):
                if isinstance(news, str):
                    print(news, flush=True)
                else:
                    state = news["state"]
                    say(f"[{news['state']}] {news.get('reason', '')}".rstrip())
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        if state == "stopped":
            raise typer.Exit(Stopped.exit_status)
        return
    log = log_of(run, rank)
    if log is None:
        say(f"hpc-dl: {run.name} has printed nothing yet; `hpc-dl status {word}` tells why")
        return
    for line in LogReader(log).remaining_lines():
        print(line)
