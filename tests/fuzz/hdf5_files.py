"""HDF5 files of all layouts and codecs, damaged; what passes ``verify`` must be read as written."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.config import DataConfig
from hpc_dl.data.files.child_process import in_child_process
from hpc_dl.data.files.data_file import open_data
from hpc_dl.data.files.format import Samples, write
from hpc_dl.data.files.inspection import inspect, verify
from hpc_dl.data.storage.rows import open_rows
from hpc_dl.errors import HpcDlError
from tests.fuzz.mutations import mutated

_ROWS, _WIDTH = 40, 24
_X = np.random.default_rng(0).normal(size=(_ROWS, _WIDTH)).round(1)
_Y = np.arange(_ROWS) % 3

_CODECS: dict[str, Any] = {
    "plain": {},
    "gzip": {"compression": "gzip"},
    "shuffled": {"compression": "gzip", "shuffle": True},
    "fletcher32": {"fletcher32": True},
    "gzip+fletcher32": {"compression": "gzip", "fletcher32": True},
    "lzf": {"compression": "lzf"},
    "zstd": hdf5plugin.Zstd(),
    "blosc": hdf5plugin.Blosc(),
    "blosc2": hdf5plugin.Blosc2(),
    "lz4": hdf5plugin.LZ4(),
    "bitshuffle": hdf5plugin.Bitshuffle(),
    "bzip2": hdf5plugin.BZip2(),
    "scaleoffset": {"scaleoffset": 2},
}


def _chunked(codec: str, libver: str, chunks: tuple[int, int] = (7, _WIDTH)) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with h5py.File(path, "w", libver=libver) as file:
            file.create_dataset("inputs", data=_X.astype("f4"), chunks=chunks, **_CODECS[codec])
            file["targets"] = _Y

    return make


def _with_datasets(libver: str = "earliest", **arrays: Any) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with h5py.File(path, "w", libver=libver) as file:
            for name, values in arrays.items():
                file[name] = values
            file.attrs["about"] = "some words"

    return make


def _own(path: Path, task: str = "classification") -> None:
    x = np.clip(_X * 40 + 128, 0, 255).astype("u1").reshape(_ROWS, 1, 4, 6)
    targets = {"classification": _Y, "regression": _X[:, :2].astype("f4")}[task]
    splits = {"train": Samples(x[:30], targets[:30]), "val": Samples(x[30:], targets[30:])}
    names = ["a", "b", "c"] if task == "classification" else ()
    write(path, splits, source="fuzz", task=task, license="CC0-1.0", class_names=names)  # type: ignore[arg-type]


def _own_repacked(path: Path) -> None:
    plain = path.with_suffix(".plain")
    _own(plain)
    with h5py.File(plain) as source, h5py.File(path, "w") as file:
        file.attrs.update(source.attrs)
        for split, group in source.items():
            for name, values in group.items():
                file.create_dataset(f"{split}/{name}", data=values[()], compression="gzip").attrs.update(values.attrs)
    plain.unlink()


def _sparse(path: Path) -> None:
    with h5py.File(path, "w") as file:
        x = file.create_dataset("inputs", (_ROWS, _WIDTH), "f4", chunks=(8, 8), fillvalue=2.5)
        x[3:9] = _X[3:9]
        file["targets"] = _Y


def _kinds(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["inputs"] = _X.astype("f8")
        file["names"] = [f"name {number}" for number in range(_ROWS)]
        file["pairs"] = np.zeros(_ROWS, [("a", "f4"), ("b", "i2")])
        file["lists"] = np.array([np.arange(n % 4) for n in range(_ROWS)], h5py.vlen_dtype("i4"))
        file["targets"] = _Y.astype("i1")
        file["level"] = h5py.Empty("f4")


def _compact(path: Path) -> None:
    with h5py.File(path, "w") as file:
        creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        creation.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple((_ROWS, 4))
        dataset = h5py.h5d.create(file.id, b"inputs", h5py.h5t.IEEE_F32LE, space, creation)
        h5py.Dataset(dataset)[...] = _X[:, :4]
        file["targets"] = _Y


def _user_block(path: Path) -> None:
    with h5py.File(path, "w", userblock_size=512) as file:
        file["inputs"], file["targets"] = _X, _Y


BASES: dict[str, Callable[[Path], None]] = {
    "contiguous": _with_datasets(inputs=_X.astype("f4"), targets=_Y),
    "contiguous, latest": _with_datasets("latest", inputs=_X.astype("f4"), targets=_Y),
    "big-endian": _with_datasets(inputs=_X.astype(">f8"), targets=_Y.astype(">i4")),
    "by split": _with_datasets(**{"train/inputs": _X, "train/targets": _Y, "val/inputs": _X, "val/targets": _Y}),
    "own format": _own,
    "own format, values": lambda path: _own(path, "regression"),
    "own format, gzip": _own_repacked,
    "never written": _sparse,
    "other kinds": _kinds,
    "compact": _compact,
    "user block": _user_block,
    "split columns": _chunked("gzip", "earliest", (7, 10)),
    **{f"{codec}, {libver}": _chunked(codec, libver) for codec in _CODECS for libver in ("earliest", "latest")},
}


def make_bases(folder: Path) -> dict[str, tuple[bytes, dict[str, NDArray[Any]]]]:
    """Return content and values of each base file."""
    bases = {}
    for name, make in BASES.items():
        path = folder / "base.h5"
        path.unlink(missing_ok=True)
        make(path)
        bases[name] = (path.read_bytes(), _values(path))
    return bases


def _values(path: Path) -> dict[str, NDArray[Any]]:
    values = {}
    with h5py.File(path) as file:

        def collect(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset) and item.shape and item.dtype.kind in "biuf":
                values[f"/{name}"] = item[()]

        file.visititems(collect)
    return values


def check_case(case: int, seed: int, bases: dict[str, Any], folder: Path) -> tuple[str, str]:
    """Damage a base file, then inspect, verify and read it.

    Returns:
        Kind and detail, as in :class:`tests.fuzz.workers.Outcome`.
    """
    chance = random.Random(f"{seed}-{case}")
    name = list(bases)[case % len(bases)]
    content, truth = bases[name]
    path = folder / f"{case}.h5"
    path.write_bytes(mutated(content, chance))
    refusals = []
    try:
        json.dumps(in_child_process(lambda path, _: inspect(path), path, silence_s=5))
    except HpcDlError as error:
        refusals.append(_one_line(error))
    try:
        report = in_child_process(verify, path, silence_s=5)
    except HpcDlError as error:
        report = None
        refusals.append(_one_line(error))
    if any("library does not survive" in refusal for refusal in refusals):
        path.unlink()
        return "refused", "; ".join(refusals)  # reading it here would crash or hang as well
    wrong = []
    for dataset, expected in truth.items():
        try:
            with closing(open_rows(path, dataset)) as reader:
                actual = reader.take(np.arange(reader.layout.shape[0]))
        except HpcDlError as error:
            refusals.append(_one_line(error))
            continue
        protected = report is not None and not report["unchecked_structure"] and dataset not in report["unprotected"]
        if protected and not _equal(actual, expected):
            wrong.append(dataset)
    try:
        data = open_data(path, DataConfig(file=str(path)))
        for split in data.splits:
            with data.reader(split) as reader:
                reader.read(np.arange(len(reader)))
    except HpcDlError as error:
        refusals.append(_one_line(error))
    path.unlink()
    if wrong:
        return "wrong", f"{name}: {', '.join(wrong)}"
    return ("refused", "; ".join(refusals)) if refusals else ("fine", name)


def _equal(actual: NDArray[Any], expected: NDArray[Any]) -> bool:
    same_type = actual.dtype.newbyteorder("=") == expected.dtype.newbyteorder("=")
    return same_type and actual.shape == expected.shape and np.array_equal(actual, expected, equal_nan=True)


def _one_line(error: HpcDlError) -> str:
    for fault in error.faults:
        assert "\n" not in str(fault), "a message of several lines"
        assert len(str(fault)) < 2000, "a message that fills the screen"
    return str(error.faults[0])
