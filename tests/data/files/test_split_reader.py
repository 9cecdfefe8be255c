"""SplitReader: batches from every layout, in any process."""

import multiprocessing
import os
import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from hpc_dl.data.config import DataConfig
from hpc_dl.data.files.data_file import DataFile, open_data
from hpc_dl.data.files.split_reader import SplitReader
from hpc_dl.data.storage.rows import open_rows
from tests.data.small_files import samples

ROWS = np.array([5, 0, 5, 49, 7])
FRACTIONS = {"fractions": {"train": 1.0, "val": 0.0, "test": 0.0}}
LAYOUTS: dict[str, dict[str, Any]] = {
    "contiguous": {},
    "chunked": {"chunks": (7, 1, 4, 4)},
    "gzip": {"chunks": (7, 1, 4, 4), "compression": "gzip", "shuffle": True},
    "big-endian": {"dtype": ">f4"},
    "float64": {"dtype": "f8"},
    "bool": {"dtype": "?"},
}


def open_whole(path: Path, **section: Any) -> DataFile:
    return open_data(path, DataConfig.model_validate({"file": str(path), "splits": FRACTIONS} | section))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_of_every_layout(tmp_path: Path, layout: str) -> None:
    expected = samples(50).inputs.astype(LAYOUTS[layout].get("dtype", "u1"))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("inputs", data=expected, **LAYOUTS[layout])
    reader = open_rows(tmp_path / "x.h5", "inputs")
    assert reader.reading.startswith({"chunked": "chunks, not compressed", "gzip": "chunks, "}.get(layout, "mapped"))
    for rows in (ROWS, np.arange(10, 20), np.array([3])):
        values = reader.take(rows)
        assert values.dtype.isnative and values.flags.writeable and values.flags.c_contiguous
        np.testing.assert_array_equal(values, expected[rows])
    reader.close()


def test_reader_opens_lazily_and_closes(own_file: Path) -> None:
    data = open_data(own_file, DataConfig(file=str(own_file)))
    with data.reader("val") as reader:
        assert len(reader) == 11 and reader._open_in is None
        x, y = reader.read(np.array([4, 2]))
        np.testing.assert_array_equal(x, samples(11, 1).inputs[[4, 2]])
        np.testing.assert_array_equal(y, samples(11, 1).targets[[4, 2]])
        assert y.dtype == np.int64
    assert reader._open_in is None


def test_split_samples_map_to_rows_of_the_file(foreign_file: Any) -> None:
    x, y = samples(50)
    path = foreign_file(inputs=x, targets=y, i=np.array([30, 10, 20]))
    data = open_whole(path, splits={"indices": {"train": "i"}})
    got_x, got_y = data.reader("train").read(np.array([2, 0]))
    np.testing.assert_array_equal(got_x, x[[30, 10]])
    np.testing.assert_array_equal(got_y, y[[30, 10]])


def test_batches_have_the_shapes_and_types_of_the_spec(foreign_file: Any) -> None:
    x = samples(50, shape=(6, 7, 3)).inputs
    path = foreign_file(inputs=x, targets=np.linspace(0, 1, 50))
    data = open_whole(path, channels="last")
    got, y = data.reader("train").read(ROWS)
    assert data.spec.input_shape == (3, 6, 7)
    np.testing.assert_array_equal(got, x[ROWS].transpose(0, 3, 1, 2))
    assert y.shape == (5, 1) and y.dtype == np.float32


def _read_in_child(reader: SplitReader, pipe: Any) -> None:
    pipe.send((os.getpid(), reader.read(ROWS)[0].tobytes()))


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
@pytest.mark.parametrize("compression", [None, "gzip"])
def test_child_processes_open_the_file_again(tmp_path: Path, method: str, compression: str | None) -> None:
    x, y = samples(50)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("inputs", data=x, compression=compression)
        file["targets"] = y
    reader = open_whole(tmp_path / "x.h5").reader("train")
    reader.read(ROWS)  # opened in the parent first
    context = multiprocessing.get_context(method)
    pipes = [context.Pipe() for _ in range(2)]
    children = [context.Process(target=_read_in_child, args=(reader, theirs)) for _, theirs in pipes]
    for child in children:
        child.start()
    for ours, _ in pipes:
        pid, content = ours.recv()
        assert pid != os.getpid() and content == x[ROWS].tobytes()
    for child in children:
        child.join()
        assert child.exitcode == 0
    np.testing.assert_array_equal(reader.read(ROWS)[0], x[ROWS])  # and the parent's still works


def test_pickled_reader_opens_the_file_again(own_file: Path) -> None:
    reader = open_data(own_file, DataConfig(file=str(own_file))).reader("train")
    before = reader.read(ROWS)[0]
    copy = pickle.loads(pickle.dumps(reader))
    assert copy._open_in is None
    np.testing.assert_array_equal(copy.read(ROWS)[0], before)
