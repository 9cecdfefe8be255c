"""``hpc-dl``: all commands in one place, and the one exit for every error."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

import hpc_dl
from hpc_dl.cli import data
from hpc_dl.cli.baseline import baseline
from hpc_dl.cli.cancel import cancel
from hpc_dl.cli.evaluate import evaluate, export, predict
from hpc_dl.cli.init import init
from hpc_dl.cli.logs import logs
from hpc_dl.cli.models import models
from hpc_dl.cli.output import say
from hpc_dl.cli.rehearse import rehearse
from hpc_dl.cli.results import results
from hpc_dl.cli.resume import resume
from hpc_dl.cli.status import status
from hpc_dl.cli.submit import submit
from hpc_dl.cli.train import train
from hpc_dl.cli.validate import validate
from hpc_dl.errors import HpcDlError

app = typer.Typer(
    name="hpc-dl",
    help="A YAML file becomes a deep-learning training job on a Slurm cluster.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (
    train, submit, rehearse, status, logs, cancel, resume, results, evaluate, predict, export, baseline,
    validate, models, init,
):  # fmt: skip
    app.command()(command)
app.add_typer(data.app, name="data")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"hpc_dl {hpc_dl.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """A YAML file becomes a deep-learning training job on a Slurm cluster."""


def main() -> None:
    """Run a command; a user's mistake becomes one line for each fault and exit status 2, never a
    traceback.
    """
    try:
        app()
    except HpcDlError as error:
        for fault in error.faults:
            say(f"hpc-dl: {fault}")
        sys.exit(error.exit_status)
    except BrokenPipeError:
        # The reader of our output went away (`hpc-dl logs … | head`): not our failure.
        sys.stderr.close()
        sys.exit(0)
