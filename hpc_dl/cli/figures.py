"""``hpc-dl figures``: draw a run's figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpc_dl.cli.arguments import AsJson, RunName, RunsDir, Yes
from hpc_dl.cli.completion import complete_figures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hpc_dl.figures.subject import Subject
    from hpc_dl.runs.folder import RunFolder

_SUFFIXES = ("png", "svg", "gif")


def figures(
    name: RunName,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only", metavar="NAME", help="A kind of figure; may be repeated.", autocompletion=complete_figures
        ),
    ] = None,
    suffix: Annotated[
        str,
        typer.Option("--format", metavar="png|svg|gif", help="Pixels, vectors, or figures over time as animations."),
    ] = "png",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Folder of the files; by default RUN/figures.")
    ] = None,
    yes: Yes = False,
    runs: RunsDir = None,
    as_json: AsJson = False,
) -> None:
    """Draw a run's figures: curves, mistakes, filters and others.

    Uses the journal, the run's best weights and its validation split. Without --only, all kinds
    that apply to the run are drawn; docs/how-to/figures.md shows them.

    Example:
        hpc-dl figures latest --only curves --only confusion
    """
    from hpc_dl.cli.output import emit, show, table
    from hpc_dl.cli.run_selection import select_run
    from hpc_dl.errors import ConfigError
    from hpc_dl.figures import kinds
    from hpc_dl.figures.drawing import draw, fitting
    from hpc_dl.figures.subject import Subject

    if suffix not in _SUFFIXES:
        raise ConfigError.at("--format", "is unknown", value=suffix, allowed=", ".join(_SUFFIXES))
    run = select_run(name, runs)
    if only:
        _check_known(only)
        needs_model = any([kinds.kind(kind).needs_model for kind in only])
        subject = _with_model(name, runs, yes) if needs_model else Subject(run)
        chosen = _fitting_names(subject, only)
    else:
        subject = _with_model_if_possible(run, name, runs, yes)
        chosen = fitting(subject)
    if suffix == "gif":
        chosen = _animated(chosen, only)
    if not chosen:
        show(f"{run.name}: there is nothing to draw yet.")
        return
    folder = out or run.figures
    paths = draw(subject, chosen, folder, suffix)
    rows = [
        {"name": kind, "file": str(path), "shows": kinds.summary(kind)}
        for kind, path in zip(chosen, paths, strict=True)
    ]
    if as_json:
        emit({"run": run.name, "figures": rows})
        return
    show(f"{folder}:")
    table(["file", "what it shows"], [[path.name, row["shows"]] for path, row in zip(paths, rows, strict=True)])


def _check_known(names: Sequence[str]) -> None:
    """Check that these are kinds of figures.

    Raises:
        ConfigError: one is not.
    """
    from hpc_dl.errors import ConfigError, nearest
    from hpc_dl.figures import kinds

    known = kinds.names()
    for name in names:
        if name not in known:
            raise ConfigError.at(
                "--only", "is not a kind of figure", value=name, allowed=", ".join(known), remedy=nearest(name, known)
            )


def _fitting_names(subject: Subject, names: Sequence[str]) -> list[str]:
    """The names without repetitions, all of which apply to the run.

    Raises:
        RunError: one does not.
    """
    from hpc_dl.errors import Fault, RunError
    from hpc_dl.figures import kinds

    reasons = {name: kinds.kind(name).unfit(subject) for name in dict.fromkeys(names)}
    if faults := [Fault("--only", reason, value=name) for name, reason in reasons.items() if reason]:
        raise RunError(*faults)
    return list(reasons)


def _animated(names: Sequence[str], only: Sequence[str] | None) -> list[str]:
    """The kinds that can be drawn as animations.

    Raises:
        RunError: one was asked for by its name and cannot.
    """
    from hpc_dl.errors import Fault, RunError
    from hpc_dl.figures import kinds

    animated = [name for name in names if kinds.kind(name).animated]
    if only and (still := [name for name in names if name not in animated]):
        raise RunError(*[Fault("--only", "cannot be animated", value=name, remedy="use png or svg") for name in still])
    return animated


def _with_model(name: str, runs: Path | None, yes: bool) -> Subject:
    """The run with its best weights.

    Raises:
        HpcDlError: it has none, or they cannot be loaded.
    """
    from hpc_dl.cli.evaluate import loaded_model, trained_run
    from hpc_dl.figures.subject import Subject

    with loaded_model(trained_run(name, runs, yes)) as trained:
        model, batches = trained.model, trained.batches
    from hpc_dl.data.datamodule import HDF5DataModule
    from hpc_dl.inference.trained_model import default_device

    if not isinstance(batches, HDF5DataModule):  # the module's own loaders
        return Subject(trained.run)
    return Subject(trained.run, trained.data, model.to(default_device()), batches)


def _with_model_if_possible(run: RunFolder, name: str, runs: Path | None, yes: bool) -> Subject:
    """The run with its best weights, or its journal alone and a message that says why."""
    from hpc_dl.cli.output import say
    from hpc_dl.errors import HpcDlError
    from hpc_dl.figures.subject import Subject

    try:
        return _with_model(name, runs, yes)
    except HpcDlError as error:
        for fault in error.faults:
            say(f"Only the figures of the journal can be drawn: {fault}")
        return Subject(run)
