"""Rows of every layout, bit for bit as h5py reads them."""

import ctypes
import pickle
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from hpc_dl.data.storage import mapped
from hpc_dl.data.storage.layout import locate
from hpc_dl.data.storage.rows import RowReader, open_rows

from .conftest import BY_HDF5, FILTERS, SHAPE, Store, values

DTYPES = ("u1", "?", "<i2", ">i4", "i8", "f2", "<f4", ">f8")
CHUNKS = ((4, 5, 6), (1, 5, 6), (23, 5, 6), (7, 2, 4), (5, 3, 6))


def check(reader: RowReader, expected: NDArray[Any], seed: int = 0) -> None:
    """Compare rows: all, none, in any order, with repeats."""
    random = np.random.default_rng(seed)
    num_rows = len(expected)
    for rows in (
        np.arange(num_rows),
        random.permutation(num_rows),
        random.integers(0, num_rows, 3 * num_rows),
        random.integers(0, num_rows, 2),
        np.array([num_rows - 1]),
        np.array([], np.intp),
    ):
        reader.prefetch(rows)
        reader.preload()
        taken = reader.take(rows)
        assert taken.dtype == expected.dtype.newbyteorder("=") and taken.dtype.isnative
        assert taken.flags.c_contiguous and taken.flags.writeable and taken.flags.aligned
        np.testing.assert_array_equal(taken, expected[rows])
    for rows in ([num_rows], [0, num_rows + 1000]):
        with pytest.raises(IndexError):
            reader.take(np.array(rows))


@pytest.mark.parametrize("name", FILTERS)
def test_every_filter_is_decoded(store: Store, name: str) -> None:
    for seed, dtype in enumerate(DTYPES):
        expected = values(dtype)
        for chunks in CHUNKS:
            path = store(expected, chunks=chunks, **FILTERS[name])
            with closing(open_rows(path, "x", threads=1 + seed % 3)) as reader:
                assert not reader.reading.startswith("by h5py"), reader.reading
                check(reader, expected, seed)


@pytest.mark.parametrize("name", BY_HDF5)
def test_rare_filters_are_left_to_hdf5(store: Store, name: str) -> None:
    expected = values("<i4")
    with closing(open_rows(store(expected, chunks=(4, 5, 6), **BY_HDF5[name]), "/x", threads=2)) as reader:
        assert reader.reading == f"by h5py: filter {name}"
        check(reader, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_contiguous_rows_are_mapped(store: Store, dtype: str) -> None:
    for shape in (SHAPE, (23,), (23, 1), (1, 4)):
        expected = values(dtype, shape)
        with closing(open_rows(store(expected), "x")) as reader:
            assert (reader.reading, reader.rows_together) == ("mapped", 1)
            check(reader, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_threads_share_the_rows_of_a_large_batch(store: Store, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "_SHARED_BYTES", 0)
    monkeypatch.setattr(mapped, "_THREADS_SLEEP", False)
    shared: list[int] = []
    index_select = torch.index_select
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(torch, "index_select", lambda *a, **kw: (shared.append(len(a[2])), index_select(*a, **kw)))
    for shape in (SHAPE, (23,), (1, 4)):
        expected = values(dtype, shape)
        with closing(open_rows(store(expected), "x")) as reader:
            check(reader, expected)
    assert len(shared) == 3 * 8


def test_whole_rows_in_uncompressed_chunks_are_mapped(store: Store) -> None:
    expected = values("<f4")
    with closing(open_rows(store(expected, chunks=(4, 5, 6)), "x")) as reader:
        assert (reader.reading, reader.rows_together) == ("chunks, not compressed, mapped", 1)
    with closing(open_rows(store(expected, chunks=(4, 5, 3)), "x")) as reader:
        assert (reader.reading, reader.rows_together) == ("chunks, not compressed", 4)


def test_reading_describes_compressed_chunks(store: Store) -> None:
    path = store(values("<f4"), chunks=(4, 5, 6), compression="gzip", shuffle=True)
    with closing(open_rows(path, "x", threads=2)) as reader:
        assert (reader.reading, reader.rows_together) == ("chunks, shuffle, gzip, decoded by 2 threads", 4)


@pytest.mark.parametrize("libver", ["earliest", "v110", "latest"])
@pytest.mark.parametrize("maxshape", [None, (None, 5, 6), (None, None, 6), (30, 5, 6)], ids=str)
def test_every_kind_of_chunk_index_is_read(store: Store, libver: str, maxshape: tuple[int | None, ...] | None) -> None:
    expected = values("<i2")
    for full in ((4, 5, 6), (40, 8, 6), (5, 2, 3)):
        # A chunk may be larger than the dataset where the dataset may grow.
        chunks = tuple(min(size, end or size) for size, end in zip(full, maxshape or SHAPE, strict=True))
        for filters in ({}, {"compression": "gzip"}):
            path = store(expected, libver=libver, maxshape=maxshape, chunks=chunks, **filters)
            with closing(open_rows(path, "x")) as reader:
                check(reader, expected)


@pytest.mark.parametrize("userblock", [512, 4096])
@pytest.mark.parametrize("options", [{}, {"chunks": (4, 5, 6)}, {"chunks": (4, 2, 6), "compression": "gzip"}], ids=str)
def test_user_block_does_not_shift_rows(store: Store, userblock: int, options: dict[str, Any]) -> None:
    expected = values("<i2")
    with closing(open_rows(store(expected, userblock=userblock, **options), "x")) as reader:
        check(reader, expected)


def test_unwritten_chunks_read_as_fill_values(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    for chunks in ((4, 5, 6), (4, 2, 6)):
        for dtype in ("<f4", ">i2"):
            with h5py.File(path, "w") as file:
                dataset = file.create_dataset("x", SHAPE, dtype, chunks=chunks, fillvalue=7, compression="gzip")
                dataset[9:11, :2] = 3
                file.create_dataset("nothing", SHAPE, dtype, chunks=chunks, fillvalue=-1)
                file.create_dataset("contiguous", SHAPE, dtype, fillvalue=5)
                expected = {name: file[name][()] for name in file}
            for name, content in expected.items():
                with closing(open_rows(path, name, threads=2)) as reader:
                    check(reader, content)


@pytest.mark.parametrize("chunks", [(4, 5, 6), (4, 2, 6)])
def test_filters_skipped_for_some_chunks(store: Store, chunks: tuple[int, ...]) -> None:
    expected = values("<i2")
    path = store(expected, chunks=chunks, compression="gzip", shuffle=True)
    with h5py.File(path, "r+") as file:
        plain = np.ascontiguousarray(expected[4:8, : chunks[1]])
        file["x"].id.write_direct_chunk((4, 0, 0), plain.tobytes(), filter_mask=0b11)
        shuffled = np.ascontiguousarray(expected[8:12, : chunks[1]].ravel().view("u1").reshape(-1, 2).T)
        file["x"].id.write_direct_chunk((8, 0, 0), shuffled.tobytes(), filter_mask=0b10)
        np.testing.assert_array_equal(file["x"][()], expected)
    with closing(open_rows(path, "x", threads=2)) as reader:
        check(reader, expected)


def test_filters_skipped_for_all_chunks_are_mapped(store: Store) -> None:
    expected = values("<i2")
    path = store(expected, chunks=(23, 5, 6), compression="gzip")
    with h5py.File(path, "r+") as file:
        file["x"].id.write_direct_chunk((0, 0, 0), expected.tobytes(), filter_mask=1)
    with closing(open_rows(path, "x")) as reader:
        assert reader.reading == "chunks, not compressed, mapped"
        check(reader, expected)


def test_unfiltered_edge_chunks_are_read(tmp_path: Path) -> None:
    """HDF5 1.10 can leave them unmarked in the index (``H5Pset_chunk_opts``)."""
    expected = values("<i2")
    library = ctypes.CDLL(h5py.h5z.__file__)
    library.H5Pset_chunk_opts.argtypes = [ctypes.c_int64, ctypes.c_uint]
    with h5py.File(tmp_path / "x.h5", "w", libver="latest") as file:
        creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        creation.set_chunk((4, 3, 6))
        creation.set_deflate(4)
        assert library.H5Pset_chunk_opts(creation.id, 2) >= 0
        space = h5py.h5s.create_simple(SHAPE)
        dataset = h5py.Dataset(h5py.h5d.create(file.id, b"x", h5py.h5t.STD_I16LE, space, creation))
        dataset[()] = expected
    with closing(open_rows(tmp_path / "x.h5", "x")) as reader:
        check(reader, expected)


def test_converted_types_are_left_to_hdf5(tmp_path: Path) -> None:
    expected = values("<i2")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        twelve_bits = h5py.h5t.STD_I16LE.copy()
        twelve_bits.set_precision(12)
        space = h5py.h5s.create_simple(SHAPE)
        h5py.Dataset(h5py.h5d.create(file.id, b"x", twelve_bits, space))[()] = expected
        file["compound"] = np.zeros(9, [("a", "<f4"), ("b", "<i2")])
        file["texts"] = ["a", "b"]
    with closing(open_rows(tmp_path / "x.h5", "x")) as reader:
        assert reader.reading == "by h5py: a type that HDF5 converts"
        check(reader, expected)
    for name, length in (("compound", 9), ("texts", 2)):
        with closing(open_rows(tmp_path / "x.h5", name)) as reader:
            assert len(reader.take(np.array([1] * length))) == length


def test_compact_enum_and_sparse_datasets(tmp_path: Path) -> None:
    expected = values("<i2")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        creation.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple(SHAPE)
        h5py.Dataset(h5py.h5d.create(file.id, b"compact", h5py.h5t.STD_I16LE, space, creation))[()] = expected
        file.create_dataset("enum", data=values("u1"), dtype=h5py.enum_dtype({"a": 0, "b": 1}, "u1"))
        file.create_dataset("long", (5000, 3), "<i4", fillvalue=2)
    for name, content, reading in (
        ("compact", expected, "by h5py: values in the header"),
        ("enum", values("u1"), "mapped"),
        ("long", np.full((5000, 3), 2, "<i4"), "by h5py: no values written yet"),
    ):
        with closing(open_rows(tmp_path / "x.h5", name)) as reader:
            assert reader.reading == reading
            check(reader, content)


def test_layout_can_be_pickled(store: Store) -> None:
    path = store(values("<i2"), chunks=(4, 2, 6), compression="gzip")
    with h5py.File(path) as file:
        layout = pickle.loads(pickle.dumps(locate(file["x"])))
    assert layout.chunks.grid == (6, 3, 1)
    assert layout.chunks.first_element(4) == (4, 2, 0)
    assert (layout.file, layout.name, layout.row_bytes) == (str(path.resolve()), "/x", 60)


def test_reader_keeps_no_hdf5_file_open(store: Store) -> None:
    """Forks, threads and pickles are therefore safe."""
    for options in ({}, {"chunks": (4, 2, 6), "compression": "gzip"}):
        path = store(values("<i2"), **options)
        before = h5py.h5f.get_obj_count()
        reader = open_rows(path, "x")
        assert h5py.h5f.get_obj_count() == before
        reader.close()


def test_readers_of_several_threads_decode_at_once(store: Store) -> None:
    """A reader belongs to one thread, but several readers may read one file at the same time."""
    expected = values("<i4", (500, 40))
    path = store(expected, chunks=(7, 40), **FILTERS["zstd"])
    wrong: list[int] = []

    def work(seed: int) -> None:
        with closing(open_rows(path, "x", threads=2)) as reader:
            for repeat in range(20):
                rows = np.random.default_rng([seed, repeat]).permutation(500)
                if not np.array_equal(reader.take(rows), expected[rows]):
                    wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong and not any(thread.is_alive() for thread in threads)


def test_window_memory_is_reused_only_when_free(store: Store) -> None:
    expected = values("<f4", (3000, 200))
    path = store(expected, chunks=(100, 200), **FILTERS["zstd"])
    with closing(open_rows(path, "x")) as reader:
        windows = [np.random.default_rng(seed).permutation(3000)[: 2900 - seed] for seed in range(8)]
        kept = {}  # slices of some windows, like batches
        addresses = []
        for number, rows in enumerate(windows):
            taken = reader.take(rows)
            np.testing.assert_array_equal(taken, expected[rows])
            addresses.append(taken.ctypes.data)
            if number % 3 == 0:
                kept[number] = taken[5:70].reshape(-1)
            del taken
        for number, part in kept.items():
            np.testing.assert_array_equal(part, expected[windows[number][5:70]].reshape(-1))
    assert len(set(addresses)) < len(addresses), "memory was reused"
    assert len({addresses[number] for number in kept}) == len(kept)
