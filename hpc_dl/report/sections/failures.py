"""Where the model fails: counts by class, groups, and the pictures that the runs have drawn."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from hpc_dl.errors import HpcDlError
from hpc_dl.figures import kinds
from hpc_dl.formatting import text_of
from hpc_dl.regular_files import read_bytes, read_json
from hpc_dl.report.blocks import Block, Picture, Section, Table, Text
from hpc_dl.report.material import Material

_RUNS_AT_EACH_END = 3  # the best and the worst, whose pictures are shown
_MOST_BYTES_OF_ONE = 600_000
MOST_PICTURE_BYTES = 1_400_000
"""All pictures of a page together, before base64 makes them a third larger."""
_PNG = b"\x89PNG\r\n\x1a\n"
_LATER = ("curves",)  # the section with the curves has them, interactive
_FIRST = ("mistakes", "confusion")
_MOST_CLASSES = 40
_MOST_GROUPS = 30


def section(material: Material) -> Section:
    """Return the section.

    Args:
        material: the runs.
    """
    chosen = material.best_run()
    blocks: list[Block] = [block for block in (_confusion(material, chosen), _groups(material, chosen)) if block]
    pictures = list(_pictures(material))
    blocks += pictures
    if pictures and len(material.runs) > len({picture.caption.partition(":")[0] for picture in pictures}):
        blocks.append(
            Text(
                "The pictures are those of the best and the worst runs, as far as they fit: mistakes and the like. "
                "`hpc-dl figures RUN` draws others into RUN/figures."
            )
        )
    return Section("failures", "Where it fails", blocks)


def weakest_class(material: Material, name: str | None) -> str:
    """Return the class that is recognized least, with its counts; empty where that is not known."""
    evaluation = _evaluation(material, name)
    if evaluation is None:
        return ""
    classes, confusion, split = evaluation
    shares = [(row[number] / sum(row), number) for number, row in enumerate(confusion) if sum(row)]
    if not shares:
        return ""
    _, number = min(shares)
    row = confusion[number]
    return f"{classes[number]}: {row[number]} of {sum(row)} recognized ({split} split)"


def has_pictures(material: Material) -> bool:
    """Whether the best run has drawn its mistakes or its confusion matrix."""
    name = material.best_run()
    return name is not None and any((material.runs[name].figures / f"{kind}.png").is_file() for kind in _FIRST)


def _confusion(material: Material, name: str | None) -> Table | None:
    evaluation = _evaluation(material, name)
    if evaluation is None:
        return None
    classes, confusion, split = evaluation
    rows = [[label, *counts] for label, counts in zip(classes, confusion, strict=True)]
    caption = f"{name}: {split} split, true classes in rows, predicted ones in columns (hpc-dl evaluate)"
    return Table(("true \\ predicted", *classes), rows, caption)


def _evaluation(material: Material, name: str | None) -> tuple[list[str], list[list[int]], str] | None:
    """Classes, confusion matrix and split of the latest ``hpc-dl evaluate``; checked."""
    for split in ("val", "test") if name else ():
        content: Any = None
        with suppress(HpcDlError, OSError):
            content = read_json(material.runs[name or ""].path / f"evaluation-{split}.json")
        if not isinstance(content, dict):
            continue
        classes, confusion = content.get("classes"), content.get("confusion")
        if _is_confusion(classes, confusion) and isinstance(classes, list) and isinstance(confusion, list):
            return [text_of(label) for label in classes], confusion, split
    return None


def _is_confusion(classes: Any, confusion: Any) -> bool:
    if not isinstance(classes, list) or not isinstance(confusion, list) or not 0 < len(classes) <= _MOST_CLASSES:
        return False
    return len(confusion) == len(classes) and all(
        isinstance(row, list) and len(row) == len(classes) and all(type(count) is int for count in row)
        for row in confusion
    )


def _groups(material: Material, name: str | None) -> Table | None:
    """The metrics by group (``data.group``) of the result."""
    by_group = material.result(name).get("by_group") if name else None
    groups = by_group.get("groups") if isinstance(by_group, dict) else None
    if not isinstance(by_group, dict) or not isinstance(groups, list):
        return None
    rows, names = [], dict[str, None]()
    with suppress(LookupError, TypeError, AttributeError):  # a damaged result
        names = dict.fromkeys(metric for group in groups for metric in group["metrics"])
        for group in groups[:_MOST_GROUPS]:
            values = [_with_ends(group["metrics"].get(metric)) for metric in list(names)[:8]]
            rows.append([text_of(group["group"]), group["samples"], *values])
    caption = f"{name}: {text_of(by_group.get('split'))} by {text_of(by_group.get('by'))}, with 95% intervals"
    return Table(("group", "samples", *list(names)[:8]), rows, caption) if rows else None


def _with_ends(metric: Any) -> str | None:
    if metric is None:
        return None
    if metric["low"] is None:
        return f"{metric['value']:.3g}"
    return f"{metric['value']:.3g} ({metric['low']:.3g} to {metric['high']:.3g})"


def _pictures(material: Material) -> Iterator[Picture]:
    """The pictures of the best and the worst runs; of most runs the mistakes first."""
    order = [run for rank in material.ranked for run in rank.runs] or list(material.runs)
    best, names = material.best_run(), list(dict.fromkeys(order))
    if best:
        names = [best, *[name for name in names if name != best]]
    best_runs, worst = names[:_RUNS_AT_EACH_END], names[max(_RUNS_AT_EACH_END, len(names) - _RUNS_AT_EACH_END) :]
    left = MOST_PICTURE_BYTES
    known = set(kinds.names())
    found = [
        (place, name, path)
        for name in [*best_runs, *reversed(worst)]
        for place, path in _files(material.runs[name].figures, known)
    ]
    first, second = best_runs[:1], [*best_runs[1:], *worst]
    ordered = [one for one in found if one[1] in first] + sorted(
        (one for one in found if one[1] in second), key=lambda one: one[0]
    )
    for _, name, path in ordered:
        png = b""
        with suppress(HpcDlError, OSError):
            png = read_bytes(path, _MOST_BYTES_OF_ONE)
        if png.startswith(_PNG) and len(png) <= left:
            left -= len(png)
            kind = "worst" if name in worst else "best" if len(names) > 1 else ""
            place = f" ({kind})" if kind else ""
            yield Picture(f"{name}{place}: {_summary(path.stem)}", png, folded=name not in first)


def _files(folder: Path, known: set[str]) -> list[tuple[int, Path]]:
    """The pictures of a run that are of a known kind, by importance."""
    with suppress(OSError):
        paths = [path for path in folder.iterdir() if path.suffix == ".png" and path.stem in known]
        shown = sorted(path for path in paths if path.stem not in _LATER)
        places = [(_FIRST.index(path.stem) if path.stem in _FIRST else len(_FIRST), path) for path in shown]
        return sorted(places)
    return []


def _summary(kind: str) -> str:
    return re.sub(r"\.$", "", kinds.summary(kind))
