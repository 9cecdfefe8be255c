"""Writers that store samples so that a killed run can resume: what counts as stored is on disk.

``ContiguousWriter`` creates the complete file first and writes samples to their final positions.
After every 64 MiB it calls fsync and saves the number of stored samples. ``ChunkedWriter`` cannot
do so, because the position of a chunk is only known once the chunk is compressed. It writes pieces
of about 64 MiB as separate HDF5 files, and finally copies their compressed chunks into one file.
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

from hpc_dl.atomic_files import publish, write_json
from hpc_dl.data.files.format import Samples, create_file, write_attributes, write_split_attributes
from hpc_dl.data.packing.plan import Plan
from hpc_dl.regular_files import read_json

#: At most this much is lost when a run is killed.
CHECKPOINT_BYTES = 64 << 20

_COMPLETE = "whole.h5"
_STORED = "stored.json"


class Writer(ABC):
    """Appends samples to the splits of a file in the staging folder.

    Attributes:
        stored: number of samples of each split that do not have to be appended again.
        nonfinite: number of NaN and infinite values among the stored inputs.
    """

    def __init__(self, folder: Path, plan: Plan) -> None:
        self._folder, self._plan = folder, plan
        self._complete = folder / _COMPLETE
        self.stored = dict.fromkeys(plan.sizes, 0)
        self.nonfinite = 0
        self._new_bytes = 0

    @abstractmethod
    def append(self, split: str, samples: Samples) -> None:
        """Add the next samples of a split."""

    @abstractmethod
    def finish(self) -> Path:
        """Return the complete file, without its checksum, after all samples were appended."""

    def close(self) -> None:  # noqa: B027 - only some writers keep files open
        """Close the files without finishing."""

    def _count(self, samples: Samples) -> None:
        self._new_bytes += samples.inputs.nbytes + samples.targets.nbytes
        if samples.inputs.dtype.kind == "f":
            self.nonfinite += int(samples.inputs.size - np.count_nonzero(np.isfinite(samples.inputs)))

    def _state(self) -> dict[str, Any]:
        return {"stored": self.stored, "nonfinite": self.nonfinite}

    def _resume_from(self, state: Mapping[str, Any] | None) -> None:
        if state is not None:
            self.stored, self.nonfinite = dict(state["stored"]), int(state["nonfinite"])


def open_writer(folder: Path, plan: Plan) -> Writer:
    """Return the writer for a plan's layout; it resumes the unfinished run in this folder."""
    return ContiguousWriter(folder, plan) if plan.layout.name == "contiguous" else ChunkedWriter(folder, plan)


class ContiguousWriter(Writer):
    """Writes samples to their final positions in a file whose layout HDF5 has created."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        super().__init__(folder, plan)
        if self._complete.exists():
            self._resume_from(read_json(folder / _STORED))
        else:
            _create_empty(self._complete, plan)
        with h5py.File(self._complete) as file:
            self._offsets = {
                (split, kind): file[split][kind].id.get_offset() for split in plan.sizes for kind in plan.kinds
            }
        self._handle = os.open(self._complete, os.O_WRONLY)

    def append(self, split: str, samples: Samples) -> None:
        """See :class:`Writer`."""
        for kind, values in zip(self._plan.kinds, samples, strict=False):
            row_bytes = values.nbytes // len(values)
            _write_at(self._handle, values, self._offsets[split, kind] + self.stored[split] * row_bytes)
        self.stored[split] += len(samples.inputs)
        self._count(samples)
        if self._new_bytes >= CHECKPOINT_BYTES:
            self._checkpoint()

    def finish(self) -> Path:
        """See :class:`Writer`."""
        self._checkpoint()
        return self._complete

    def close(self) -> None:
        """See :class:`Writer`."""
        os.close(self._handle)

    def _checkpoint(self) -> None:
        os.fsync(self._handle)
        write_json(self._folder / _STORED, self._state())
        self._new_bytes = 0


class ChunkedWriter(Writer):
    """Compresses whole chunks into pieces, and joins the pieces at the end."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        super().__init__(folder, plan)
        self._pending: dict[str, list[Samples]] = {split: [] for split in plan.sizes}
        self._piece: h5py.File | None = None
        self._temporary = folder / "piece.new"
        state = read_json(folder / _STORED)
        self._num_pieces = int(state["pieces"]) if state else 0
        if self._complete.exists() or all(self._path_of(number).exists() for number in range(self._num_pieces)):
            self._resume_from(state)
        else:  # killed during the cleanup, after the packed file was published
            self._num_pieces = 0
        if self._complete.exists():
            self.stored = dict(plan.sizes)

    def append(self, split: str, samples: Samples) -> None:
        """See :class:`Writer`."""
        # The samples may be views of a block that will be reused.
        self._pending[split].append(Samples(samples.inputs.copy(), samples.targets.copy()))
        if sum(len(pending.inputs) for pending in self._pending[split]) >= self._plan.chunk_rows:
            self._store(split, self._plan.chunk_rows)
        if self._new_bytes >= CHECKPOINT_BYTES:
            self._end_piece()

    def finish(self) -> Path:
        """See :class:`Writer`."""
        if not self._complete.exists():
            for split, pending in self._pending.items():
                if pending:
                    self._store(split, 1)
            self._end_piece()
            self._join()
        for piece in self._folder.glob("piece-*.h5"):
            piece.unlink()
        return self._complete

    def close(self) -> None:
        """See :class:`Writer`."""
        if self._piece is not None:
            self._piece.close()

    def _store(self, split: str, multiple: int) -> None:
        """Write as many pending samples as form a multiple of ``multiple``; keep the others."""
        pending = self._pending[split]
        samples = Samples(*(np.concatenate(values) for values in zip(*pending, strict=True)))
        num = len(samples.inputs) // multiple * multiple
        chunks = Samples(samples.inputs[:num], samples.targets[:num])
        remainder = Samples(samples.inputs[num:].copy(), samples.targets[num:].copy())
        self._pending[split] = [remainder] if len(remainder.inputs) else []
        if self._piece is None:
            # In memory, because HDF5 does not handle a full disk properly.
            self._piece = h5py.File("piece", "w", driver="core", backing_store=False)
        for kind, values in zip(self._plan.kinds, chunks, strict=False):
            dataset = self._piece_dataset(self._piece, split, kind)
            start = len(dataset)
            dataset.resize(start + num, axis=0)
            dataset[start:] = values
        self.stored[split] += num
        self._count(chunks)

    def _piece_dataset(self, piece: h5py.File, split: str, kind: str) -> h5py.Dataset:
        if f"{split}/{kind}" in piece:
            return piece[split][kind]
        # Chunks as in the final file. Small targets, contiguous there, need chunks to be resizable.
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
        # A piece is valid only once the state counts it; otherwise it is replaced.
        publish(self._temporary, self._path_of(self._num_pieces))
        self._num_pieces += 1
        write_json(self._folder / _STORED, self._state() | {"pieces": self._num_pieces})
        self._new_bytes = 0

    def _path_of(self, number: int) -> Path:
        return self._folder / f"piece-{number:06d}.h5"

    def _join(self) -> None:
        """Copy the compressed chunks of all pieces into one file, without decompressing them."""
        num_bytes = sum(self._path_of(number).stat().st_size for number in range(self._num_pieces))
        if shutil.disk_usage(self._folder).free < num_bytes:
            raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}: {num_bytes:,} more bytes are needed")
        temporary = self._folder / "whole.new"
        temporary.unlink(missing_ok=True)
        try:
            self._copy_pieces(temporary)
        except RuntimeError as error:  # h5py's way to report that it could not write the last data on closing
            raise OSError(str(error)) from None
        publish(temporary, self._complete)

    def _copy_pieces(self, path: Path) -> None:
        _create_empty(path, self._plan)
        start = {(split, kind): 0 for split in self._plan.sizes for kind in self._plan.kinds}
        with h5py.File(path, "r+") as file:
            for number in range(self._num_pieces):
                with h5py.File(self._path_of(number)) as piece:
                    for split, kind in start:
                        if split in piece:
                            _copy(piece[split][kind], file[split][kind], start[split, kind])
                            start[split, kind] += len(piece[split][kind])


def _copy(source: h5py.Dataset, target: h5py.Dataset, start: int) -> None:
    """Copy all rows to the target's rows from ``start``, as compressed chunks if it has chunks."""
    if target.chunks is None:
        target[start : start + len(source)] = source[()]
        return
    other_axes = (0,) * (source.ndim - 1)
    for row in range(0, len(source), source.chunks[0]):
        filter_mask, chunk = source.id.read_direct_chunk((row, *other_axes))
        target.id.write_direct_chunk((start + row, *other_axes), chunk, filter_mask)


def _create_empty(path: Path, plan: Plan) -> None:
    """Create a file with all attributes and datasets but without samples, atomically."""
    temporary = path.with_name(f"{path.name}.empty")
    temporary.unlink(missing_ok=True)
    with create_file(temporary) as file:
        write_attributes(file, plan.about)
        # Fixed length, so that the checksum can replace it without moving anything else.
        file.attrs["sha256"] = np.bytes_("0" * 64)
        for split in plan.sizes:
            group = file.create_group(split)
            datasets = {kind: _create_dataset(group, split, kind, plan) for kind in plan.kinds}
            write_split_attributes(datasets["inputs"], datasets.get("targets"), plan.about)
            for name, value in plan.input_attributes.items():
                datasets["inputs"].attrs[name] = (
                    np.array(value, h5py.string_dtype()) if isinstance(value, tuple) else value
                )
            if plan.groups:
                values = plan.groups.values[split]
                group[plan.groups.dataset] = values.astype(h5py.string_dtype(length=values.itemsize))
    publish(temporary, path)


def _create_dataset(group: h5py.Group, split: str, kind: str, plan: Plan) -> h5py.Dataset:
    values = plan.values(kind)
    shape = (plan.sizes[split], *values.shape)
    if options := plan.chunks_of(split, kind):
        return group.create_dataset(kind, shape, values.dtype, **options)
    # Allocate the space now, so that positions are known, but do not fill it.
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    creation.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    return group.create_dataset(kind, shape, values.dtype, dcpl=creation)


def _write_at(handle: int, values: NDArray[Any], offset: int) -> None:
    content = memoryview(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)
    while len(content):
        written = os.pwrite(handle, content, offset)
        content, offset = content[written:], offset + written
