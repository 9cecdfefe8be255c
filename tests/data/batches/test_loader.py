"""Loaders: batches from every layout, with the right samples, each read once, from any position."""

import threading
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest
import torch

from hpc_dl.data.batches.loader import BatchLoader, ResidentLoader
from hpc_dl.data.batches.read_ahead import read_ahead
from hpc_dl.data.datamodule import HDF5DataModule
from hpc_dl.data.storage.chunked import ChunkedRows
from hpc_dl.data.storage.rawfile import RawFile
from hpc_dl.errors import ConfigError, DataError

NUM, SHAPE = 500, (3, 5, 4)
X = np.random.default_rng(0).integers(0, 256, (NUM, *SHAPE), np.uint8)
Y = np.arange(NUM)
LAYOUTS: dict[str, dict[str, Any]] = {
    "contiguous": {},
    "chunked": {"chunks": (7, *SHAPE)},
    "gzip": {"chunks": (16, *SHAPE), "compression": "gzip", "shuffle": True},
    "lzf tiles": {"chunks": (16, 3, 2, 4), "compression": "lzf"},
    "zstd fletcher": {"chunks": (9, *SHAPE), "fletcher32": True, **hdf5plugin.Zstd()},
    "scale-offset": {"chunks": (16, *SHAPE), "scaleoffset": 0},
}


HDF5_2 = pytest.mark.skipif(
    h5py.version.hdf5_version_tuple < (2,), reason="HDF5 1.14 cannot read its own scale-offset chunks of all 256 values"
)


@pytest.fixture(params=[pytest.param(name, marks=HDF5_2 if name == "scale-offset" else ()) for name in LAYOUTS])
def layout(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def make(folder: Path, layout: str = "contiguous") -> Path:
    path = folder / "x.h5"
    with h5py.File(path, "w") as file:
        for split in ("train", "val"):
            file.create_dataset(f"{split}/inputs", data=X, **LAYOUTS[layout])
            file[f"{split}/targets"] = Y
    return path


def module(path: Path, **arguments: Any) -> HDF5DataModule:
    # A buffer of a tenth of the file: several windows in an epoch.
    return HDF5DataModule(path, **{"batch_size": 24, "task": "regression", "shuffle_buffer": 3 / 1024, **arguments})


def labels(loader: Any) -> list[list[int]]:
    """Return the labels of each batch; check its inputs against them."""
    seen = []
    for x, y in loader:
        numbers = y[:, 0].long()
        np.testing.assert_array_equal(x.numpy(), X[numbers.numpy()])
        seen.append(numbers.tolist())
    return seen


def flat(batches: list[list[int]]) -> list[int]:
    return [number for batch in batches for number in batch]


def test_epochs_of_every_layout(tmp_path: Path, layout: str) -> None:
    data = module(make(tmp_path, layout))
    loader = data.train_dataloader()
    assert isinstance(loader, BatchLoader) and len(loader) == 20
    first, again = labels(loader), labels(loader)
    assert first == again and [len(batch) for batch in first] == [24] * 20
    assert len({number for batch in first for number in batch}) == 480
    loader.sampler.set_epoch(1)
    second = labels(loader)
    assert second != first and sorted(flat(second)) != sorted(flat(first))  # other samples are dropped
    evaluation = labels(data.val_dataloader())
    assert flat(evaluation) == list(range(NUM)) and len(evaluation) == 21


def test_loader_starts_at_any_batch(tmp_path: Path, layout: str) -> None:
    path = make(tmp_path, layout)
    loader = module(path).train_dataloader()
    loader.sampler.set_epoch(2)
    batches = labels(loader)
    for start in (1, 7, 19, 20):
        data = module(path)
        data.start_at(2, start)
        loader = data.train_dataloader()
        assert len(loader) == 20
        assert labels(loader) == batches[start:]


@pytest.mark.parametrize("shuffle", ["exact", "blocks"])
def test_shuffle_setting_is_used(tmp_path: Path, layout: str, shuffle: str) -> None:
    loader = module(make(tmp_path, layout), shuffle=shuffle).train_dataloader()
    assert (loader.sampler.blocks is None) == (shuffle == "exact")
    epoch = labels(loader)
    assert len({number for batch in epoch for number in batch}) == 480
    if shuffle == "exact":  # the same order as in a contiguous file
        (tmp_path / "other").mkdir()
        assert epoch == labels(module(make(tmp_path / "other"), shuffle="exact").train_dataloader())


def test_each_chunk_is_decoded_once_per_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []
    lock = threading.Lock()
    original = ChunkedRows._decoded

    def counting(self: ChunkedRows, cell: int) -> Any:
        with lock:
            decoded.append(cell)
        return original(self, cell)

    path = make(tmp_path, "gzip")
    data = module(path)
    _ = data.preprocessings
    monkeypatch.setattr(ChunkedRows, "_decoded", counting)
    loader = data.train_dataloader()
    for epoch in range(3):
        decoded.clear()
        loader.sampler.set_epoch(epoch)
        labels(loader)
        # The last 20 of 500 samples in the line are dropped, and with them at most two chunks of
        # 16.
        assert len(decoded) == len(set(decoded)) >= -(-NUM // 16) - 2
    decoded.clear()
    labels(data.val_dataloader())
    assert sorted(decoded) == list(range(-(-NUM // 16)))


def test_resident_batches_equal_streamed_ones(tmp_path: Path, layout: str) -> None:
    path = make(tmp_path, layout)
    resident, streamed = module(path, device_resident=True), module(path, device_resident=False)
    assert isinstance(resident.train_dataloader(), ResidentLoader)
    assert labels(resident.train_dataloader()) == labels(streamed.train_dataloader())
    assert labels(resident.val_dataloader()) == labels(streamed.val_dataloader())
    assert isinstance(module(path).train_dataloader(), BatchLoader)  # auto, without a GPU


def test_impossible_residence_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(tmp_path)
    with pytest.raises(
        ConfigError, match=r"data\.device_resident: needs a single input whose samples all have the same shape"
    ):
        module(path, device_resident=True, crop=[2, 2]).train_dataloader()
    few = type("Memory", (), {"available": 1000})
    monkeypatch.setattr("hpc_dl.data.batches.loader_choice.psutil.virtual_memory", lambda: few)
    with pytest.raises(ConfigError, match=r"x.h5 takes 0.0 GiB, but cpu has only 0.0 GiB free"):
        module(path, device_resident=True).train_dataloader()


def test_closed_iterator_ends_its_thread(tmp_path: Path) -> None:
    loader = module(make(tmp_path, "gzip")).train_dataloader()
    batches = iter(loader)
    next(batches)
    assert any(thread.name.startswith("read ahead") for thread in threading.enumerate())
    batches.close()  # type: ignore[attr-defined]
    assert not any(thread.name.startswith("read ahead") for thread in threading.enumerate())


def test_epoch_is_read_with_the_first_batch(tmp_path: Path) -> None:
    data = module(make(tmp_path, "gzip"))
    loader = data.train_dataloader()
    early = iter(loader)  # Lightning does this before it sets the epoch
    loader.sampler.set_epoch(3)
    expected = labels(loader)
    assert labels(early) == expected


def test_error_comes_in_place_of_its_piece() -> None:
    def read(number: int) -> int:
        if number == 3:
            raise DataError.at("F:/x", "is damaged")
        return number

    numbers = []
    with pytest.raises(DataError, match="is damaged"):
        for number in read_ahead(read, iter(range(9)), 2):
            numbers.append(number)
    assert numbers == [0, 1, 2]


def test_batches_own_their_memory(tmp_path: Path, layout: str) -> None:
    loader = module(make(tmp_path, layout)).train_dataloader()
    kept = [(x, x.clone()) for x, _ in loader]  # later windows must not overwrite them
    assert all(torch.equal(x, copy) for x, copy in kept)


def test_replaced_file_is_still_read_but_changed_file_is_reported(tmp_path: Path, layout: str) -> None:
    if layout == "scale-offset":
        pytest.skip("read by HDF5 itself, which does not check")
    path = make(tmp_path, layout)
    loader = module(path).train_dataloader()
    batches = iter(loader)
    first = next(batches)
    (tmp_path / "new").mkdir()
    make(tmp_path / "new", layout).replace(path)  # another inode: the old one exists while it is open
    assert 1 + sum(1 for _ in batches) == 20 and len(first[0]) == 24
    changed = module(path).train_dataloader()
    next(iter(changed))
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    for field in changed._reader._opened():
        field.rows._file._version._checked_at = 0.0  # as if a second had passed
    with pytest.raises(DataError, match="was changed while it was being read"):
        labels(changed)


def test_compressed_labels_do_not_change_how_inputs_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["train/inputs"] = X
        file.create_dataset("train/targets", data=Y, chunks=(33,), compression="gzip")
    loader = module(path).train_dataloader()
    assert loader.sampler.blocks is None and loader._reader.one_by_one and loader._reader.reading == "mapped"
    assert len(labels(loader)) == 20


def test_order_is_independent_of_mapping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for layout in ("contiguous", "chunked"):
        (tmp_path / layout).mkdir()
        path = make(tmp_path / layout, layout)
        mapped = labels(module(path).train_dataloader())
        with monkeypatch.context() as patch:
            patch.setattr(RawFile, "_map", lambda *_: None)  # as under `ulimit -v`
            loader = module(path).train_dataloader()
            assert labels(loader) == mapped
