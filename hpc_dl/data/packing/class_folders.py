"""Folders of labeled files: one folder per class, inside a folder per split if there are any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.packing.classes import class_notes, label_type, labels_or_values
from hpc_dl.data.packing.file_per_sample import FilePerSample, files_below
from hpc_dl.data.packing.label_table import LabelTable, is_table
from hpc_dl.data.packing.source import PackOptions, TrainedOn, Values, check_type, split_folders
from hpc_dl.errors import DataError


class LabeledFiles(NamedTuple):
    """Files, and the label of each.

    Attributes:
        files: all files, by split.
        labels: (N,) class numbers, or values; (N, 0) without labels.
        task: classification or regression; empty without labels.
        class_names: names of the classes.
        sizes: number of files in each split.
        table: the table that the labels are from; None if they are the names of folders.
        notes: how the labels were read.
    """

    files: list[Path]
    labels: NDArray[Any]
    task: str
    class_names: tuple[str, ...]
    sizes: dict[str, int]
    table: Path | None
    notes: list[str]

    @property
    def targets(self) -> Values | None:
        """Shape and type of one label; None without labels."""
        return Values((), self.labels.dtype) if self.task else None


class LabeledFolder(FilePerSample):
    """Files with a label each.

    Args:
        path: the folder.
        kind: name of the format, such as ``image folder``.
        inputs: shape and type of one input.
        found: the files and their labels.
        trained_on: what a model was trained on, for samples to predict.

    Raises:
        DataError: the inputs have another type than those of the training.
    """

    def __init__(
        self, path: Path, kind: str, inputs: Values, found: LabeledFiles, trained_on: TrainedOn | None
    ) -> None:
        super().__init__(
            path=path,
            kind=kind,
            inputs=inputs,
            targets=found.targets,
            sizes=found.sizes,
            has_splits=len(found.sizes) > 1,
            task=found.task,
            class_names=found.class_names,
            notes=[*found.notes],
            files=[*(file.absolute() for file in found.files), *([found.table] if found.table else [])],
        )
        self.samples, self._labels = found.files, found.labels
        check_type(self, trained_on)

    def targets_of(self, start: int, stop: int) -> NDArray[Any]:
        """See :class:`FilePerSample`."""
        return self._labels[start:stop]

    def labels(self) -> NDArray[Any] | None:
        """See :class:`Source`."""
        return self._labels if self.task == "classification" else None


def labeled_files(path: Path, suffixes: Sequence[str], what: str, options: PackOptions) -> LabeledFiles:
    """Find the files below a folder, with labels by folder or from the table of ``--targets``.

    Files to predict need no labels; they have some if all are in folders of the known classes.

    Args:
        path: the folder.
        suffixes: of the files.
        what: what a file is, for messages: ``image``.
        options: how to read the folder.

    Raises:
        DataError: a file is in no class folder, or has no label in the table.
    """
    folders = split_folders(path) or {"train": path}
    files: list[Path] = []
    sizes: dict[str, int] = {}
    if is_table(options.targets):
        table = Path(str(options.targets))
        labels = LabelTable(table)
        for split, folder in folders.items():
            found = files_below(folder, suffixes)
            files, sizes[split] = files + found, len(found)
        texts = [labels.label_of(file) for file in files]
        task, values, names = labels_or_values(texts, options, str(table))
        return LabeledFiles(files, values, task, names, sizes, table.absolute(), [*labels.notes(), *class_notes(names)])
    if options.trained_on is not None:
        return _perhaps_labeled(path, folders, suffixes, what, options.trained_on)
    classes_of = {split: _classes(folder, suffixes, what) for split, folder in folders.items()}
    names = options.class_names or tuple(sorted({name for classes in classes_of.values() for name in classes}))
    numbers: list[int] = []
    for split, classes in classes_of.items():
        for name, members in classes.items():
            if name not in names:
                raise DataError.at(
                    members[0].parent, "is not among the class names", value=name, allowed=", ".join(names)
                )
            files += members
            numbers += [names.index(name)] * len(members)
        sizes[split] = sum(map(len, classes.values()))
    return LabeledFiles(
        files, np.array(numbers, label_type(len(names))), "classification", names, sizes, None, class_notes(names)
    )


def _perhaps_labeled(
    path: Path, folders: Mapping[str, Path], suffixes: Sequence[str], what: str, trained_on: TrainedOn
) -> LabeledFiles:
    """Return all files, with labels if all are in folders of classes of the training."""
    files_of = {split: files_below(folder, suffixes) for split, folder in folders.items()}
    sizes = {split: len(files) for split, files in files_of.items()}
    files = [file for members in files_of.values() for file in members]
    if not files:
        raise DataError.at(path, f"contains no {what}s", allowed=", ".join(suffixes))
    names = trained_on.class_names
    labels = [file.relative_to(folders[split]).parts[0] for split, members in files_of.items() for file in members]
    if trained_on.task == "classification" and set(labels) <= set(names):
        numbers = np.array([names.index(label) for label in labels], label_type(len(names)))
        return LabeledFiles(files, numbers, "classification", names, sizes, None, [])
    return LabeledFiles(files, np.empty((len(files), 0), np.uint8), "", names, sizes, None, [])


def _classes(folder: Path, suffixes: Sequence[str], what: str) -> dict[str, list[Path]]:
    """Return the files of each class; folders without such files are ignored."""
    stray = [child for child in sorted(folder.iterdir()) if child.suffix.lower() in suffixes and child.is_file()]
    if stray:
        raise DataError.at(
            stray[0],
            "is not in a class folder",
            remedy=f"move each {what} to {folder}/CLASS/, remove it, or use `--targets TABLE.csv` (file, label)",
        )
    subfolders = [child for child in sorted(folder.iterdir()) if child.is_dir() and not child.name.startswith(".")]
    classes = {child.name: files for child in subfolders if (files := files_below(child, suffixes))}
    if not classes:
        raise DataError.at(folder, f"has no class folders with {what}s", allowed="CLASS/*" + ", ".join(suffixes))
    return classes
