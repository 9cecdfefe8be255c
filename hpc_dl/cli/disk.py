"""``hpc-dl disk``: what takes disk space, and what can be removed."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hpc_dl.cli.arguments import AsJson, DataDir, RunsDir

Most = Annotated[int, typer.Option("--most", metavar="N", min=0, help="Number of runs to list, the largest first.")]


def disk(runs: RunsDir = None, data: DataDir = None, most: Most = 10, as_json: AsJson = False) -> None:
    """Show what runs, data and caches occupy, and what can go.

    Files with several names count once. Nothing is deleted: the last lines are the commands that
    would do it. Folders that may not be read are left out.

    Example:
        hpc-dl disk
    """
    import os
    from dataclasses import asdict

    from hpc_dl.cli.output import emit, show, table
    from hpc_dl.cluster.disk import disk_report
    from hpc_dl.cluster.folders import data_folder, runs_folder
    from hpc_dl.formatting import megabytes
    from hpc_dl.runs.search import all_runs
    from hpc_dl.sweeps.search import all_sweeps

    runs_dir, data_dir = runs_folder(runs), data_folder(data)
    sweeps = all_sweeps(runs_dir)
    known = [*all_runs(runs_dir), *(member for sweep in sweeps for member in sweep.runs())]
    report = disk_report(known, [runs_dir, *(sweep.path for sweep in sweeps)], data_dir, os.environ)
    if as_json:
        emit(asdict(report))
        return

    def line(what: str, *cells: Any, num_bytes: int, files: int) -> list[Any]:
        return [what, *cells, megabytes(num_bytes), files]

    parts = {**report.parts, **{f"cache: {folder}": usage for folder, usage in report.caches.items()}}
    if not parts:
        show(f"There are no runs in {runs_dir.absolute()} and no data files in {data_dir.absolute()}.")
        return
    table(
        ["what", "size", "files"],
        [line(what, num_bytes=usage.bytes, files=usage.files) for what, usage in parts.items()],
        title=f"runs in {runs_dir.absolute()}, data in {data_dir.absolute()}",
    )
    if largest := report.runs[:most]:
        show()
        rows = [line(row["run"], row["state"], num_bytes=row["bytes"], files=row["files"]) for row in largest]
        table(["run", "state", "size", "files"], rows, unbroken=True)
    if report.can_go:
        show()
    for row in report.can_go:
        show(f"Can go: {row['what']} ({megabytes(row['bytes'])}): {row['command']}")
