"""``hpc-dl``: the list of all commands, and how every error is reported."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

import hpc_dl
from hpc_dl.cli import data, generate, site
from hpc_dl.cli.baseline import baseline
from hpc_dl.cli.batch_size import batch_size
from hpc_dl.cli.best import best
from hpc_dl.cli.cancel import cancel
from hpc_dl.cli.chain import chain
from hpc_dl.cli.command_group import CONTEXT_SETTINGS, CommandGroup, UsageError, add_commands, usage_message
from hpc_dl.cli.disk import disk
from hpc_dl.cli.doctor import doctor
from hpc_dl.cli.efficiency import efficiency
from hpc_dl.cli.embed import embed
from hpc_dl.cli.evaluate import evaluate, export, predict
from hpc_dl.cli.figures import figures
from hpc_dl.cli.goodput import goodput
from hpc_dl.cli.init import init
from hpc_dl.cli.labels import note, tag
from hpc_dl.cli.logs import logs
from hpc_dl.cli.lr_range import lr_range
from hpc_dl.cli.models import models
from hpc_dl.cli.output import say
from hpc_dl.cli.rehearse import rehearse
from hpc_dl.cli.remove import remove
from hpc_dl.cli.report import report
from hpc_dl.cli.results import results
from hpc_dl.cli.resume import resume
from hpc_dl.cli.scale import scale
from hpc_dl.cli.start_time import start_time
from hpc_dl.cli.status import status
from hpc_dl.cli.submit import submit
from hpc_dl.cli.sweep import sweep
from hpc_dl.cli.sync import sync
from hpc_dl.cli.train import train
from hpc_dl.cli.validate import validate
from hpc_dl.cli.why import why
from hpc_dl.compatibility.deferred_imports import defer_rarely_used
from hpc_dl.errors import HpcDlError, environment_fault

COMMANDS: dict[str, dict[str, Any]] = {
    "Run experiments": {
        "validate": validate,
        "lr-range": lr_range,
        "batch-size": batch_size,
        "start-time": start_time,
        "scale": scale,
        "train": train,
        "submit": submit,
        "sweep": sweep,
        "chain": chain,
        "rehearse": rehearse,
        "resume": resume,
        "cancel": cancel,
    },
    "Inspect runs": {
        "status": status,
        "why": why,
        "goodput": goodput,
        "efficiency": efficiency,
        "logs": logs,
        "results": results,
        "best": best,
        "report": report,
        "figures": figures,
        "sync": sync,
        "tag": tag,
        "note": note,
        "disk": disk,
        "remove": remove,
    },
    "Evaluate and use models": {
        "evaluate": evaluate,
        "predict": predict,
        "embed": embed,
        "generate": generate.generate,
        "similar": generate.similar,
        "analogy": generate.analogy,
        "export": export,
        "baseline": baseline,
    },
    "Data and architectures": {"data": data.app, "models": models},
    "Set up": {"init": init, "site": site.app, "doctor": doctor},
}
"""The commands in the order of the help, grouped by its headings."""

_EXAMPLES = """Examples:
  hpc-dl train configs/cnn-digits.yaml trainer.max_epochs=3
  hpc-dl submit configs/cnn-fashion_mnist.yaml --wait

Shell completion of commands, runs and files: hpc-dl --install-completion
"""


def _version(requested: bool) -> None:
    if requested:
        print(f"hpc_dl {hpc_dl.__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Turn a YAML file into deep-learning training jobs on a Slurm cluster."""


def application(panels: Mapping[str, Mapping[str, Any]] = COMMANDS) -> typer.Typer:
    """Return the Typer application with these commands.

    Args:
        panels: the commands, as in ``COMMANDS``.
    """
    app = typer.Typer(
        name="hpc-dl",
        cls=CommandGroup,
        help="Turn a YAML file into deep-learning training jobs on a Slurm cluster.",
        epilog=_EXAMPLES,
        context_settings=CONTEXT_SETTINGS,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    add_commands(app, panels)
    app.callback()(_options)
    return app


app = application()


def _needed(arguments: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
    """The command that is called, or all: Typer takes 70 ms to build all of them."""
    name = arguments[0] if arguments else ""
    return next(({panel: {name: commands[name]}} for panel, commands in COMMANDS.items() if name in commands), COMMANDS)


def _open_standard_streams() -> None:
    """Open what the caller closed (``hpc-dl … >&-``), or the next file would get its number."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
            setattr(sys, name, os.fdopen(opened, "w" if descriptor else "r", closefd=False))


def _discard_output() -> None:
    """Keep Python from writing to stdout again when it exits, after a write to it failed."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _has_current_folder() -> bool:
    """Whether the current folder exists; in a removed one, libraries fail in many ways."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True


def main() -> None:
    """Run a command and exit with its status.

    Every user error is one line on stderr and exit status 2, without a traceback.
    """
    _open_standard_streams()
    if not _has_current_folder():
        say("hpc-dl: the current folder does not exist anymore. Change to another one with cd")
        sys.exit(2)
    defer_rarely_used()
    try:
        exit_status = application(_needed(sys.argv[1:]))(prog_name="hpc-dl", standalone_mode=False)
        sys.stdout.flush()
    except HpcDlError as error:
        for fault in error.faults:
            say(f"hpc-dl: {fault}")
        exit_status = error.exit_status
    except UsageError as error:
        say(f"hpc-dl: {usage_message(error)}")
        exit_status = 2
    except BrokenPipeError:  # when stdout is flushed
        # The reader of the output has ended (`hpc-dl logs … | head`), which is not a failure.
        _discard_output()
        exit_status = 0
    except (OSError, MemoryError) as error:
        if (cause := environment_fault(error)) is None:
            raise
        say(f"hpc-dl: {cause}")
        _discard_output()
        exit_status = 2
    except SystemExit as end:  # Typer's way to handle a broken pipe inside of a command
        exit_status = 0 if isinstance(end.__context__, BrokenPipeError) else end.code
    sys.exit(exit_status)
