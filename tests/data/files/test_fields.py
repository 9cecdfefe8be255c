"""Sequences, graphs, token streams, crops and several inputs, from the file to training."""

import itertools
import random
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from hpc_dl.data.config import DataConfig
from hpc_dl.data.datamodule import HDF5DataModule
from hpc_dl.data.open_spec import open_spec
from hpc_dl.data.ragged import Ragged
from hpc_dl.errors import ConfigError, DataError
from tests.data.recorder import noisy, trainer
from tests.data.small_files import MakeFile

DRAW = np.random.default_rng(0)
LENGTHS = DRAW.integers(0, 9, 60)
OFFSETS = np.append(0, np.cumsum(LENGTHS))
STEPS = DRAW.normal(size=(OFFSETS[-1], 3)).astype("f4")
LABELS = DRAW.integers(0, 4, OFFSETS[-1])
CODECS: list[dict[str, Any]] = [{}, {"chunks": True, "compression": "gzip"}]


@pytest.fixture(params=[0, 1], ids=["contiguous", "gzip"])
def codec(request: pytest.FixtureRequest) -> dict[str, Any]:
    return CODECS[request.param]


def sequences(folder: Path, codec: dict[str, Any]) -> Path:
    path = folder / "sequences.h5"
    with h5py.File(path, "w") as file:
        for split in ("train", "val"):
            group = file.create_group(split)
            group.create_dataset("steps", data=STEPS, **codec)
            group.create_dataset("tags", data=LABELS, **codec)
            group["steps_offsets"] = group["tags_offsets"] = OFFSETS
            group["number"] = np.arange(60)
    return path


def test_sequences_are_ragged(tmp_path: Path, codec: dict[str, Any]) -> None:
    data = HDF5DataModule(
        sequences(tmp_path, codec), inputs="steps", targets="tags", batch_size=8, shuffle_buffer=0.0005, scaling="none"
    )
    spec = data.spec
    assert (spec.task, spec.num_outputs, spec.input_shape, spec.inputs[0].ragged) == (
        "sequence_labeling",
        4,
        (3,),
        True,
    )
    assert not spec.is_dense and spec.sizes == {"train": 60, "val": 60}
    for loader, expected in ((data.train_dataloader(), 56), (data.val_dataloader(), 60)):
        pairs = []
        for x, y in loader:
            assert isinstance(x, Ragged) and x.values.dtype == torch.float32 and y.values.dtype == torch.int64
            assert torch.equal(x.lengths, y.lengths) and torch.equal(x.offsets, y.offsets)
            assert len(torch.nested.nested_tensor_from_jagged(*x).unbind()) == len(x.lengths)
            sizes = x.lengths.tolist()
            pairs += list(zip(torch.split(x.values, sizes), torch.split(y.values, sizes), strict=True))
        assert len(pairs) == expected
        known = {STEPS[a:b].tobytes(): LABELS[a:b].tolist() for a, b in itertools.pairwise(OFFSETS)}
        for steps, tags in pairs:
            assert known[steps.numpy().tobytes()] == tags.tolist()


def test_one_class_for_each_sequence(tmp_path: Path, codec: dict[str, Any]) -> None:
    data = HDF5DataModule(sequences(tmp_path, codec), inputs="steps", targets="number", batch_size=60)
    ((x, y),) = data.train_dataloader()
    assert (data.spec.task, data.spec.num_outputs, y.shape) == ("classification", 60, (60,))
    np.testing.assert_array_equal(x.lengths.numpy(), LENGTHS[y.numpy()])
    scaled, _ = data.on_after_batch_transfer((x, y), 0)
    torch.testing.assert_close(scaled.values.mean(0), torch.zeros(3), atol=1e-5, rtol=0)  # by feature, over all steps
    torch.testing.assert_close(scaled.values.std(0, correction=0), torch.ones(3), atol=1e-5, rtol=0)


class AnyBatch(pl.LightningModule):
    """A module whose loss accepts any batch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.batches: list[Any] = []

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        self.batches.append(batch)
        parts = batch.values() if isinstance(batch, dict) else batch
        sums = [(part.values if isinstance(part, Ragged) else part).float().sum() for part in parts]
        return self.weight * torch.stack(sums).sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 1e-9)


def test_several_inputs_are_mapped_by_name(tmp_path: Path, codec: dict[str, Any]) -> None:
    path = sequences(tmp_path, codec)
    with h5py.File(path, "r+") as file:
        for split in ("train", "val"):
            file[f"{split}/edges"] = np.arange(2 * OFFSETS[-1]).reshape(-1, 2)
            file[f"{split}/edges_offsets"] = OFFSETS
            file[f"{split}/age"] = np.linspace(0, 10, 60, dtype="f4")
    module = AnyBatch()
    data = HDF5DataModule(path, inputs=["steps", "edges", "age"], targets=["number"], batch_size=20, seed=3)
    assert [field.name for field in data.spec.inputs] == ["steps", "edges", "age"]
    trainer(max_epochs=1, limit_val_batches=0).fit(module, data)
    assert len(module.batches) == 3
    for batch in module.batches:
        assert list(batch) == ["steps", "edges", "age", "number"]
        assert batch["edges"].values.dtype == torch.int64  # numbers of nodes are not scaled
        begins = OFFSETS[batch["number"]]
        np.testing.assert_array_equal(batch["edges"].lengths.numpy(), LENGTHS[batch["number"]])
        first = batch["edges"].values[batch["edges"].offsets[:-1][batch["edges"].lengths > 0]][:, 0]
        np.testing.assert_array_equal(first, 2 * begins[LENGTHS[batch["number"]] > 0])
        age = np.linspace(0, 10, 60, dtype="f4")[batch["number"]]
        np.testing.assert_allclose(batch["age"][:, 0], (age - 5) / np.linspace(0, 10, 60).std(), rtol=1e-4, atol=1e-5)


def test_next_tokens_of_a_stream(tmp_path: Path, codec: dict[str, Any]) -> None:
    stream = DRAW.integers(0, 50, 1003).astype("u2")
    path = tmp_path / "text.h5"
    with h5py.File(path, "w") as file:
        for split in ("train", "val"):
            file.create_dataset(f"{split}/tokens", data=stream, **codec)
    data = HDF5DataModule(path, inputs="tokens", targets=None, windows={"length": 10, "stride": 4}, batch_size=8)
    assert (data.spec.task, data.spec.num_outputs, data.spec.sizes["train"]) == (
        "language_modeling",
        int(stream.max()) + 1,
        249,
    )
    starts = set()
    for batch in data.train_dataloader():
        x, y = data.on_after_batch_transfer(batch, 0)
        assert x.dtype == y.dtype == torch.int64 and x.shape == y.shape == (8, 10)
        assert torch.equal(x[:, 1:], y[:, :-1])
        starts |= {row.numpy().astype("u2").tobytes() for row in x}
    assert starts <= {stream[4 * i : 4 * i + 10].tobytes() for i in range(249)}
    x, y = next(iter(data.val_dataloader()))
    np.testing.assert_array_equal(x[1], stream[4:14].astype(int))
    np.testing.assert_array_equal(y[1], stream[5:15].astype(int))


def test_windows_with_one_label_per_step(foreign_file: MakeFile) -> None:
    signal = DRAW.normal(size=(100, 2)).astype("f4")
    path = foreign_file(train__eeg=signal, train__sleep=np.arange(100) % 5)
    data = HDF5DataModule(path, inputs="eeg", targets="sleep", windows={"length": 20}, batch_size=5)
    ((x, y),) = data.train_dataloader()
    assert sorted(window.numpy().tobytes() for window in x) == sorted(part.tobytes() for part in np.split(signal, 5))
    assert torch.equal(y, (torch.arange(20) % 5).expand(5, 20))
    scaled, _ = data.on_after_batch_transfer((x, y), 0)
    torch.testing.assert_close(scaled.mean((0, 1)), torch.zeros(2), atol=1e-5, rtol=0)


def test_crops_of_volumes_match_their_masks(tmp_path: Path, codec: dict[str, Any]) -> None:
    volumes = DRAW.normal(size=(12, 1, 10, 9, 8)).astype("f4")
    masks = (volumes[:, 0] > 0).astype("u1")
    path = tmp_path / "volumes.h5"
    with h5py.File(path, "w") as file:
        for split in ("train", "val"):
            file.create_dataset(f"{split}/inputs", data=volumes, **codec)
            file.create_dataset(f"{split}/targets", data=masks, **codec)
    arguments: dict[str, Any] = {"task": "segmentation", "crop": [4, 5, 6], "batch_size": 4, "scaling": "none"}
    data = HDF5DataModule(path, **arguments)
    assert data.spec.input_shape == (1, 4, 5, 6) and data.spec.targets[0].shape == (4, 5, 6)
    loader = data.train_dataloader()
    epochs = []
    for epoch in (0, 0, 1):
        loader.sampler.set_epoch(epoch)
        epochs.append([(x, y) for x, y in loader])
        for x, y in epochs[-1]:
            assert torch.equal((x[:, 0] > 0).long(), y)  # cut at the same place
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(*epochs[:2], strict=True))
    crops = [{part.numpy().tobytes() for x, _ in epoch for part in x} for epoch in epochs]
    assert crops[0] == crops[1] and not crops[0] & crops[2]  # other places in another epoch
    later = HDF5DataModule(path, **arguments)
    later.start_at(1, 2)
    assert torch.equal(next(iter(later.train_dataloader()))[0], epochs[2][2][0])
    x, _ = next(iter(data.val_dataloader()))
    np.testing.assert_array_equal(x[:, 0], volumes[:4, 0, 3:7, 2:7, 1:7])  # the center


@pytest.mark.parametrize(
    ("datasets", "section", "message"),
    [
        (
            {"x": STEPS, "x_offsets": OFFSETS[:-1]},
            {},
            r"x_offsets: must ascend from 0 to \d+, the number of rows of /train/x",
        ),
        ({"x": STEPS, "x_offsets": OFFSETS * 0.5}, {}, r"x_offsets: must be N \+ 1 integers"),
        ({"x": STEPS[:9]}, {"windows": {"length": 10}, "targets": None}, r"is shorter than one window"),
        ({"x": STEPS}, {"windows": {"length": 2}, "targets": "y"}, r"has 5 targets for \d+ inputs"),
        ({"x": STEPS}, {"inputs": ["x", "y"], "targets": "y"}, r"y: has 5 inputs for \d+ inputs in /train/x"),
        ({"x": np.zeros((5, 1, 8, 8))}, {"crop": [9, 2]}, r"data.crop: is larger than the samples of .*x.*\[9, 2\]"),
        (
            {"x": np.zeros((5, 8, 8, 3))},
            {"crop": [2, 2], "channels": "last"},
            r"has its channels last, but crops need them first",
        ),
        ({"x": STEPS, "x_offsets": OFFSETS}, {"targets": "x", "task": "classification"}, r"one class per step"),
        (
            {"x": np.arange(99)},
            {"windows": {"length": 5}, "targets": None, "splits": {"fractions": {}}, "inputs": "train/x"},
            r"data.splits.fractions: cannot split windows of a stream: .* share steps",
        ),
    ],
)
def test_datasets_that_do_not_fit_are_rejected(
    foreign_file: MakeFile, datasets: dict[str, Any], section: dict[str, Any], message: str
) -> None:
    path = foreign_file(**{f"train__{name}": values for name, values in datasets.items()}, train__y=np.zeros(5, int))
    config = {"file": str(path), "inputs": "x", "targets": "y"} | section
    with pytest.raises(DataError, match=message):
        open_spec(DataConfig.model_validate(config))


def test_classes_must_match_the_steps(foreign_file: MakeFile) -> None:
    shifted = OFFSETS.copy()
    shifted[1] += 1
    path = foreign_file(
        train__x=STEPS, train__x_offsets=OFFSETS, train__y=np.zeros(len(STEPS), int), train__y_offsets=shifted
    )
    message = rf"y_offsets: sample 0 has {OFFSETS[1] + 1} classes, but {OFFSETS[1]} steps in /train/x"
    with pytest.raises(DataError, match=message):
        open_spec(DataConfig(file=str(path), inputs="x", targets="y"))


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"targets": None}, "`targets: null` requires `windows`, or a `task` without targets"),
        ({"windows": {"length": 3}, "crop": [3]}, "`windows` and `crop` exclude each other"),
    ],
)
def test_exclusive_options_are_rejected(section: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        HDF5DataModule("x.h5", **section)


def test_transform_draws_are_independent_of_workers(own_file: Path) -> None:
    epochs = []
    for num_workers in (0, 2):
        torch.manual_seed(1)
        random.seed(1)
        np.random.seed(1)
        data = HDF5DataModule(own_file, batch_size=8, transform=noisy, num_workers=num_workers, seed=4)
        data.start_at(1, 0)
        batches = list(data.train_dataloader())
        assert all(isinstance(batch, tuple) for batch in batches)
        epochs.append([x for x, _ in batches])
        state = torch.rand(1).item(), random.random(), np.random.rand()
        assert all(x.dtype == torch.uint8 for x, _ in data.val_dataloader())  # no transform in evaluation
        if num_workers == 0:
            expected = state
        assert state == expected
    assert len(epochs[0]) == 6 and all(torch.equal(a, b) for a, b in zip(*epochs, strict=True))
    noise = [x - x.floor() for x in epochs[0]]
    assert not torch.equal(noise[0], noise[1])
    entered = HDF5DataModule(own_file, batch_size=8, transform=noisy, num_workers=2, seed=4)
    entered.start_at(1, 4)
    assert all(torch.equal(a, b) for (a, _), b in zip(entered.train_dataloader(), epochs[0][4:], strict=True))
