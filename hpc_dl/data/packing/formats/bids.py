"""BIDS folders: ``participants.tsv``, and ``sub-01/anat/sub-01_T1w.nii.gz`` (https://bids.neuroimaging.io).

A name consists of entities (``sub-01``, ``ses-2``, ``run-1``) and a suffix (``T1w``). Only files of
one suffix become inputs. Targets are a column of ``participants.tsv`` or ``sub-01_sessions.tsv``,
or the segmentations (``_dseg``) with the same entities, which may be among the derivatives.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.packing.column_choice import target_columns
from hpc_dl.data.packing.encodings import encoding_remedy
from hpc_dl.data.packing.file_per_sample import files_below, first_faults
from hpc_dl.data.packing.formats import Format
from hpc_dl.data.packing.nifti_volumes import SUFFIXES, Volumes
from hpc_dl.data.packing.place import Place
from hpc_dl.data.packing.source import PackOptions, Source
from hpc_dl.data.packing.table_columns import is_missing
from hpc_dl.errors import DataError, Fault
from hpc_dl.formatting import shortened

_PARTICIPANTS = "participants.tsv"
_SESSIONS = "sessions.tsv"
_MASK = "dseg"
_MASKS = (_MASK, "mask", "probseg")
_USUAL_INPUT = "T1w"
_USUAL_TARGETS = ("group", "diagnosis", "dx")
# What a segmentation's name may have in addition to that of its image.
_ADDED_ENTITIES = {"space", "desc", "label", "res", "den", "from", "atlas", "seg"}


class Participants(Volumes):
    """Volumes of participants; a random split keeps those of one participant together."""

    def __init__(self, path: Path, volumes: list[Path], targets: Mapping[Path, Any], options: PackOptions) -> None:
        super().__init__(path, {"train": volumes}, targets, options)
        self.kind = "BIDS"
        self._subjects = np.array([_subject(volume) for volume in volumes])
        num = len(set(self._subjects.tolist()))
        self.notes.append(f"{len(volumes)} volumes of {num} participants")

    def groups(self) -> NDArray[Any] | None:
        """See :class:`Source`."""
        return self._subjects


def open_bids(path: Path, options: PackOptions) -> Source:
    """Open a BIDS folder.

    Raises:
        DataError: it is ambiguous which files to use, or some have no target.
    """
    subjects = [child for child in sorted(path.glob("sub-*")) if child.is_dir()]
    files = [file for subject in subjects for file in files_below(subject, SUFFIXES)]
    volumes, how = _inputs(path, files, options.pattern or options.inputs)
    if options.trained_on is not None and options.targets is None:
        return _noted(Participants(path, volumes, {}, options), how)
    table, columns = _participants(path)
    sessions = _sessions(subjects)
    columns += sorted({name for row in sessions.values() for name in row} - {*columns})
    column = _target_column(path, columns, options)
    if column is None:
        targets: dict[Path, Any] = _masks_of(path, volumes, files, options.targets)
        return _noted(Participants(path, volumes, targets, options), how, "targets: their segmentations")
    rows = {volume: table.get(_subject(volume), {}) | sessions.get(_session(volume), {}) for volume in volumes}
    labels = {volume: row.get(column, "") for volume, row in rows.items()}
    without = [volume for volume in volumes if is_missing(labels[volume])]
    if without and options.missing != "drop":
        names = sorted({_subject(volume) for volume in without})
        listed = shortened(sorted(table), 3)
        raise DataError.at(
            path / _PARTICIPANTS,
            f"has no {column} for {len(names)} participants: {shortened(names)}; it lists {listed}",
            remedy="fill it in, name participants as the folders are named, or leave them out with `--missing drop`",
        )
    volumes = [volume for volume in volumes if volume not in set(without)]
    if not volumes:
        raise DataError.at(path / _PARTICIPANTS, f"has no {column} for any participant with a volume")
    source = Participants(path, volumes, {volume: labels[volume] for volume in volumes}, options)
    source.files.append((path / _PARTICIPANTS).absolute())
    if without:
        how += f"; {len(without)} volumes without {column} are left out"
    found = _SESSIONS if any(column in row for row in sessions.values()) else _PARTICIPANTS
    if absent := sorted({*table} - {_subject(volume) for volume in volumes}):
        how += f"; {len(absent)} participants of {_PARTICIPANTS} are not packed: {shortened(absent, 3)}"
    return _noted(source, how, f"targets: {column} of {found}")


def _noted(source: Participants, *notes: str) -> Source:
    source.notes += notes
    return source


def _inputs(path: Path, files: list[Path], pattern: str | None) -> tuple[list[Path], str]:
    """Return the volumes to pack, and how they were chosen."""
    counts = Counter(_suffix(file) for file in files if _suffix(file) not in _MASKS)
    found = shortened([f"*_{suffix}.nii.gz: {count}" for suffix, count in counts.most_common()])
    chosen = pattern or (f"*_{_USUAL_INPUT}.nii*" if _USUAL_INPUT in counts else None)
    if chosen is None and len(counts) == 1:
        chosen = f"*_{next(iter(counts))}.nii*"
    if chosen is None:
        raise DataError.at(
            path, "has volumes of several kinds" if counts else "has no volumes in sub-* folders", allowed=found,
            remedy="choose one with `--pattern '*_SUFFIX.nii.gz'`",
        )  # fmt: skip
    volumes = [file for file in files if fnmatch(file.name, chosen) or fnmatch(str(file.relative_to(path)), chosen)]
    if not volumes:
        raise DataError.at(
            path, "has no file of this pattern", value=chosen, allowed=found, remedy="correct `--pattern`"
        )
    if len(suffixes := sorted({_suffix(volume) for volume in volumes})) > 1:
        raise DataError.at(
            path, f"has volumes of several kinds that fit {chosen}", value=suffixes,
            remedy="choose one kind, for example `--pattern '*_T1w.nii.gz'`",
        )  # fmt: skip
    others = sum(counts.values()) - len(volumes)
    return volumes, f"inputs: {chosen}" + (f"; {others} other volumes are not packed" if others else "")


def _target_column(path: Path, columns: list[str], options: PackOptions) -> str | None:
    """Return the column of the labels; None for segmentations."""
    if options.task == "segmentation" or (
        options.targets and options.targets not in columns and _MASK in options.targets
    ):
        return None
    if options.targets is None:
        usual = [name for name in columns if name.lower() in _USUAL_TARGETS]
        if usual:
            return usual[0]
        if not set(name.lower() for name in columns) & {"label", "target", "class"} and _has_masks(path):
            return None
    if options.targets is None and not (path / _PARTICIPANTS).exists():
        raise DataError.at(
            path / _PARTICIPANTS, "does not exist", remedy="add it, or use `--targets dseg` for segmentations"
        )
    try:
        return target_columns(path / _PARTICIPANTS, columns, options.targets)[0]
    except DataError as error:
        remedy = "choose the column with `--targets COLUMN`, or the segmentations with `--targets dseg`"
        allowed = f"{shortened(columns)}; dseg for segmentations"
        raise DataError(replace(error.faults[0], allowed=allowed, remedy=remedy)) from None


def _has_masks(path: Path) -> bool:
    return any(_suffix(file) == _MASK for file in _all_masks(path))


def _all_masks(path: Path) -> list[Path]:
    derivatives = path / "derivatives"
    folders = [*sorted(path.glob("sub-*")), *([derivatives] if derivatives.is_dir() else [])]
    return [file for folder in folders for file in files_below(folder, SUFFIXES) if _suffix(file) == _MASK]


def _masks_of(path: Path, volumes: list[Path], files: list[Path], pattern: str | None) -> dict[Path, Any]:
    """Return the segmentation of each volume: that with the same entities, and maybe more."""
    masks = _all_masks(path)
    if pattern and pattern != _MASK:
        masks = [mask for mask in masks if fnmatch(mask.name, pattern) or fnmatch(str(mask.relative_to(path)), pattern)]
    by_entities: dict[tuple[str, ...], list[Path]] = {}
    for mask in masks:
        by_entities.setdefault(_entities(mask), []).append(mask)
    targets: dict[Path, Any] = {}
    faults: list[Fault] = []
    for volume in volumes:
        matching = by_entities.get(_entities(volume), [])
        if len(matching) == 1:
            targets[volume] = matching[0]
        elif matching:
            faults.append(
                Fault(
                    str(volume), f"has {len(matching)} segmentations", value=[mask.name for mask in matching],
                    remedy="choose one with `--targets '*_desc-NAME_dseg.nii.gz'`",
                )
            )  # fmt: skip
        else:
            faults.append(
                Fault(str(volume), "has no _dseg file of the same name", remedy="add it, or remove the volume")
            )
    if faults:
        raise first_faults(faults)
    return targets


def _participants(path: Path) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Return the row of each participant by ``sub-…``, and the columns except the participant."""
    table = path / _PARTICIPANTS
    if not table.exists():
        return {}, []
    rows, columns = _rows(table)
    if "participant_id" not in columns:
        raise DataError.at(
            table, "has no column participant_id", allowed=shortened(columns), remedy="add it, with tabs"
        )
    subjects = ["sub-" + row["participant_id"].strip().removeprefix("sub-") for row in rows]
    if twice := [subject for subject, count in Counter(subjects).items() if count > 1]:
        raise DataError.at(table, "lists a participant twice", value=twice[0], remedy="remove one line")
    return dict(zip(subjects, rows, strict=True)), [name for name in columns if name != "participant_id"]


def _sessions(subjects: list[Path]) -> dict[tuple[str, str], dict[str, str]]:
    """Return the row of each session, by ``sub-…`` and ``ses-…``, of ``sub-…_sessions.tsv``."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for subject in subjects:
        table = subject / f"{subject.name}_{_SESSIONS}"
        for row in _rows(table)[0] if table.exists() else []:
            session = "ses-" + row.pop("session_id", "").removeprefix("ses-")
            found[subject.name, session] = row
    return found


def _rows(table: Path) -> tuple[list[dict[str, str]], list[str]]:
    """Return the rows of a table with tabs, and its columns."""
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, delimiter="\t", restval="")
            rows, columns = list(reader), list(reader.fieldnames or [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        remedy = encoding_remedy(table) if isinstance(error, UnicodeDecodeError) else "save it in UTF-8, with tabs"
        raise DataError.at(table, f"cannot be read: {error}", remedy=remedy) from None
    # Cells beyond the columns have the name None.
    return [{name: (value or "").strip() for name, value in row.items() if name is not None} for row in rows], columns


def _suffix(file: Path) -> str:
    return file.name.split(".")[0].rpartition("_")[2]


def _subject(file: Path) -> str:
    return file.name.split("_")[0]


def _session(file: Path) -> tuple[str, str]:
    """Return subject and session of a volume."""
    return _subject(file), next((part for part in file.name.split("_") if part.startswith("ses-")), "")


def _entities(file: Path) -> tuple[str, ...]:
    parts = file.name.split(".")[0].split("_")[:-1]
    return tuple(part for part in parts if part.partition("-")[0] not in _ADDED_ENTITIES)


def _claims(place: Place) -> bool:
    return (place.has(_PARTICIPANTS) or place.has("dataset_description.json")) and any(place.path.glob("sub-*"))


FORMAT = Format("a BIDS folder", _claims, open_bids, order=30)
