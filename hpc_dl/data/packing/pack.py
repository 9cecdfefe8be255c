"""From a source to a packed file: deal, store, checksum, verify, publish, measure."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

import hpc_dl
from hpc_dl.atomic_files import publish
from hpc_dl.data.files.format import About, Samples
from hpc_dl.data.packing.kinds import open_source
from hpc_dl.data.packing.layout import Layout, Plan
from hpc_dl.data.packing.read_speed import shuffled_speed
from hpc_dl.data.packing.source import Source, Wishes
from hpc_dl.data.packing.splits import Deal
from hpc_dl.data.packing.staging import staged
from hpc_dl.data.packing.writers import Writer, open_writer
from hpc_dl.data.storage.checksum import content_checksum
from hpc_dl.data.storage.rows import open_rows
from hpc_dl.errors import DataError

#: Told what is being done, and how many of how many samples are done.
Report = Callable[[str, int, int], None]

#: How long the speed is measured before and after.
SPEED_SECONDS = 1.0


@dataclass(frozen=True)
class Order:
    """What to make of a source.

    Attributes:
        wishes: what the user says of the source.
        layout: how the datasets are stored.
        fractions: shares of a random split, for a source that is not divided.
        seed: seed of that split.
        license: SPDX name of the data's license; empty to take the source's.
        verify: read the packed file back and compare it with the source.
        force: replace a file that is there; begin anew where an unfinished run made something else.
    """

    wishes: Wishes = field(default_factory=Wishes)
    layout: Layout = field(default_factory=Layout)
    fractions: Mapping[str, float] | None = None
    seed: int = 0
    license: str = ""
    verify: bool = False
    force: bool = False


def pack(path: Path, out: Path, order: Order, report: Report) -> dict[str, Any]:
    """Pack a source into a file of our own format; started again after a kill, it goes on where it
    was.

    The file appears when it is whole, and verified where that was asked for. Its bytes are the same
    however often the run was killed.

    Args:
        path: a file or a folder of any kind that ``kinds.py`` knows.
        out: the HDF5 file to make.
        order: what to make of it.
        report: is told of the progress.

    Returns:
        What was made, ready for JSON: ``file``, ``kind``, ``sizes``, ``checksum``, ``notes``,
        ``resumed_at`` (samples that an earlier run had stored), ``before`` and ``after`` (each with
        ``bytes`` and ``samples_per_s``).

    Raises:
        DataError: the source does not fit, or the file cannot be written.
    """
    _check_paths(path, out, order.force)
    with closing(open_source(path, order.wishes)) as source:
        return _packed(source, out, order, report)


def _packed(source: Source, out: Path, order: Order, report: Report) -> dict[str, Any]:
    deal = Deal(source, order.fractions, order.seed)
    plan = _plan(source, deal, order, out)
    notes = list(source.notes)
    if not source.divided and order.fractions is None:
        notes.append("all samples are in the training split; `--splits train=.8,val=.1,test=.1` divides them")
    try:
        with staged(out, plan, order.force) as folder:
            with closing(open_writer(folder, plan)) as writer:
                _check_space(folder, plan, writer)
                resumed_at = sum(writer.stored.values())
                _store(source, deal, writer, report)
                whole = writer.finish()
            if writer.nonfinite:
                notes.append(f"NaN or infinite values among the inputs: {writer.nonfinite:,}")
            if source.fingerprint() != plan.fingerprint:
                raise DataError.at(source.path, "was changed while it was packed", remedy="pack it again")
            report("checksum", 0, 0)
            checksum = _seal(whole)
            if order.verify:
                _verify(source, deal, whole, report)
            publish(whole, out)
    except OSError as error:
        raise DataError.at(
            out,
            f"cannot be written: {error}",
            remedy="check the disk's space and the folder's permissions; the same command goes on where it was",
        ) from None
    report("speed", 0, 0)
    return {
        "file": str(out.absolute()),
        "kind": source.kind,
        "task": source.task,
        "sizes": deal.sizes,
        "input_shape": list(source.inputs.shape),
        "input_dtype": str(source.inputs.dtype),
        "class_names": list(source.class_names),
        "layout": plan.layout.name,
        "codec": plan.layout.codec,
        "checksum": checksum,
        "verified": order.verify,
        "resumed_at": resumed_at,
        "notes": notes,
        "before": {"bytes": source.num_bytes, **_speed_before(source)},
        "after": {"bytes": out.stat().st_size, **_speed_after(out, deal.sizes["train"])},
    }


def _check_paths(path: Path, out: Path, force: bool) -> None:
    if out.suffix not in (".h5", ".hdf5"):
        raise DataError.at(out, "is not the name of an HDF5 file", value=out.suffix, allowed=".h5, .hdf5")
    if out.is_dir():
        raise DataError.at(out, "is a folder", remedy="give the path of a file")
    if out.exists() and path.exists() and os.path.samefile(path, out):
        raise DataError.at(out, "is the source itself", remedy="give another name; rename it afterwards")
    if out.exists() and not force:
        raise DataError.at(out, "is there already", remedy="give another name, or replace it by `--force`")


def _plan(source: Source, deal: Deal, order: Order, out: Path) -> Plan:
    told = dict(source.attributes)
    made = f"packed by hpc_dl {hpc_dl.__version__} from {source.path.name} ({source.kind})"
    about = About(
        source=told.get("source", out.stem),
        task=source.task,
        license=order.license or told.get("license", "unknown"),
        description=told.get("description", ""),
        url=told.get("url", ""),
        provenance="; ".join(filter(None, [told.get("provenance"), made])),
        shared=told.get("shared", "unknown"),
        class_names=source.class_names,
        input_units=told.get("input_units", ""),
        target_units=told.get("target_units", ""),
    )
    shares = ",".join(f"{split}={share:g}" for split, share in (order.fractions or {}).items())
    return Plan(
        fingerprint=source.fingerprint(),
        about=about,
        inputs=source.inputs,
        targets=source.targets,
        sizes=deal.sizes,
        layout=order.layout,
        dealt=f"{shares} seed {order.seed}" if shares else "",
    )


def _check_space(folder: Path, plan: Plan, writer: Writer) -> None:
    """What a codec will save is not known before, so that only unpacked data are certain to need
    their room.
    """
    if plan.layout.codec != "none":
        return
    done = sum(writer.stored.values()) / sum(plan.sizes.values())
    missing, free = int(plan.raw_bytes * (1 - done)), shutil.disk_usage(folder).free
    if missing > free:
        raise OSError(
            errno.ENOSPC, f"{free / 1e9:.1f} GB of space for {missing / 1e9:.1f} GB; `--codec zstd` is smaller"
        )


def _store(source: Source, deal: Deal, writer: Writer, report: Report) -> None:
    row = deal.first_missing(writer.stored)
    if row is None:
        return
    total = source.num_samples
    dealt = deal.dealt_before(row)
    stored = dict(writer.stored)  # of a split that others waited for, also samples after this row
    report("pack", row, total)
    for block in source.blocks(row):
        for split, chosen in deal.of_block(row, len(block.inputs)):
            samples = Samples(block.inputs[chosen], block.targets[chosen])
            skip = max(0, stored[split] - dealt[split])
            dealt[split] += len(samples.inputs)
            if skip < len(samples.inputs):
                writer.append(split, Samples(samples.inputs[skip:], samples.targets[skip:]))
        row += len(block.inputs)
        report("pack", row, total)
    if row != total:
        raise DataError.at(source.path, f"gave {row} samples instead of {total}: it was changed meanwhile")


def _seal(whole: Path) -> str:
    """Put the checksum of the content into its place in the file, and return it."""
    with h5py.File(whole, "r+") as file:
        checksum = content_checksum(file)
        file.attrs.modify("sha256", np.bytes_(checksum.removeprefix("sha256:")))
    return checksum


def _verify(source: Source, deal: Deal, whole: Path, report: Report) -> None:
    """Compare the packed file with the source, block by block, as training will read it."""
    readers = {
        (split, kind): open_rows(whole, f"/{split}/{kind}") for split in deal.sizes for kind in ("inputs", "targets")
    }
    dealt = dict.fromkeys(deal.sizes, 0)
    row = 0
    try:
        for block in source.blocks(0):
            for split, chosen in deal.of_block(row, len(block.inputs)):
                wanted = Samples(block.inputs[chosen], block.targets[chosen])
                rows = np.arange(dealt[split], dealt[split] + len(wanted.inputs))
                for kind, values in wanted._asdict().items():
                    found = readers[split, kind].take(rows)
                    if not np.array_equal(found, values, equal_nan=values.dtype.kind == "f"):
                        raise DataError.at(
                            f"{whole}:/{split}/{kind}",
                            f"differs from the source between samples {rows[0]} and {rows[-1]}",
                            remedy="check the disk and the memory, and pack again",
                        )
                dealt[split] += len(rows)
            row += len(block.inputs)
            report("verify", row, source.num_samples)
    finally:
        for reader in readers.values():
            reader.close()


def _speed_before(source: Source) -> dict[str, Any]:
    """Reading speed of the source: of shuffled batches where it can give them, else in its order."""
    first = source.take(np.arange(1))
    if first is not None:
        speed = shuffled_speed(
            lambda rows: np.asarray(source.take(rows)),
            source.sizes["train"],
            source.rows_together,
            seconds=SPEED_SECONDS,
        )
        return {"samples_per_s": round(speed.samples_per_s), "order": "shuffled"}
    begin = time.perf_counter()
    num = 0
    for block in source.blocks(0):
        num += len(block.inputs)
        if time.perf_counter() - begin > SPEED_SECONDS:
            break
    return {"samples_per_s": round(num / (time.perf_counter() - begin)), "order": "as stored"}


def _speed_after(out: Path, num_samples: int) -> dict[str, Any]:
    with closing(open_rows(out, "/train/inputs", threads=len(os.sched_getaffinity(0)))) as reader:
        speed = shuffled_speed(reader.take, num_samples, reader.rows_together, seconds=SPEED_SECONDS)
    return {"samples_per_s": round(speed.samples_per_s), "order": "shuffled"}
