"""The file format of hpc_dl and its writer (docs/reference/data-format.md).

The layout of a file::

    /                     attributes: format, format_version, source, task, license, description,
                                      url, provenance, shared, sha256;
                                      inputs, targets: names of the datasets if they differ;
                                      stream: whether samples are windows of one long stream
    /train/inputs         (N, channels, …), channels first           attribute: units
    /train/targets        (N,) class numbers or (N, K) values        attributes: class_names, units
    /train/NAME_offsets   (N + 1,) start of each sample in NAME, if samples differ in length
    /val, /test           like /train

Datasets are contiguous and uncompressed unless their owner repacks them, so a batch is gathered
from a memory map.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from hpc_dl.atomic_files import publish
from hpc_dl.data.ragged import Ragged
from hpc_dl.data.spec import PER_POSITION, SPLITS, TaskName
from hpc_dl.data.storage.checksum import content_checksum
from hpc_dl.errors import DataError, Fault

FORMAT = "hpc_dl"
FORMAT_VERSION = 2
_PAGE_BYTES = 4096

#: The datasets of a split by name: arrays with one row per sample, or samples of different lengths.
Datasets = Mapping[str, NDArray[Any] | Ragged]


class Samples(NamedTuple):
    """Samples of one split with one input and one target: the whole split, or a block of it.

    Attributes:
        inputs: (N, channels, …) numbers, channels first.
        targets: (N,) class numbers from 0, or (N, K) values.
    """

    inputs: NDArray[Any]
    targets: NDArray[Any]


@dataclass(frozen=True)
class FileAttributes:
    """The attributes of a data file.

    Attributes:
        source: name of the data set.
        task: what the targets are for: ``classification``, ``regression``, ``segmentation``, …
        license: SPDX identifier of the data's license.
        description: one sentence on what the samples are.
        url: where the data set is described or was downloaded from.
        provenance: how the file was created: package, version, conversion.
        shared: what samples of different splits have in common (a subject, an image), or ``none``.
        class_names: names of the classes 0, 1, …; empty for regression.
        input_units: unit of the input values.
        target_units: unit of the target values.
        inputs: names of the input datasets.
        targets: names of the target datasets.
        stream: whether each split is one long stream, from which windows are cut.
    """

    source: str
    task: str
    license: str
    description: str = ""
    url: str = ""
    provenance: str = ""
    shared: str = ""
    class_names: tuple[str, ...] = ()
    input_units: str = ""
    target_units: str = ""
    inputs: tuple[str, ...] = ("inputs",)
    targets: tuple[str, ...] = ("targets",)
    stream: bool = False


def create_file(path: Path) -> h5py.File:
    """Open a new file for writing, with datasets of a page or more aligned to pages.

    Memory maps of such datasets are aligned arrays, and direct reads remain possible. The file uses
    HDF5 1.8 features: before, an attribute, such as the names of all words, held 64 KiB at most.
    """
    return h5py.File(
        path, "x", libver=("v108", "latest"), alignment_threshold=_PAGE_BYTES, alignment_interval=_PAGE_BYTES
    )


def write_attributes(file: h5py.File, about: FileAttributes) -> None:
    """Write the attributes of the file, except the checksum, which follows the content."""
    file.attrs.update(
        format=FORMAT,
        format_version=FORMAT_VERSION,
        source=_utf8(about.source),
        task=about.task,
        license=about.license,
        description=_utf8(about.description),
        url=about.url,
        provenance=_utf8(about.provenance),
        shared=about.shared,
    )
    for name in ("inputs", "targets"):
        if (names := getattr(about, name)) != (name,):
            file.attrs[name] = np.array(names, h5py.string_dtype())
    if about.stream:
        file.attrs["stream"] = True


def _utf8(text: str) -> str:
    """Return a text without bytes of file names that are not UTF-8, which HDF5 cannot store."""
    return text.encode("utf-8", "backslashreplace").decode()


def write_split_attributes(inputs: h5py.Dataset, targets: h5py.Dataset | None, about: FileAttributes) -> None:
    """Write the attributes of a split; without targets the inputs name classes or tokens."""
    inputs.attrs["units"] = about.input_units
    if targets is not None:
        targets.attrs["units"] = about.target_units
    if about.class_names:
        (inputs if targets is None else targets).attrs["class_names"] = list(map(_utf8, about.class_names))


def write(
    path: str | Path,
    splits: Mapping[str, Samples | Datasets],
    *,
    source: str,
    task: TaskName,
    license: str,
    description: str = "",
    url: str = "",
    provenance: str = "",
    shared: str = "",
    class_names: Sequence[str] = (),
    input_units: str = "",
    target_units: str = "",
    inputs: Sequence[str] = ("inputs",),
    targets: Sequence[str] = ("targets",),
    stream: bool = False,
) -> str:
    """Write a data file atomically, replacing an existing one.

    Args:
        path: the file to write; its folder is created if it is missing.
        splits: the samples of ``train``, ``val`` and ``test``; ``train`` is required. Either
            :class:`Samples`, or arrays by name, each with one row per sample, or a ``Ragged``.
        source: name of the data set.
        task: what the targets are for.
        license: SPDX identifier of the data's license.
        description: one sentence on what the samples are.
        url: where the data set is described or was downloaded from.
        provenance: how the file was created: package, version, conversion.
        shared: what samples of different splits have in common (a subject, an image), or ``none``.
        class_names: names of the classes 0, 1, …, or of the tokens; empty for regression.
        input_units: unit of the input values.
        target_units: unit of the target values.
        inputs: names of the input datasets.
        targets: names of the target datasets; empty for tasks without targets.
        stream: whether each split is one long stream, from which windows are cut.

    Returns:
        The checksum of the content, ``sha256:…``, as stored in the file.

    Raises:
        DataError: the splits do not fit the format, or the file cannot be written.
    """
    path = Path(path)
    about = FileAttributes(
        source=source,
        task=task,
        license=license,
        description=description,
        url=url,
        provenance=provenance,
        shared=shared,
        class_names=tuple(class_names),
        input_units=input_units,
        target_units=target_units,
        inputs=tuple(inputs),
        targets=tuple(targets),
        stream=stream,
    )
    named = {split: _by_name(samples) for split, samples in splits.items()}
    _check_splits(path, named, about)
    with staged(path) as temporary, create_file(temporary) as file:
        write_attributes(file, about)
        for split, datasets in named.items():
            group = file.create_group(split)
            for name, values in datasets.items():
                if isinstance(values, Ragged):
                    group.create_dataset(f"{name}_offsets", data=np.asarray(values.offsets, np.int64))
                group.create_dataset(name, data=values.values if isinstance(values, Ragged) else values)
            write_split_attributes(group[about.inputs[0]], group[about.targets[0]] if about.targets else None, about)
        checksum = content_checksum(file)
        file.attrs["sha256"] = checksum.removeprefix("sha256:")
    return checksum


def _by_name(samples: Samples | Datasets) -> Datasets:
    return {"inputs": samples.inputs, "targets": samples.targets} if isinstance(samples, Samples) else samples


def _check_splits(path: Path, splits: Mapping[str, Datasets], about: FileAttributes) -> None:
    faults = [
        Fault(f"{path}:/{split}", "is not the name of a split", allowed=", ".join(SPLITS))
        for split in splits
        if split not in SPLITS
    ]
    if "train" not in splits:
        faults.append(Fault(f"{path}:/train", "is missing, but every data file needs a training split"))
    for split, datasets in splits.items():
        faults += [
            Fault(f"{path}:/{split}/{name}", "is missing", remedy=f"add the dataset to the {split} split")
            for name in (*about.inputs, *about.targets)
            if name not in datasets
        ]
        sizes = {name: _num_samples(values) for name, values in datasets.items()}
        first = about.inputs[0]
        if not sizes.get(first, 1):
            faults.append(Fault(f"{path}:/{split}", "contains no samples", remedy="omit the split"))
        for name, values in datasets.items():
            if name in about.inputs + about.targets and sizes[name] != sizes.get(first, sizes[name]):
                faults.append(Fault(f"{path}:/{split}", f"has {sizes[first]} {first}, but {sizes[name]} {name}"))
            dtype = (values.values if isinstance(values, Ragged) else values).dtype
            # What is neither input nor target, such as `data.group`, may be bytes of fixed length.
            if dtype.kind not in ("biuf" if name in about.inputs + about.targets else "biufS"):
                faults.append(Fault(f"{path}:/{split}/{name}", "must contain numbers", value=str(dtype)))
        faults += _labels_without_name(f"{path}:/{split}", datasets, about)
    if faults:
        raise DataError(*faults)


def _labels_without_name(place: str, datasets: Datasets, about: FileAttributes) -> list[Fault]:
    """Find labels beyond the class names, in the first target of a task with classes."""
    name = next(iter(about.targets), "")
    targets = datasets.get(name)
    if targets is None or not about.class_names or about.task not in ("classification", *PER_POSITION):
        return []
    labels = targets.values if isinstance(targets, Ragged) else targets
    if labels.dtype.kind not in "biu" or not labels.size or 0 <= labels.min() <= labels.max() < len(about.class_names):
        return []
    outside = labels.max() if labels.max() >= len(about.class_names) else labels.min()
    return [
        Fault(
            f"{place}/{name}",
            "contains a label that has no class name",
            value=int(outside),
            allowed=f"0 to {len(about.class_names) - 1}",
            remedy="number the classes from 0 and name each of them",
        )
    ]


def _num_samples(values: NDArray[Any] | Ragged) -> int:
    return len(values.offsets) - 1 if isinstance(values, Ragged) else len(values)


@contextmanager
def staged(path: Path) -> Iterator[Path]:
    """Yield a temporary path; the file there becomes ``path`` if the block succeeds.

    Otherwise the temporary file is removed.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        publish(temporary, path)
    except OSError as error:
        raise DataError.at(
            path, f"cannot be written: {error}", remedy="check the free disk space and the permissions of the folder"
        ) from None
    finally:
        # Also after Ctrl-C. After `publish` no file of this name is left.
        if temporary.exists():
            temporary.unlink()
