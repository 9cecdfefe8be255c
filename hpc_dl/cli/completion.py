"""Values that the shell completes: runs, configurations, architectures, data sources and sites.

Every function returns candidates for ``incomplete``. None of them imports torch, raises or prints.
"""

from __future__ import annotations

from pathlib import Path

import typer


def complete_runs(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the names of the runs in the folder of runs, the newest first, and ``latest``."""
    from hpc_dl.cluster.folders import runs_folder
    from hpc_dl.errors import HpcDlError
    from hpc_dl.runs.search import all_runs

    try:
        runs = ctx.params.get("runs")  # a str where typer does not convert values before it completes
        names = [run.name for run in all_runs(runs_folder(runs and Path(runs)))]
    except (HpcDlError, OSError):
        return []
    return [name for name in [*reversed(names), "latest"] if name.startswith(incomplete) and name.isprintable()]


def complete_configs(incomplete: str) -> list[str]:
    """Return the matching YAML files of the folder that is being typed, and of its subfolders."""
    prefix = incomplete[: incomplete.rfind("/") + 1]
    folder = Path(prefix or ".")
    try:
        files = [*sorted(folder.glob("*.yaml")), *sorted(folder.glob("*/*.yaml"))]
    except OSError:
        return []
    paths = [f"{prefix}{file.relative_to(folder)}" for file in files]
    return [path for path in paths if path.startswith(incomplete)]


def complete_models(incomplete: str) -> list[str]:
    """Return the names of the architectures."""
    from hpc_dl.models import names

    return [name for name in names() if name.startswith(incomplete)]


def complete_sources(incomplete: str) -> list[str]:
    """Return the names of the shipped data sources."""
    from hpc_dl.data.sources import names

    return [name for name in names() if name.startswith(incomplete)]


def complete_splits(incomplete: str) -> list[str]:
    """Return the names of the splits."""
    return [name for name in ("train", "val", "test") if name.startswith(incomplete)]


def complete_figures(incomplete: str) -> list[str]:
    """Return the kinds of figures."""
    from hpc_dl.figures import kinds

    return [name for name in kinds.names() if name.startswith(incomplete)]
