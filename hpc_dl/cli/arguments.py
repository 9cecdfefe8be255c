"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hpc_dl.cli.completion import complete_configs, complete_runs

_RUN = "A run's name, the beginning of its name, its folder, or `latest`"

Config = Annotated[
    Path,
    typer.Argument(
        metavar="CONFIG",
        help="YAML file of the experiment, or the name of a shipped one (cnn-digits).",
        autocompletion=complete_configs,
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Values that replace those in the YAML: optimizer.lr=1e-3 seed=3."),
]
RunName = Annotated[str, typer.Argument(metavar="RUN", help=f"{_RUN}.", autocompletion=complete_runs)]
RunNames = Annotated[list[str], typer.Argument(metavar="RUN", help=f"{_RUN}.", autocompletion=complete_runs)]
OptionalRunNames = Annotated[
    list[str] | None,
    typer.Argument(metavar="RUN", help=f"{_RUN}; all runs if not given.", autocompletion=complete_runs),
]
RunsDir = Annotated[
    Path | None,
    typer.Option("--runs", metavar="DIR", help="Folder of all runs; by default the site's, $HPC_DL_RUNS or ./runs."),
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data", metavar="DIR", help="Folder of the data files; by default the site's, $HPC_DL_DATA or ./data."
    ),
]
Site = Annotated[
    str | None,
    typer.Option(
        "--site",
        metavar="NAME|FILE",
        help="Site profile: a name or a path; by default $HPC_DL_SITE, then that of this host.",
    ),
]
Yes = Annotated[bool, typer.Option("--yes", help="Agree to run the code of a run folder that belongs to another user.")]
Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        metavar="CONDITION",
        help="Only runs that fulfill it: 'optimizer.lr>1e-3', 'val/loss<0.2', state=failed. May be repeated.",
    ),
]
Since = Annotated[
    str | None,
    typer.Option("--since", metavar="TIME", help="Only runs submitted since a date (2026-01-31) or age (12h, 3d, 2w)."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.")]
NoTry = Annotated[
    bool,
    typer.Option(
        "--no-try", help="Skip the trial of your own module or network (one batch of each split, up to 30 s)."
    ),
]


def parse_size(text: str | None) -> tuple[int, int] | None:
    """Return the height and width of ``--size HxW``.

    Raises:
        DataError: it has another form.
    """
    from hpc_dl.errors import DataError

    if text is None:
        return None
    height, _, width = text.lower().partition("x")
    if not (height.isdigit() and width.isdigit() and int(height) and int(width)):
        raise DataError.at("--size", "is not a height and width", value=text, allowed="for example 224x224")
    return int(height), int(width)
