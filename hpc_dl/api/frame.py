"""Runs as a table of pandas or polars."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from typing import Any

from hpc_dl.cluster.overview import overview
from hpc_dl.errors import HpcDlError
from hpc_dl.learning.metric_names import split_of
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.settings import differing, shown


def frame_of(runs: Sequence[RunFolder], *, test: bool = False) -> Any:
    """Return a table with a row for each run; see :meth:`hpc_dl.Runs.frame`.

    Raises:
        HpcDlError: neither pandas nor polars is installed.
    """
    library = _library()
    columns: dict[str, list[Any]] = {}
    known = overview(runs)
    facts = [run.facts for run in known]
    for key in ("run", "state"):
        columns[key] = [row[key] for row in facts]
    settings = shown([run.settings for run in known])
    columns |= {key: [values.get(key) for values in settings] for key in differing(settings)}
    names = dict.fromkeys(name for row in facts for name in row.get("metrics", {}))
    for name in sorted(names):
        if test or split_of(name) != "test":
            columns[name] = [_number(row.get("metrics", {}).get(name)) for row in facts]
    if library.__name__ == "polars":  # its columns have one type
        return library.DataFrame({key: library.Series(key, values, strict=False) for key, values in columns.items()})
    return library.DataFrame(columns)


def _library() -> Any:
    for name in ("pandas", "polars"):
        if importlib.util.find_spec(name) is not None:
            return importlib.import_module(name)
    raise HpcDlError.at("frame", "needs pandas or polars", remedy="install one with `pip install 'hpc_dl[pandas]'`")


def _number(value: Any) -> Any:
    """The float that a text such as ``nan`` in a result stands for."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value
