"""Packing a source into a file: assign splits, store, checksum, verify, publish, measure."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

import hpc_dl
from hpc_dl.atomic_files import publish
from hpc_dl.data.files.format import FileAttributes, Samples
from hpc_dl.data.packing.damaged import damage_reported
from hpc_dl.data.packing.layout import Layout
from hpc_dl.data.packing.left_out import left_out
from hpc_dl.data.packing.open_source import open_source
from hpc_dl.data.packing.plan import Plan
from hpc_dl.data.packing.sample_groups import sample_groups
from hpc_dl.data.packing.source import PackOptions, Source
from hpc_dl.data.packing.split_assignment import SplitAssignment
from hpc_dl.data.packing.staging import staged
from hpc_dl.data.packing.writers import Writer, open_writer
from hpc_dl.data.read_speed.shuffled import shuffled_speed
from hpc_dl.data.storage.available_memory import available_bytes
from hpc_dl.data.storage.checksum import content_checksum
from hpc_dl.data.storage.rows import open_rows
from hpc_dl.errors import DataError

#: Called with the stage, and the number of processed and of all samples.
Report = Callable[[str, int, int], None]

SPEED_SECONDS = 1.0  #: How long the reading speed of the source, and of the packed file, is measured.


@dataclass(frozen=True)
class PackRequest:
    """How to pack a source.

    Attributes:
        options: how to read the source.
        layout: how the datasets are stored.
        fractions: share of each split, for a random split of a source without splits.
        seed: seed of the random split.
        license: SPDX name of the data's license; empty to use the source's.
        verify: read the packed file back and compare it with the source.
        force: replace an existing file; start over if an unfinished run has other options.
    """

    options: PackOptions = field(default_factory=PackOptions)
    layout: Layout = field(default_factory=Layout)
    fractions: Mapping[str, float] | None = None
    seed: int = 0
    license: str = ""
    verify: bool = False
    force: bool = False


def pack(path: Path, out: Path, request: PackRequest, report: Report) -> dict[str, Any]:
    """Pack a source into a file of our own format; resume if an earlier run was killed.

    The file appears only when complete and, on request, verified. A killed run changes no byte.

    Args:
        path: a file or folder in a format that ``open_source.py`` supports.
        out: the HDF5 file to write.
        request: how to pack.
        report: called with the progress.

    Returns:
        JSON-compatible results: ``file``, ``kind``, ``sizes``, ``checksum``, ``notes``,
        ``resumed_at`` (number of samples stored by an earlier run), ``before`` and ``after`` (each
        with ``bytes`` and ``samples_per_s``), and others.

    Raises:
        DataError: the source is invalid, or the file cannot be written.
    """
    _check_paths(path, out, request.force)
    try:
        with closing(open_source(path, request.options)) as source:
            return _pack(source, out, request, report)
    except MemoryError:
        raise DataError.at(path, "needs more memory than there is", remedy="use a machine with more memory") from None


def _pack(source: Source, out: Path, request: PackRequest, report: Report) -> dict[str, Any]:
    _check_memory(source)
    splits = SplitAssignment(source, request.fractions, request.seed)
    with damage_reported(source.path):
        source.fit(splits.is_in("train"))
    plan = _plan(source, splits, request, out)
    notes = [*source.notes, *left_out(source), *splits.notes]
    if not source.has_splits and request.fractions is None:
        notes.append("all samples are in the training split; to create others, use `--splits train=.8,val=.1,test=.1`")
    try:
        with staged(out, plan, request.force) as folder:
            with closing(open_writer(folder, plan)) as writer:
                _check_space(folder, plan, writer)
                resumed_at = sum(writer.stored.values())
                _store(source, splits, writer, report)
                complete = writer.finish()
            if writer.nonfinite:
                notes.append(f"the inputs contain {writer.nonfinite:,} NaN or infinite values")
            if source.fingerprint() != plan.fingerprint:
                raise DataError.at(source.path, "changed while it was being packed", remedy="pack it again")
            report("checksum", 0, 0)
            checksum = _add_checksum(complete)
            if request.verify:
                _verify(source, splits, complete, plan.kinds, report)
            publish(complete, out)
    except OSError as error:
        if error.errno is None:  # not from the system, but from a library that reads the source
            raise
        raise DataError.at(
            out,
            f"cannot be written: {error}",
            remedy="check the free space and the permissions of the folder, then repeat the command to resume",
        ) from None
    report("speed", 0, 0)
    return {
        "file": str(out.absolute()),
        "kind": source.kind,
        "task": source.task,
        "sizes": splits.sizes,
        "input_shape": list(source.inputs.shape),
        "input_dtype": str(source.inputs.dtype),
        "class_names": list(source.class_names),
        "layout": plan.layout.name,
        "codec": plan.layout.codec,
        "checksum": checksum,
        "verified": request.verify,
        "resumed_at": resumed_at,
        "notes": notes,
        "before": {"bytes": source.num_bytes, **_speed_before(source)},
        "after": {"bytes": out.stat().st_size, **_speed_after(out, splits.sizes["train"])},
    }


def _check_paths(path: Path, out: Path, force: bool) -> None:
    if out.suffix not in (".h5", ".hdf5"):
        raise DataError.at(out, "is not the name of an HDF5 file", value=out.suffix, allowed=".h5, .hdf5")
    if out.is_dir():
        raise DataError.at(out, "is a folder", remedy="specify the path of a file")
    if out.exists() and path.exists() and os.path.samefile(path, out):
        raise DataError.at(out, "is the source itself", remedy="choose another name, and rename the file later")
    if out.exists() and not force:
        raise DataError.at(out, "already exists", remedy="choose another name, or replace it with `--force`")


def _check_memory(source: Source) -> None:
    """Check that a sample fits into memory: a damaged header may declare any size."""
    row_bytes = source.inputs.row_bytes + (source.targets.row_bytes if source.targets else 0)
    if row_bytes > available_bytes() / 3:
        raise DataError.at(
            source.path,
            f"has samples of {row_bytes:,} bytes, which exceed the memory",
            value=source.inputs.shape,
            remedy="check its shape, or cut the samples into smaller ones",
        )


def _plan(source: Source, splits: SplitAssignment, request: PackRequest, out: Path) -> Plan:
    attributes = source.attributes
    packed = f"packed by hpc_dl {hpc_dl.__version__} from {source.path.name} ({source.kind})"
    about = FileAttributes(
        source=attributes.get("source", out.stem),
        task=source.task,
        license=request.license or attributes.get("license", "unknown"),
        description=attributes.get("description", ""),
        url=attributes.get("url", ""),
        provenance="; ".join(filter(None, [attributes.get("provenance"), packed])),
        shared=attributes.get("shared", "none" if splits.by_group else "unknown"),
        class_names=source.class_names,
        input_units=attributes.get("input_units", ""),
        target_units=attributes.get("target_units", ""),
        targets=("targets",) if source.targets else (),
        stream=source.stream,
    )
    shares = ",".join(f"{split}={share:g}" for split, share in (request.fractions or {}).items())
    return Plan(
        fingerprint=source.fingerprint(),
        about=about,
        inputs=source.inputs,
        targets=source.targets,
        sizes=splits.sizes,
        layout=request.layout,
        assignment=f"{shares} seed {request.seed}" if shares else "",
        input_attributes=source.input_attributes,
        groups=sample_groups(source, splits, request.options.group),
    )


def _check_space(folder: Path, plan: Plan, writer: Writer) -> None:
    """Check the free space for uncompressed samples; a compressed size is not yet known."""
    if plan.layout.codec != "none":
        return
    stored_share = sum(writer.stored.values()) / sum(plan.sizes.values())
    needed, free = int(plan.raw_bytes * (1 - stored_share)), shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            errno.ENOSPC,
            f"{needed / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free; `--codec zstd` needs less space",
        )


def _store(source: Source, splits: SplitAssignment, writer: Writer, report: Report) -> None:
    """Append all samples to the writer that it has not stored yet."""
    row = splits.first_missing(writer.stored)
    if row is None:
        return
    total = source.num_samples
    read = splits.counts_before(row)  # number of samples of each split before the current row
    stored = dict(writer.stored)  # a split may have stored samples beyond this row
    report("pack", row, total)
    for block in _blocks(source, row):
        for split, rows in splits.of_block(row, len(block.inputs)):
            samples = Samples(block.inputs[rows], block.targets[rows])
            skip = max(0, stored[split] - read[split])
            read[split] += len(samples.inputs)
            if skip < len(samples.inputs):
                writer.append(split, Samples(samples.inputs[skip:], samples.targets[skip:]))
        row += len(block.inputs)
        report("pack", row, total)
    if row != total:
        raise DataError.at(source.path, f"has {row} samples instead of {total}: it changed while it was being packed")


def _blocks(source: Source, start: int) -> Iterator[Samples]:
    """Yield the blocks of a source; what its libraries raise is reported in one line."""
    blocks = source.blocks(start)
    while True:
        with damage_reported(source.path):
            block = next(blocks, None)
        if block is None:
            return
        yield block


def _add_checksum(path: Path) -> str:
    """Write the checksum of the content into the file, and return it."""
    with h5py.File(path, "r+") as file:
        checksum = content_checksum(file)
        file.attrs.modify("sha256", np.bytes_(checksum.removeprefix("sha256:")))
    return checksum


def _verify(source: Source, splits: SplitAssignment, path: Path, kinds: tuple[str, ...], report: Report) -> None:
    """Compare the packed file with the source, block by block, reading it as training does."""
    readers = {(split, kind): open_rows(path, f"/{split}/{kind}") for split in splits.sizes for kind in kinds}
    num_compared = dict.fromkeys(splits.sizes, 0)
    row = 0
    try:
        for block in _blocks(source, 0):
            for split, chosen in splits.of_block(row, len(block.inputs)):
                expected = Samples(block.inputs[chosen], block.targets[chosen])
                rows = np.arange(num_compared[split], num_compared[split] + len(expected.inputs))
                for kind, values in zip(kinds, expected, strict=False):
                    packed = readers[split, kind].take(rows)
                    if not np.array_equal(packed, values, equal_nan=values.dtype.kind == "f"):
                        raise DataError.at(
                            f"{path}:/{split}/{kind}",
                            f"differs from the source between samples {rows[0]} and {rows[-1]}",
                            remedy="check the disk and the memory, and pack again",
                        )
                num_compared[split] += len(rows)
            row += len(block.inputs)
            report("verify", row, source.num_samples)
    finally:
        for reader in readers.values():
            reader.close()


def _speed_before(source: Source) -> dict[str, Any]:
    """Measure the reading speed of the source: of shuffled batches if possible, else in order."""
    if source.take(np.arange(1)) is not None:
        num, together = source.sizes["train"], source.rows_together
        speed = shuffled_speed(lambda rows: np.asarray(source.take(rows)), num, together, seconds=SPEED_SECONDS)
        return {"samples_per_s": round(speed.samples_per_s), "order": "shuffled"}
    start = time.perf_counter()
    num_samples = 0
    for block in source.blocks(0):
        num_samples += len(block.inputs)
        if time.perf_counter() - start > SPEED_SECONDS:
            break
    return {"samples_per_s": round(num_samples / (time.perf_counter() - start)), "order": "as stored"}


def _speed_after(out: Path, num_samples: int) -> dict[str, Any]:
    with closing(open_rows(out, "/train/inputs", threads=len(os.sched_getaffinity(0)))) as reader:
        speed = shuffled_speed(reader.take, num_samples, reader.rows_together, seconds=SPEED_SECONDS)
    return {"samples_per_s": round(speed.samples_per_s), "order": "shuffled"}
