"""Which columns of a table are inputs and targets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from hpc_dl.data.packing.known_columns import known_columns
from hpc_dl.data.packing.source import PackOptions
from hpc_dl.errors import DataError, nearest
from hpc_dl.formatting import shortened

TARGET_NAMES = ("target", "targets", "label", "labels", "class", "y")
_INDEX_NAMES = ("", "Unnamed: 0", "__index_level_0__")
"""What pandas and R call the row numbers that they write beside the columns of a table."""


def choose_columns(path: Path, columns: Sequence[str], options: PackOptions) -> tuple[list[str], list[str]]:
    """Return the columns of the inputs (by default all others) and of the targets.

    Rows to predict have the inputs of the training, and possibly targets.

    Raises:
        DataError: a column does not exist or has the name of another, or the target column cannot
            be inferred.
    """
    if twice := [name for name, count in Counter(columns).items() if count > 1]:
        raise DataError.at(path, "has two columns with the same name", value=twice[0], remedy="rename one")
    known = [column.name for column in known_columns(options)]
    if absent := [name for name in known if name not in columns]:
        raise DataError.at(
            path, "lacks a column of the training", value=absent[0], allowed=shortened(columns, 20), remedy="add it"
        )
    if options.trained_on is None or options.targets:
        targets = target_columns(path, columns, options.targets, taken=options.inputs)
    else:
        can_be_known = options.trained_on.task in ("classification", "regression")
        targets = [name for name in _usual_targets(columns) if name not in known] if can_be_known else []
    if known:
        return known, targets
    omitted = {
        *targets,
        *named_columns(path, options.omit, columns, "--omit"),
        *named_columns(path, options.group, columns, "--group"),
        *index_columns(columns),
    }
    inputs = named_columns(path, options.inputs, columns, "--inputs", taken=",".join(targets)) or [
        name for name in columns if name not in omitted
    ]
    if shared := sorted({*inputs} & {*targets}):
        raise DataError.at(
            path, "has a column that is both input and target", value=shared[0], remedy="remove it from one"
        )
    if not inputs:
        raise DataError.at(path, "has no columns other than the targets")
    return inputs, targets


def index_columns(columns: Sequence[str]) -> list[str]:
    """Return the columns that number the rows, or have no name: they hold no measurement."""
    return [name for name in columns if name.strip() in _INDEX_NAMES]


def target_columns(path: Path, columns: Sequence[str], chosen: str | None, *, taken: str | None = None) -> list[str]:
    """Return the columns of the targets; by default the one with a usual name.

    Columns that are ``taken`` as inputs are never suggested.

    Raises:
        DataError: a column does not exist, or none has a usual name.
    """
    targets = named_columns(path, chosen, columns, "--targets", taken=taken)
    if not targets:
        targets = _usual_targets(columns)
    if not targets:
        raise DataError.at(
            path,
            "has no column with a usual name for targets",
            allowed=shortened(columns, 20),
            remedy="choose it with `--targets COLUMN`",
        )
    return targets


def _usual_targets(columns: Sequence[str]) -> list[str]:
    """Return the first column with a usual name for targets, if there is one."""
    return [name for name in columns if name.lower() in TARGET_NAMES][:1]


def named_columns(
    path: Path, text: str | None, columns: Sequence[str], option: str, *, taken: str | None = None
) -> list[str]:
    """Return the columns that an option names, separated by commas.

    Those that another option has ``taken`` are not suggested instead of an unknown one.

    Raises:
        DataError: a column does not exist.
    """
    names, others, known = _separated(text, columns), _separated(taken, columns), set(columns)
    for name in names:
        if name not in known:
            raise DataError.at(
                path,
                "has no such column",
                value=name,
                allowed=shortened(columns, 20),
                remedy=f"correct `{option}`; {nearest(name, [c for c in columns if c not in others])}".rstrip("; "),
            )
    return names


def _separated(text: str | None, columns: Sequence[str]) -> list[str]:
    # The name of a column may contain a comma.
    return [] if text is None else [text] if text in columns else [name.strip() for name in text.split(",")]
