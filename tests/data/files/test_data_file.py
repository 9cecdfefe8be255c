"""Files in our own and in other formats: task, classes, channels, splits."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from hpc_dl.data.config import DataConfig
from hpc_dl.data.files import value_checks
from hpc_dl.data.files.data_file import open_data
from hpc_dl.data.files.splits import stratified
from hpc_dl.data.open_spec import open_spec
from hpc_dl.errors import DataError
from tests.data.small_files import MakeFile, samples

X, Y = samples(40)
THIRDS = {"fractions": {"train": 0.5, "val": 0.25, "test": 0.25}}


def config(path: Path, **section: Any) -> DataConfig:
    return DataConfig.model_validate({"file": str(path)} | section)


def test_own_file(own_file: Path) -> None:
    spec = open_spec(DataConfig(file=str(own_file)))
    assert (spec.input_shape, spec.input_dtype, spec.task, spec.num_outputs) == (
        (1, 4, 4),
        "uint8",
        "classification",
        3,
    )
    assert spec.class_names == ("a", "b", "c")
    assert spec.sizes == {"train": 50, "val": 11, "test": 12}
    assert (spec.file, spec.name) == (str(own_file), "own")
    with h5py.File(own_file) as file:
        assert spec.checksum == f"sha256:{file.attrs['sha256']}"


@pytest.mark.parametrize(
    ("targets", "section", "task", "num_outputs"),
    [
        (Y, {}, "classification", 3),
        (Y[:, None].astype("u1"), {}, "classification", 3),
        (Y > 0, {}, "classification", 2),
        (Y, {"task": "regression"}, "regression", 1),
        (Y * 0.5, {}, "regression", 1),
        (np.zeros((40, 5), "f4"), {}, "regression", 5),
    ],
)
def test_task_is_inferred(
    foreign_file: MakeFile, targets: np.ndarray, section: dict[str, str], task: str, num_outputs: int
) -> None:
    path = foreign_file(inputs=X, targets=targets)
    spec = open_spec(config(path, splits=THIRDS, **section))
    assert (spec.task, spec.num_outputs) == (task, num_outputs)
    assert spec.class_names == tuple("012"[:num_outputs] if task == "classification" else ())
    _, y = open_data(path, config(path, splits=THIRDS, **section)).reader("val").read(np.arange(3))
    assert y.shape == ((3,) if task == "classification" else (3, num_outputs))


def test_task_attribute_of_the_file_is_used(foreign_file: MakeFile) -> None:
    path = foreign_file(inputs=X, targets=Y)
    with h5py.File(path, "r+") as file:
        file.attrs["task"] = np.bytes_(b"regression")
    assert open_spec(config(path, splits=THIRDS)).task == "regression"


@pytest.mark.parametrize(
    ("shape", "channels", "expected"),
    [
        ((40,), "auto", (1,)),
        ((40, 7), "auto", (7,)),
        ((40, 6, 5), "auto", (1, 6, 5)),
        ((40, 6, 5), "first", (6, 5)),
        ((40, 3, 6, 5), "auto", (3, 6, 5)),
        ((40, 6, 5, 3), "last", (3, 6, 5)),
        ((40, 6, 5, 4), "none", (1, 6, 5, 4)),
        ((40, 1, 6, 5, 4), "auto", (1, 6, 5, 4)),
    ],
)
def test_channel_axis(foreign_file: MakeFile, shape: tuple[int, ...], channels: str, expected: tuple[int, ...]) -> None:
    path = foreign_file(inputs=np.zeros(shape, "f4"), targets=Y)
    data = open_data(path, config(path, splits=THIRDS, channels=channels))
    assert data.spec.input_shape == expected
    assert data.reader("train").read(np.arange(4))[0].shape == (4, *expected)


def test_fractions_are_exact_disjoint_and_seeded(foreign_file: MakeFile) -> None:
    path = foreign_file(inputs=X, targets=Y)
    splits = open_data(path, config(path, splits=THIRDS)).splits
    rows = [split.rows for split in splits.values() if split.rows is not None]
    assert [len(some) for some in rows] == [20, 10, 10]
    assert sorted(np.concatenate(rows)) == list(range(40))
    again = open_data(path, config(path, splits=THIRDS)).splits["train"].rows
    np.testing.assert_array_equal(rows[0], again)
    other = config(path, splits={"fractions": THIRDS["fractions"] | {"seed": 1}})
    assert not np.array_equal(rows[0], open_data(path, other).splits["train"].rows)


def test_fraction_of_zero_means_no_split(foreign_file: MakeFile) -> None:
    path = foreign_file(inputs=X, targets=Y)
    spec = open_spec(config(path, splits={"fractions": {"train": 0.9, "val": 0.1, "test": 0}}))
    assert spec.sizes == {"train": 36, "val": 4}


def test_splits_by_rows_and_masks(foreign_file: MakeFile) -> None:
    mask = np.zeros(40, bool)
    mask[30:] = True
    path = foreign_file(data__x=X, data__y=Y, cv__fit=np.arange(29, -1, -1), cv__held_out=mask)
    section = {
        "inputs": "/data/x",
        "targets": "data/y",
        "splits": {"indices": {"train": "/cv/fit", "val": "cv/held_out"}},
    }
    splits = open_data(path, config(path, **section)).splits
    np.testing.assert_array_equal(splits["train"].rows, np.arange(30))
    np.testing.assert_array_equal(splits["val"].rows, np.arange(30, 40))


def test_unlabeled_rows_outside_the_splits_are_ignored(foreign_file: MakeFile) -> None:
    labels = Y.copy()
    labels[30:] = -1
    path = foreign_file(inputs=X, targets=labels, fit=np.arange(20), check=np.arange(20, 30))
    assert open_spec(config(path, splits={"indices": {"train": "fit", "val": "check"}})).sizes == {
        "train": 20,
        "val": 10,
    }


def test_splits_by_named_groups(foreign_file: MakeFile) -> None:
    path = foreign_file(learn__img=X, learn__lab=Y, held__img=X[:9], held__lab=Y[:9])
    section = {"inputs": "img", "targets": "lab", "splits": {"groups": {"train": "learn", "val": None, "test": "held"}}}
    spec = open_spec(config(path, **section))
    assert spec.sizes == {"train": 40, "test": 9}
    assert spec.name == "foreign" and spec.checksum.startswith("sha256:")


def test_defaults_in_the_configuration_of_a_run_name_no_split(foreign_file: MakeFile) -> None:
    section = config(foreign_file(learn__inputs=X, learn__targets=Y), splits={"groups": {"train": "learn"}})
    saved = type(section).model_validate(section.model_dump())
    assert open_spec(section).sizes == open_spec(saved).sizes == {"train": 40}


def test_stratified_split_keeps_class_proportions() -> None:
    labels = np.repeat([0, 1, 2], [500, 100, 50])
    split = stratified(labels, {"train": 390, "val": 130, "test": 130}, seed=0)
    assert sorted(np.concatenate(list(split.values()))) == list(range(650))
    for rows, shares in ((split["train"], [300, 60, 30]), (split["test"], [100, 20, 10])):
        assert np.abs(np.bincount(labels[rows]) - shares).max() <= 1


def test_open_spec_needs_no_torch(own_file: Path) -> None:
    script = Path(__file__).parent.parent / "scripts" / "open_spec_without_torch.py"
    done = subprocess.run([sys.executable, str(script), str(own_file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "FALSE\n"


def test_named_classes_may_outnumber_the_samples(foreign_file: MakeFile) -> None:
    path = foreign_file(train__inputs=X[:5], train__targets=Y[:5])
    with h5py.File(path, "r+") as file:
        file["train/targets"].attrs["class_names"] = [f"c{number}" for number in range(9)]
    assert open_spec(config(path)).num_outputs == 9


def test_named_labels_are_checked_in_part(foreign_file: MakeFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(value_checks, "_CHECKED_NAMED_BYTES", 8 * 64)
    monkeypatch.setattr(value_checks, "_PIECE_BYTES", 8 * 16)
    labels = np.zeros(1000, np.uint8)
    path = foreign_file(train__inputs=np.zeros((1000, 2), np.uint8), train__targets=labels)
    with h5py.File(path, "r+") as file:
        file["train/targets"].attrs["class_names"] = ["a", "b", "c"]
        for row, is_checked in ((0, True), (15, True), (999, True), (100, False)):
            file["train/targets"][row] = 7
            file.flush()
            if is_checked:
                with pytest.raises(DataError, match="7"):
                    open_spec(config(path))
            else:
                assert open_spec(config(path)).num_outputs == 3
            file["train/targets"][row] = 0
        # Without class names every label is checked.
        del file["train/targets"].attrs["class_names"]
        file["train/targets"][100] = 7
        file.flush()
        assert open_spec(config(path)).num_outputs == 8
