"""The file format of hpc_dl, version 1, and its writer (docs/data-format.md)::

    /                attributes: format, format_version, source, task, licence, description, url, provenance,
                                 shared, sha256
    /train/inputs    (N, channels, …), channels first           attribute: units
    /train/targets   (N,) class numbers or (N, K) values        attributes: class_names, units
    /val, /test      likewise

Datasets are contiguous and uncompressed unless their owner repacks them: a batch is then gathered from a memory map.
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
from numpy.typing import NDArray

from hpc_dl.data.checksum import content_checksum
from hpc_dl.data.spec import SPLITS, TaskName
from hpc_dl.errors import DataError, Fault

FORMAT = "hpc_dl"
FORMAT_VERSION = 1
_PAGE_BYTES = 4096


class Samples(NamedTuple):
    """Samples of one split: all, or a block of them.

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
        task: what the targets are for: ``classification``, ``regression``, or ``labelling`` for masks.
        licence: SPDX name of the data's licence.
        description: one sentence on what the samples are.
        url: where the data set is described or was had from.
        provenance: how the file was made: package, version, conversion.
        shared: what samples of different splits have in common (a subject, an image), ``none`` when nothing.
        class_names: names of the classes 0, 1, …; empty for regression.
        input_units: unit of the input values.
        target_units: unit of the target values.
    """

    source: str
    task: str
    licence: str
    description: str = ""
    url: str = ""
    provenance: str = ""
    shared: str = ""
    class_names: tuple[str, ...] = ()
    input_units: str = ""
    target_units: str = ""


def create(path: Path) -> h5py.File:
    """A new file to write to; datasets of a page or more start on a page of it.

    Their maps are aligned arrays then, and direct reads stay possible.
    """
    return h5py.File(path, "x", alignment_threshold=_PAGE_BYTES, alignment_interval=_PAGE_BYTES)


def describe(file: h5py.File, about: About) -> None:
    """Write the attributes of the file itself; the checksum is added when the content is there."""
    file.attrs.update(
        format=FORMAT,
        format_version=FORMAT_VERSION,
        source=about.source,
        task=about.task,
        licence=about.licence,
        description=about.description,
        url=about.url,
        provenance=about.provenance,
        shared=about.shared,
    )


def describe_split(inputs: h5py.Dataset, targets: h5py.Dataset, about: About) -> None:
    """Write the attributes of a split's two datasets."""
    inputs.attrs["units"] = about.input_units
    targets.attrs["units"] = about.target_units
    if about.class_names:
        targets.attrs["class_names"] = list(about.class_names)


def write(
    path: str | Path,
    splits: Mapping[str, Samples],
    *,
    source: str,
    task: TaskName,
    licence: str,
    description: str = "",
    url: str = "",
    provenance: str = "",
    shared: str = "",
    class_names: Sequence[str] = (),
    input_units: str = "",
    target_units: str = "",
) -> str:
    """Write a data file at once or not at all; a file that was there is replaced.

    Args:
        path: the file to write; its folder is made when it is missing.
        splits: the samples by ``train``, ``val`` and ``test``; ``train`` is required.
        source: name of the data set.
        task: what the targets are for.
        licence: SPDX name of the data's licence.
        description: one sentence on what the samples are.
        url: where the data set is described or was had from.
        provenance: how the file was made: package, version, conversion.
        shared: what samples of different splits have in common (a subject, an image), ``none`` when nothing.
        class_names: names of the classes 0, 1, …; empty for regression.
        input_units: unit of the input values.
        target_units: unit of the target values.

    Returns:
        The checksum of the content, ``sha256:…``, as it stands in the file.

    Raises:
        DataError: the splits do not fit the format, or the file cannot be written.
    """
    path = Path(path)
    about = About(
        source=source,
        task=task,
        licence=licence,
        description=description,
        url=url,
        provenance=provenance,
        shared=shared,
        class_names=tuple(class_names),
        input_units=input_units,
        target_units=target_units,
    )
    _check_splits(path, splits)
    with _staged(path) as temporary, create(temporary) as file:
        describe(file, about)
        for split, samples in splits.items():
            group = file.create_group(split)
            describe_split(
                group.create_dataset("inputs", data=samples.inputs),
                group.create_dataset("targets", data=samples.targets),
                about,
            )
        checksum = content_checksum(file)
        file.attrs["sha256"] = checksum.removeprefix("sha256:")
    return checksum


def _check_splits(path: Path, splits: Mapping[str, Samples]) -> None:
    faults = [
        Fault(f"{path}:/{split}", "is not a split", allowed=", ".join(SPLITS))
        for split in splits
        if split not in SPLITS
    ]
    if "train" not in splits:
        faults.append(Fault(f"{path}:/train", "is missing; every data file has a training split"))
    for split, (inputs, targets) in splits.items():
        if not len(inputs):
            faults.append(Fault(f"{path}:/{split}", "is empty", remedy="leave the split out"))
        if len(inputs) != len(targets):
            faults.append(Fault(f"{path}:/{split}", f"has {len(inputs)} inputs but {len(targets)} targets"))
        for name, values in (("inputs", inputs), ("targets", targets)):
            if values.dtype.kind not in "biuf":
                faults.append(Fault(f"{path}:/{split}/{name}", "must hold numbers", value=str(values.dtype)))
    if faults:
        raise DataError(*faults)


@contextmanager
def _staged(path: Path) -> Iterator[Path]:
    """A name beside ``path`` to write to; it becomes ``path`` when the block ends well, else nothing is left of it."""
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


def publish(temporary: Path, path: Path) -> None:
    """Give a finished file its name, after its content is on the disk; the name is, too, on return."""
    sync(temporary)
    os.replace(temporary, path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Have the system put a file or a folder's entries on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
