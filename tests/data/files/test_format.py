"""The writer of data files: atomic, plain, with a checksum of the content."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from hpc_dl.data.config import DataConfig, Windows
from hpc_dl.data.datamodule import HDF5DataModule
from hpc_dl.data.files.format import Samples, write
from hpc_dl.data.open_spec import open_spec
from hpc_dl.data.ragged import Ragged
from hpc_dl.data.storage.checksum import content_checksum, file_checksum
from hpc_dl.errors import DataError
from tests.data.small_files import samples

ABOUT = {"source": "x", "task": "classification", "license": "MIT"}


def test_written_file_is_contiguous(own_file: Path) -> None:
    with h5py.File(own_file) as file:
        assert dict(file.attrs) | {"sha256": ""} == {
            "format": "hpc_dl",
            "format_version": 2,
            "source": "own",
            "task": "classification",
            "license": "CC0-1.0",
            "description": "",
            "url": "",
            "provenance": "",
            "shared": "",
            "sha256": "",
        }
        assert f"sha256:{file.attrs['sha256']}" == content_checksum(file)
        inputs = file["train/inputs"]
        assert inputs.chunks is None and inputs.id.get_offset()
        assert list(file["train/targets"].attrs["class_names"]) == ["a", "b", "c"]


def test_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    checksums = {write(tmp_path / f"{i}.h5", {"train": samples(9)}, **ABOUT) for i in range(2)}
    assert len(checksums) == 1
    assert (tmp_path / "0.h5").read_bytes() == (tmp_path / "1.h5").read_bytes()


def test_repacking_keeps_the_checksum(own_file: Path, tmp_path: Path) -> None:
    with h5py.File(own_file) as old, h5py.File(tmp_path / "packed.h5", "w") as new:
        for split in old:
            for name in old[split]:
                new.create_dataset(f"{split}/{name}", data=old[split][name], chunks=True, compression="gzip")
        assert content_checksum(new) == content_checksum(old)


class Interrupted:
    """An array whose conversion is interrupted by Ctrl-C."""

    dtype = np.dtype(np.uint8)

    def __len__(self) -> int:
        return 9

    def __array__(self, *_: object, **__: object) -> None:
        raise KeyboardInterrupt


def test_interrupted_write_leaves_nothing(own_file: Path) -> None:
    before = own_file.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        write(own_file, {"train": Samples(Interrupted(), np.zeros(9, np.uint8))}, **ABOUT)  # type: ignore[arg-type]
    assert own_file.read_bytes() == before
    assert [path.name for path in own_file.parent.iterdir()] == [own_file.name]


def test_unwritable_path_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        write(tmp_path / "file" / "x.h5", {"train": samples(9)}, **ABOUT)


def test_all_faults_are_reported_at_once(tmp_path: Path) -> None:
    good = samples(9)
    with pytest.raises(DataError) as caught:
        write(
            tmp_path / "x.h5",
            {
                "validation": good,
                "val": Samples(good.inputs, good.targets[:5]),
                "test": Samples(good.inputs[:0], good[1][:0]),
            },
            **ABOUT,
        )
    text = str(caught.value)
    for part in (
        ":/validation: is not the name of a split",
        ":/train: is missing",
        "9 inputs, but 5 targets",
        ":/test: contains no samples",
    ):
        assert part in text
    assert not list(tmp_path.iterdir())


def test_checksum_of_a_large_file_is_sampled(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate((64 << 20) + 1)
    before = file_checksum(path)
    assert before.startswith("sampled-sha256:")
    with path.open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"x")
    assert file_checksum(path) != before
    with path.open("wb") as file:
        file.write(b"abc")
    assert file_checksum(path) == "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_graphs_streams_and_images_describe_themselves(tmp_path: Path) -> None:
    about: Any = {"source": "toy", "license": "CC0-1.0"}
    path = tmp_path / "graphs.h5"
    nodes = Ragged(np.arange(10, dtype=np.float32).reshape(5, 2), np.array([0, 2, 5]))
    edges = Ragged(np.array([[0, 1], [1, 2], [2, 0]]), np.array([0, 1, 3]))
    labels = Ragged(np.array([0, 1, 1, 0, 1]), nodes.offsets)
    split = {"nodes": nodes, "edges": edges, "targets": labels}
    write(
        path, {"train": split}, task="node_classification", inputs=("nodes", "edges"), class_names=("a", "b"), **about
    )
    spec = open_spec(DataConfig(file=str(path)))
    assert (spec.input_kind, spec.task, spec.num_outputs, spec.sizes) == (
        "graph",
        "node_classification",
        2,
        {"train": 2},
    )
    batch = next(iter(HDF5DataModule(path, batch_size=2).train_dataloader()))
    assert {name: tuple(value.values.shape) for name, value in batch.items()} == {
        "nodes": (5, 2),
        "edges": (3, 2),
        "targets": (5,),
    }
    far = split | {"edges": Ragged(np.array([[0, 1], [1, 2], [2, 3]]), np.array([0, 1, 3]))}
    write(tmp_path / "far.h5", {"train": far}, task="node_classification", inputs=("nodes", "edges"), **about)
    message = r"edges: the edge in row 2 ends at a node that its graph does not have \(got \[2, 3\]; allowed: 0 to 2"
    with pytest.raises(DataError, match=message):
        open_spec(DataConfig(file=str(tmp_path / "far.h5")))
    with pytest.raises(DataError, match=r"/train: has 2 nodes, but 1 edges"):
        fewer = split | {"edges": edges.part(slice(0, 1))}
        write(path, {"train": fewer}, task="node_classification", inputs=("nodes", "edges"), **about)

    path = tmp_path / "stream.h5"
    stream = {"inputs": np.arange(20, dtype=np.uint8) % 3}
    write(path, {"train": stream}, task="language_modeling", targets=(), stream=True, class_names="abc", **about)
    with pytest.raises(DataError, match=r"data.windows: is required: .* contains one long stream"):
        open_spec(DataConfig(file=str(path)))
    spec = open_spec(DataConfig(file=str(path), windows=Windows(length=4)))
    assert (spec.input_kind, spec.num_outputs, spec.sizes) == ("tokens", 3, {"train": 4})
    x, y = next(iter(HDF5DataModule(path, batch_size=4, windows={"length": 4}).train_dataloader()))
    assert torch.equal((x + 1) % 3, y)

    path = tmp_path / "images.h5"
    write(path, {"train": {"inputs": np.zeros((3, 1, 2, 2), np.uint8)}}, task="generation", targets=(), **about)
    spec = open_spec(DataConfig(file=str(path)))
    assert (spec.input_kind, spec.task, spec.targets, spec.num_outputs) == ("image", "generation", (), 4)
    (x,) = next(iter(HDF5DataModule(path, batch_size=3).train_dataloader()))
    assert x.shape == (3, 1, 2, 2)


def test_targets_are_ignored_if_the_task_has_none(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    images = Samples(np.zeros((4, 1, 2, 2), np.uint8), np.arange(4))
    write(path, {"train": images}, source="a", task="classification", license="CC0-1.0")
    spec = open_spec(DataConfig(file=str(path), task="reconstruction"))
    assert (spec.task, spec.targets, spec.input_shape) == ("reconstruction", (), (1, 2, 2))
