"""The file format of hpc_dl, version 1, and its writer (docs/data-format.md)::

    / attributes: format, format_version, source, task, license, description, url, provenance,
                                 shared, sha256; inputs, targets: the names of the datasets, where
                                 others than these; stream: whether samples are windows of one long
                                 row of steps
    /train/inputs    (N, channels, …), channels first           attribute: units
    /train/targets   (N,) class numbers or (N, K) values        attributes: class_names, units
    /train/NAME_offsets   (N + 1,) where each sample begins in NAME, where they differ in length
    /val, /test      likewise

Datasets are contiguous and uncompressed unless their owner repacks them: a batch is then gathered
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


#: The datasets of a split by their names: arrays with one row for each sample, or samples of
#: different lengths.
Datasets = Mapping[str, NDArray[Any] | Ragged]


class Samples(NamedTuple):
    """Samples of one split with one input and one target: all, or a block of them.

    Attributes:
        inputs: (N, channels, …) numbers, channels first.
        targets: (N,) class numbers from 0, or (N, K) values.
    """

    inputs: NDArray[Any]
    targets: NDArray[Any]


@dataclass(frozen=True)
class About:
    """What a data file says of itself.

    Attributes:
        source: name of the data set.
        task: what the targets are for: ``classification``, ``regression``, ``segmentation`` for
            masks.
        license: SPDX name of the data's license.
        description: one sentence on what the samples are.
        url: where the data set is described or was had from.
        provenance: how the file was made: package, version, conversion.
        shared: what samples of different splits have in common (a subject, an image), ``none`` when
            nothing.
        class_names: names of the classes 0, 1, …; empty for regression.
        input_units: unit of the input values.
        target_units: unit of the target values.
        inputs: names of the datasets that make an input.
        targets: names of the datasets that make a target.
        stream: whether each split is one long row of steps, from which windows are cut.
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


def create(path: Path) -> h5py.File:
    """A new file to write to; datasets of a page or more start on a page of it.

    Their maps are aligned arrays then, and direct reads stay possible. Before HDF5 1.8 an
    attribute, such as the names of all words, held 64 KiB at most.
    """
    return h5py.File(
        path, "x", libver=("v108", "latest"), alignment_threshold=_PAGE_BYTES, alignment_interval=_PAGE_BYTES
    )


def describe(file: h5py.File, about: About) -> None:
    """Write the attributes of the file itself; the checksum is added when the content is there."""
    file.attrs.update(
        format=FORMAT,
        format_version=FORMAT_VERSION,
        source=about.source,
        task=about.task,
        license=about.license,
        description=about.description,
        url=about.url,
        provenance=about.provenance,
        shared=about.shared,
    )
    for name in ("inputs", "targets"):
        if (names := getattr(about, name)) != (name,):
            file.attrs[name] = np.array(names, h5py.string_dtype())
    if about.stream:
        file.attrs["stream"] = True


def describe_split(inputs: h5py.Dataset, targets: h5py.Dataset | None, about: About) -> None:
    """Write the attributes of a split's first two datasets; classes or tokens are named where there
    are no targets.
    """
    inputs.attrs["units"] = about.input_units
    if targets is not None:
        targets.attrs["units"] = about.target_units
    if about.class_names:
        (inputs if targets is None else targets).attrs["class_names"] = list(about.class_names)


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
    """Write a data file at once or not at all; a file that was there is replaced.

    Args:
        path: the file to write; its folder is made when it is missing.
        splits: the samples by ``train``, ``val`` and ``test``; ``train`` is required. Either
            :class:`Samples`, or the arrays by name, each with one row for each sample, or a
            ``Ragged``.
        source: name of the data set.
        task: what the targets are for.
        license: SPDX name of the data's license.
        description: one sentence on what the samples are.
        url: where the data set is described or was had from.
        provenance: how the file was made: package, version, conversion.
        shared: what samples of different splits have in common (a subject, an image), ``none`` when
            nothing.
        class_names: names of the classes 0, 1, …, or of the tokens; empty for regression.
        input_units: unit of the input values.
        target_units: unit of the target values.
        inputs: names of the datasets that make an input.
        targets: names of the datasets that make a target; none for tasks that have no targets.
        stream: whether each split is one long row of steps, from which windows are cut.

    Returns:
        The checksum of the content, ``sha256:…``, as it stands in the file.

    Raises:
        DataError: the splits do not fit the format, or the file cannot be written.
    """
    path = Path(path)
    about = About(
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
    named = {split: _named(samples) for split, samples in splits.items()}
    _check_splits(path, named, about)
    with staged(path) as temporary, create(temporary) as file:
        describe(file, about)
        for split, found in named.items():
            group = file.create_group(split)
            for name, values in found.items():
                if isinstance(values, Ragged):
                    group.create_dataset(f"{name}_offsets", data=np.asarray(values.offsets, np.int64))
                group.create_dataset(name, data=values.values if isinstance(values, Ragged) else values)
            describe_split(group[about.inputs[0]], group[about.targets[0]] if about.targets else None, about)
        checksum = content_checksum(file)
        file.attrs["sha256"] = checksum.removeprefix("sha256:")
    return checksum


def _named(samples: Samples | Datasets) -> Datasets:
    return {"inputs": samples.inputs, "targets": samples.targets} if isinstance(samples, Samples) else samples


def _check_splits(path: Path, splits: Mapping[str, Datasets], about: About) -> None:
    faults = [
        Fault(f"{path}:/{split}", "is not a split", allowed=", ".join(SPLITS))
        for split in splits
        if split not in SPLITS
    ]
    if "train" not in splits:
        faults.append(Fault(f"{path}:/train", "is missing; every data file has a training split"))
    for split, datasets in splits.items():
        faults += [
            Fault(f"{path}:/{split}/{name}", "is missing")
            for name in (*about.inputs, *about.targets)
            if name not in datasets
        ]
        sizes = {name: _num_samples(values) for name, values in datasets.items()}
        first = about.inputs[0]
        if not sizes.get(first, 1):
            faults.append(Fault(f"{path}:/{split}", "is empty", remedy="leave the split out"))
        for name, values in datasets.items():
            if name in about.inputs + about.targets and sizes[name] != sizes.get(first, sizes[name]):
                faults.append(Fault(f"{path}:/{split}", f"has {sizes[first]} {first} but {sizes[name]} {name}"))
            dtype = (values.values if isinstance(values, Ragged) else values).dtype
            if dtype.kind not in "biuf":
                faults.append(Fault(f"{path}:/{split}/{name}", "must hold numbers", value=str(dtype)))
        faults += _unnamed_classes(f"{path}:/{split}", datasets, about)
    if faults:
        raise DataError(*faults)


def _unnamed_classes(place: str, datasets: Datasets, about: About) -> list[Fault]:
    """Labels beyond the names of the classes, in the first target of a task with classes."""
    name = next(iter(about.targets), "")
    found = datasets.get(name)
    if found is None or not about.class_names or about.task not in ("classification", *PER_POSITION):
        return []
    labels = found.values if isinstance(found, Ragged) else found
    if labels.dtype.kind not in "biu" or not labels.size or 0 <= labels.min() <= labels.max() < len(about.class_names):
        return []
    outside = labels.max() if labels.max() >= len(about.class_names) else labels.min()
    return [
        Fault(
            f"{place}/{name}",
            "holds a label without a class name",
            value=int(outside),
            allowed=f"0 to {len(about.class_names) - 1}",
            remedy="number the classes from 0 and give each a name",
        )
    ]


def _num_samples(values: NDArray[Any] | Ragged) -> int:
    return len(values.offsets) - 1 if isinstance(values, Ragged) else len(values)


@contextmanager
def staged(path: Path) -> Iterator[Path]:
    """A name beside ``path`` to write to; it becomes ``path`` when the block ends well, else
    nothing is left of it.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        publish(temporary, path)
    except OSError as error:
        raise DataError.at(
            path, f"cannot be written: {error}", remedy="check the disk's space and the folder's permissions"
        ) from None
    finally:
        # Also after Ctrl-C; once the file has its own name there is nothing of this name to remove.
        if temporary.exists():
            temporary.unlink()
