"""Balanced classes."""

from pathlib import Path

import numpy as np
import pytest

from hpc_dl.data.datamodule import HDF5DataModule
from hpc_dl.data.files.format import Samples, write
from hpc_dl.data.order.balance import balanced
from hpc_dl.errors import ConfigError
from tests import experiments

# The example of the teaching material.
COUNTS = (5000, 5000, 150, 50, 25)
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(5), COUNTS))


def counts(rows: np.ndarray) -> list[int]:
    return np.bincount(LABELS[rows]).tolist()


def test_undersampling_keeps_the_size_of_the_rarest_class() -> None:
    rows = balanced(LABELS, "undersample")
    assert counts(rows) == [25] * 5
    assert len(np.unique(rows)) == len(rows) and (np.diff(rows) > 0).all()


def test_oversampling_reaches_the_size_of_the_largest_class() -> None:
    rows = balanced(LABELS, "oversample")
    assert counts(rows) == [5000] * 5
    uses = np.bincount(rows, minlength=len(LABELS))
    for label, count in enumerate(COUNTS):
        own = uses[label == LABELS]
        assert own.min() >= 5000 // count and own.max() <= -(-5000 // count)


def test_seed_determines_the_rows() -> None:
    first, same, other = (balanced(LABELS, "undersample", seed) for seed in (1, 1, 2))
    assert (first == same).all() and not (first == other).all()
    assert (balanced(LABELS, "none") == np.arange(len(LABELS))).all()


@pytest.mark.parametrize(("method", "per_class"), [("undersample", 4), ("oversample", 30)])
def test_training_sees_all_classes_equally_often(tmp_path: Path, method: str, per_class: int) -> None:
    labels = np.array([0] * 30 + [1] * 9 + [2] * 4)
    images = np.arange(43, dtype=np.uint8).reshape(43, 1, 1, 1)
    splits = {"train": Samples(images, labels), "val": Samples(images, labels)}
    write(tmp_path / "a.h5", splits, source="a", task="classification", license="CC0-1.0", class_names="abc")
    batches = HDF5DataModule(tmp_path / "a.h5", batch_size=per_class, balance=method)  # type: ignore[arg-type]
    seen = np.concatenate([y.numpy() for _, y in batches.train_dataloader()])
    assert np.bincount(seen).tolist() == [per_class] * 3
    for x, y in batches.train_dataloader():
        assert (labels[x.numpy().reshape(-1)] == y.numpy()).all(), "samples keep their labels"
    assert sum(len(y) for _, y in batches.val_dataloader()) == 43


def test_regression_cannot_be_balanced(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"data\.balance: needs one class per sample, but the task of .* is regression"
    ):
        _ = HDF5DataModule(experiments.regression_file(tmp_path), balance="oversample").spec
