"""Storing samples so that a killed run goes on: what counts as stored is on the disk.

``ContiguousWriter``: the file is laid out at once, empty; samples are written to their places in
    it, and every 64 MiB,
after an fsync, how many they are. ``ChunkedWriter``: where a chunk will lie is only known once it
is packed, so pieces of about 64 MiB are HDF5 files of their own first; at the end their packed
chunks are copied, as they are, into one.
"""

from __future__ import annotations

import errno
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from hpc_dl.atomic_files import publish, read_json, write_json
from hpc_dl.data.files.format import Samples, create_file, write_attributes, write_split_attributes
from hpc_dl.data.packing.layout import Plan

#: What is lost at most when a run is killed.
CHECKPOINT_BYTES = 64 << 20

_WHOLE = "whole.h5"
_STORED = "stored.json"
_KINDS = ("inputs", "targets")


class Writer(ABC):
    """Appends samples to the splits of a file in the staging folder.

    Attributes:
        stored: samples of each split that need not be given again.
        nonfinite: NaN and infinite values among the inputs that are stored.
    """

    def __init__(self, folder: Path, plan: Plan) -> None:
        self._folder, self._plan = folder, plan
        self._whole = folder / _WHOLE
        self.stored = dict.fromkeys(plan.sizes, 0)
        self.nonfinite = 0
        self._new_bytes = 0

    @abstractmethod
    def append(self, split: str, samples: Samples) -> None:
        """Add the next samples of a split."""

    @abstractmethod
    def finish(self) -> Path:
        """Return the whole file, once all samples are there; its checksum is not in it yet."""

    def close(self) -> None:  # noqa: B027 - only some writers hold something
        """Let go of the file without finishing."""

    def _count(self, samples: Samples) -> None:
        self._new_bytes += samples.inputs.nbytes + samples.targets.nbytes
        if samples.inputs.dtype.kind == "f":
            self.nonfinite += int(samples.inputs.size - np.count_nonzero(np.isfinite(samples.inputs)))

    def _state(self) -> dict[str, Any]:
        return {"stored": self.stored, "nonfinite": self.nonfinite}

    def _go_on_from(self, state: Mapping[str, Any] | None) -> None:
        if state is not None:
            self.stored, self.nonfinite = dict(state["stored"]), int(state["nonfinite"])


def open_writer(folder: Path, plan: Plan) -> Writer:
    """The writer for a plan's layout, which goes on where the last one in this folder was killed."""
    return ContiguousWriter(folder, plan) if plan.layout.name == "contiguous" else ChunkedWriter(folder, plan)


class ContiguousWriter(Writer):
    """Writes samples to their places in a file that HDF5 has laid out."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        super().__init__(folder, plan)
        if self._whole.exists():
            self._go_on_from(read_json(folder / _STORED))
        else:
            _lay_out(self._whole, plan)
        with h5py.File(self._whole) as file:
            self._offsets = {
                (split, kind): file[split][kind].id.get_offset() for split in plan.sizes for kind in _KINDS
            }
        self._handle = os.open(self._whole, os.O_WRONLY)

    def append(self, split: str, samples: Samples) -> None:
        """See :class:`Writer`."""
        for kind, values in zip(_KINDS, samples, strict=True):
            row_bytes = values.nbytes // len(values)
            _write_at(self._handle, values, self._offsets[split, kind] + self.stored[split] * row_bytes)
        self.stored[split] += len(samples.inputs)
        self._count(samples)
        if self._new_bytes >= CHECKPOINT_BYTES:
            self._checkpoint()

    def finish(self) -> Path:
        """See :class:`Writer`."""
        self._checkpoint()
        return self._whole

    def close(self) -> None:
        """See :class:`Writer`."""
        os.close(self._handle)

    def _checkpoint(self) -> None:
        os.fsync(self._handle)
        write_json(self._folder / _STORED, self._state())
        self._new_bytes = 0


class ChunkedWriter(Writer):
    """Packs whole chunks into pieces, and joins the pieces at the end."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        super().__init__(folder, plan)
        self._waiting: dict[str, list[Samples]] = {split: [] for split in plan.sizes}
        self._piece: h5py.File | None = None
        self._temporary = folder / "piece.new"
        state = read_json(folder / _STORED)
        self._num_pieces = int(state["pieces"]) if state else 0
        if self._whole.exists() or all(self._path_of(number).exists() for number in range(self._num_pieces)):
            self._go_on_from(state)
        else:  # killed while it was cleared away, after the file had its name
            self._num_pieces = 0
        if self._whole.exists():
            self.stored = dict(plan.sizes)

    def append(self, split: str, samples: Samples) -> None:
        """See :class:`Writer`."""
        # The samples may be views of a block that is used again.
        self._waiting[split].append(Samples(samples.inputs.copy(), samples.targets.copy()))
        if sum(len(waiting.inputs) for waiting in self._waiting[split]) >= self._plan.chunk_rows:
            self._store(split, self._plan.chunk_rows)
        if self._new_bytes >= CHECKPOINT_BYTES:
            self._end_piece()

    def finish(self) -> Path:
        """See :class:`Writer`."""
        if not self._whole.exists():
            for split, waiting in self._waiting.items():
                if waiting:
                    self._store(split, 1)
            self._end_piece()
            self._join()
        for piece in self._folder.glob("piece-*.h5"):
            piece.unlink()
        return self._whole

    def close(self) -> None:
        """See :class:`Writer`."""
        if self._piece is not None:
            self._piece.close()

    def _store(self, split: str, multiple: int) -> None:
        """Write as many of the waiting samples as make whole multiples of a chunk."""
        waiting = self._waiting[split]
        all_of_them = Samples(*(np.concatenate(values) for values in zip(*waiting, strict=True)))
        num = len(all_of_them.inputs) // multiple * multiple
        now = Samples(all_of_them.inputs[:num], all_of_them.targets[:num])
        rest = Samples(all_of_them.inputs[num:].copy(), all_of_them.targets[num:].copy())
        self._waiting[split] = [rest] if len(rest.inputs) else []
        if self._piece is None:
            # In memory: HDF5 itself does not end in order on a full disk.
            self._piece = h5py.File("piece", "w", driver="core", backing_store=False)
        for kind, values in zip(_KINDS, now, strict=True):
            dataset = self._dataset(self._piece, split, kind)
            begin = len(dataset)
            dataset.resize(begin + num, axis=0)
            dataset[begin:] = values
        self.stored[split] += num
        self._count(now)

    def _dataset(self, piece: h5py.File, split: str, kind: str) -> h5py.Dataset:
        if f"{split}/{kind}" in piece:
            return piece[split][kind]
        # Chunks like those of the whole file; small targets, which are contiguous there, need some
        # to grow.
        values = self._plan.values(kind)
        options = self._plan.chunks_of(split, kind) or {"chunks": (self._plan.chunk_rows, *values.shape)}
        maximum = (None, *values.shape)
        return piece.create_dataset(f"{split}/{kind}", (0, *values.shape), values.dtype, maxshape=maximum, **options)

    def _end_piece(self) -> None:
        if self._piece is None:
            return
        self._piece.flush()
        self._temporary.write_bytes(self._piece.id.get_file_image())
        self._piece.close()
        self._piece = None
        # A piece counts once the state says so; one that the state does not know of is replaced.
        publish(self._temporary, self._path_of(self._num_pieces))
        self._num_pieces += 1
        write_json(self._folder / _STORED, self._state() | {"pieces": self._num_pieces})
        self._new_bytes = 0

    def _path_of(self, number: int) -> Path:
        return self._folder / f"piece-{number:06d}.h5"

    def _join(self) -> None:
        """Copy the chunks of all pieces as they are, without unpacking them, into one file."""
        num_bytes = sum(self._path_of(number).stat().st_size for number in range(self._num_pieces))
        if shutil.disk_usage(self._folder).free < num_bytes:
            raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}: {num_bytes:,} bytes more are needed")
        temporary = self._folder / "whole.new"
        temporary.unlink(missing_ok=True)
        try:
            self._copy_pieces(temporary)
        except RuntimeError as error:  # so h5py tells that it could not write the rest on closing
            raise OSError(str(error)) from None
        publish(temporary, self._whole)

    def _copy_pieces(self, path: Path) -> None:
        _lay_out(path, self._plan)
        place = {(split, kind): 0 for split in self._plan.sizes for kind in _KINDS}
        with h5py.File(path, "r+") as file:
            for number in range(self._num_pieces):
                with h5py.File(self._path_of(number)) as piece:
                    for split, kind in place:
                        if split in piece:
                            _copy(piece[split][kind], file[split][kind], place[split, kind])
                            place[split, kind] += len(piece[split][kind])


def _copy(source: h5py.Dataset, target: h5py.Dataset, begin: int) -> None:
    """Copy all rows to those from ``begin`` on; as packed chunks where both have the same ones."""
    if target.chunks is None:
        target[begin : begin + len(source)] = source[()]
        return
    rest = (0,) * (source.ndim - 1)
    for row in range(0, len(source), source.chunks[0]):
        mask, packed = source.id.read_direct_chunk((row, *rest))
        target.id.write_direct_chunk((begin + row, *rest), packed, mask)


def _lay_out(path: Path, plan: Plan) -> None:
    """Make a file with all attributes and all datasets, without samples; it appears whole."""
    temporary = path.with_name(f"{path.name}.empty")
    temporary.unlink(missing_ok=True)
    with create_file(temporary) as file:
        write_attributes(file, plan.about)
        # Of fixed length: the checksum is put in its place later, without anything else moving.
        file.attrs["sha256"] = np.bytes_("0" * 64)
        for split in plan.sizes:
            group = file.create_group(split)
            inputs, targets = (_lay_out_dataset(group, split, kind, plan) for kind in _KINDS)
            write_split_attributes(inputs, targets, plan.about)
    publish(temporary, path)


def _lay_out_dataset(group: h5py.Group, split: str, kind: str, plan: Plan) -> h5py.Dataset:
    values = plan.values(kind)
    shape = (plan.sizes[split], *values.shape)
    if options := plan.chunks_of(split, kind):
        return group.create_dataset(kind, shape, values.dtype, **options)
    # Room for all samples now, so that their places are known, but nothing is written there.
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    creation.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    return group.create_dataset(kind, shape, values.dtype, dcpl=creation)


def _write_at(handle: int, values: NDArray[Any], place: int) -> None:
    content = memoryview(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)
    while len(content):
        written = os.pwrite(handle, content, place)
        content, place = content[written:], place + written
