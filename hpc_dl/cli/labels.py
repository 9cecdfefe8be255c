"""``hpc-dl tag`` and ``hpc-dl note``: what people write about runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hpc_dl.cli.arguments import RunName, RunsDir

if TYPE_CHECKING:
    from pathlib import Path

    from hpc_dl.runs.folder import RunFolder


def tag(
    name: RunName,
    tags: Annotated[list[str], typer.Argument(metavar="TAG", help="Letters, digits, . _ -")],
    remove: Annotated[bool, typer.Option("--remove", help="Take these tags away.")] = False,
    runs: RunsDir = None,
) -> None:
    """Tag a run, or all members of a sweep.

    `status` and `results` show the tags, and choose by them.

    Example:
        hpc-dl tag latest baseline
        hpc-dl results --where tags=baseline
    """
    from hpc_dl.cli.output import say
    from hpc_dl.runs.labels import Labels, check_tags, read_labels, write_labels

    check_tags(tags)
    for run in _own_runs(name, runs):
        before = read_labels(run)
        kept = [tag for tag in before.tags if tag not in tags]
        after = Labels(tuple(kept if remove else dict.fromkeys([*before.tags, *tags])), before.note)
        if after != before:
            write_labels(run, after)
        say(f"{run.name}: {', '.join(after.tags) or 'no tags'}")


def note(
    name: RunName,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The note; an empty one removes it.")],
    runs: RunsDir = None,
) -> None:
    """Write a note about a run; it replaces an earlier one.

    Example:
        hpc-dl note latest "with the labels of May"
    """
    from hpc_dl.cli.output import say
    from hpc_dl.runs.labels import Labels, check_note, read_labels, write_labels

    check_note(text)
    for run in _own_runs(name, runs):
        write_labels(run, Labels(read_labels(run).tags, text))
        say(f"{run.name}: {text or 'no note'}")


def _own_runs(name: str, runs: Path | None) -> list[RunFolder]:
    from hpc_dl.cli.run_selection import select_runs
    from hpc_dl.runs.trust import check_own

    selected = select_runs([name], runs)
    for run in selected:
        check_own(run)
    return selected
