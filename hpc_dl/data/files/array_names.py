"""Finding inputs and targets among arrays by the arrays' names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from hpc_dl.errors import DataError, nearest
from hpc_dl.formatting import shortened

#: Common names of the splits, as a folder, a group, or part of an array's name.
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}

INPUT_NAMES = ("inputs", "x", "images", "image", "data", "features")
TARGET_NAMES = ("targets", "y", "labels", "label", "target")


def pair_up(
    names: Sequence[str], where: Path, inputs: str | None = None, targets: str | None = None
) -> dict[str, tuple[str, str]]:
    """Find the inputs and targets of each split among the names of arrays.

    ``x_train``, ``train_images`` and ``train/inputs``, for example, belong to the training split.
    A plain ``x`` belongs to no split.

    Args:
        names: of all arrays.
        where: the source, for messages.
        inputs: name of the inputs, with or without the split; None to infer it.
        targets: name of the targets, likewise.

    Returns:
        The names of inputs and targets by split, train first; the key is empty if there are no
        splits.

    Raises:
        DataError: no such pair exists; the message lists the arrays.
    """
    full_names = {name.strip("/"): name for name in names}
    requested = [(inputs or "").strip("/"), (targets or "").strip("/")]
    if requested[0] in full_names and requested[1] in full_names:
        return {"": (full_names[requested[0]], full_names[requested[1]])}
    by_base: dict[str, dict[str, str]] = {}
    for name in full_names:
        split, base = split_and_base(name)
        by_base.setdefault(base.lower(), {})[split] = full_names[name]
    by_split = []
    for name, usual, option, other, usual_others in (
        (requested[0], INPUT_NAMES, "inputs", requested[1], TARGET_NAMES),
        (requested[1], TARGET_NAMES, "targets", requested[0], INPUT_NAMES),
    ):
        base = name.lower() or next((candidate for candidate in usual if candidate in by_base), "")
        if base not in by_base:
            taken = [other.lower()] if other else usual_others
            free = [full for base, by in by_base.items() if base not in taken for full in by.values()]
            raise DataError.at(
                f"{where}:{name}" if name else where,
                "does not exist" if name else f"has no array with a usual name for {option}",
                allowed=shortened(list(names), 20) or "the source has no arrays",
                remedy=f"specify it with `--{option} NAME`; {nearest(name, free)}".rstrip("; "),
            )
        by_split.append(by_base[base])
    inputs_of, targets_of = by_split
    splits = [split for split in ("train", "val", "test") if split in inputs_of and split in targets_of]
    if "train" in splits:
        return {split: (inputs_of[split], targets_of[split]) for split in splits}
    if "" in inputs_of and "" in targets_of:
        return {"": (inputs_of[""], targets_of[""])}
    raise DataError.at(
        where,
        "has no training inputs with targets",
        allowed=shortened(list(names), 20),
        remedy="specify both arrays with `--inputs` and `--targets`",
    )


def without_split(name: str) -> str:
    """Return the name of an array without its split: ``x`` for ``x_train``."""
    return split_and_base(name)[1]


def split_and_base(name: str) -> tuple[str, str]:
    """Return the split that a name contains, or ``""``, and the name without it."""
    splits = "|".join(SPLIT_NAMES)
    if match := re.fullmatch(rf"({splits})[_/](.+)", name, re.IGNORECASE):
        return SPLIT_NAMES[match[1].lower()], match[2]
    if match := re.fullmatch(rf"(.+)[_/]({splits})", name, re.IGNORECASE):
        return SPLIT_NAMES[match[2].lower()], match[1]
    return "", name
