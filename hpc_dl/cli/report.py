"""``hpc-dl report``: runs or a sweep as one page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpc_dl.cli.arguments import OptionalRunNames, RunsDir

if TYPE_CHECKING:
    from hpc_dl.report.material import Material

Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="FILE", help="The file, .html or .md; by default report.html here. It is replaced."),
]
AsMarkdown = Annotated[bool, typer.Option("--markdown", help="Write Markdown: tables instead of plots, no pictures.")]
Watch = Annotated[
    bool, typer.Option("--watch", help="Write it again every 30 s until all runs have ended; Ctrl+C ends it earlier.")
]
_SECONDS = 30.0


def report(
    names: OptionalRunNames = None,
    out: Out = None,
    markdown: AsMarkdown = False,
    watch: Watch = False,
    runs: RunsDir = None,
) -> None:
    """Write runs or a sweep as one page: results, curves, cost.

    The page is a single HTML file of at most 3 MB that needs no network: which run is best, whether
    the difference is real, whether it overfits, what it cost, and how to repeat it.

    Example:
        hpc-dl report mlp-digits-sweep --out report.html
        hpc-dl report latest --markdown
    """
    from hpc_dl.cli.output import say, show
    from hpc_dl.errors import HpcDlError

    markdown = markdown or (out is not None and out.suffix == ".md")
    path = out or Path("report.md" if markdown else "report.html")
    if path.suffix not in (".html", ".htm", ".md"):
        raise HpcDlError.at("--out", "has an unknown ending", value=path.name, allowed=".html or .md")
    if path.is_dir() or not path.absolute().parent.is_dir():
        problem = "is a folder" if path.is_dir() else "its folder does not exist"
        raise HpcDlError.at(path, problem, remedy="choose another file with --out")
    while True:
        material = _material(names, runs)
        _write(material, path, markdown=markdown, refresh=watch)
        show(f"{path.absolute()}: {path.stat().st_size / 1e6:.2f} MB, {len(material.runs)} runs")
        if not watch or not _may_change(material):
            return
        try:
            _wait()
        except KeyboardInterrupt:
            say("The last version of the report stays.")
            return


def _material(names: list[str] | None, runs: Path | None) -> Material:
    """The selected runs.

    Raises:
        HpcDlError: there are none.
    """
    from hpc_dl.cli.run_selection import select_runs, select_sweep
    from hpc_dl.errors import HpcDlError
    from hpc_dl.formatting import shortened
    from hpc_dl.report.material import Material

    sweep = select_sweep(names[0], runs) if names and len(names) == 1 else None
    selected = select_runs(names, runs)
    if not selected:
        where = sweep.name if sweep else "report"
        raise HpcDlError.at(
            where, "there is no run to report", remedy="name runs or a sweep; `hpc-dl status` lists them"
        )
    title = sweep.name if sweep else shortened([run.name for run in selected], 3)
    return Material(title, selected, sweep)


def _write(material: Material, path: Path, *, markdown: bool, refresh: bool) -> None:
    from hpc_dl.atomic_files import write_text
    from hpc_dl.report.sections import sections

    content = sections(material)
    if markdown:
        from hpc_dl.report.markdown import markdown_of

        write_text(path, markdown_of(material.title, content))
        return
    from hpc_dl.report.html import html_of

    changes = refresh and _may_change(material)
    write_text(path, html_of(material.title, content, refresh_s=int(_SECONDS) if changes else 0))


def _may_change(material: Material) -> bool:
    return any(one.facts["state"] in ("created", "pending", "running", "unknown") for one in material.known.values())


def _wait() -> None:
    import time

    time.sleep(_SECONDS)
