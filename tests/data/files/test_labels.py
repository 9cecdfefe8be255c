"""Labels that are not numbered from 0: floats, one-hot rows, texts, gaps, masks of 0 and 255."""

import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from hpc_dl.data.config import DataConfig
from hpc_dl.data.datamodule import HDF5DataModule
from hpc_dl.data.files.data_file import DataFile, open_data
from hpc_dl.data.open_spec import class_counts
from hpc_dl.data.spec import IGNORED
from hpc_dl.errors import ConfigError, DataError

NUM_SAMPLES = 40
X = np.random.default_rng(0).normal(size=(NUM_SAMPLES, 5)).astype("f4")
Y = np.arange(NUM_SAMPLES) % 3
SPLITS = {"fractions": {"train": 0.5, "val": 0.25, "test": 0.25}}
TEXTS = np.array([b"B", b"NK", b"T"])[Y]
IMAGES = np.random.default_rng(0).normal(size=(NUM_SAMPLES, 1, 4, 6)).astype("f4")
MASKS = np.random.default_rng(0).integers(0, 3, (NUM_SAMPLES, 4, 6))


def written(path: Path, targets: Any, inputs: Any = X, **options: Any) -> str:
    with h5py.File(path / "d.h5", "w") as file:
        file["inputs"] = inputs
        file.create_dataset("targets", data=targets, **options)
    return str(path / "d.h5")


def opened(path: Path, targets: Any, inputs: Any = X, dtype: Any = None, **section: Any) -> DataFile:
    file = written(path, targets, inputs, dtype=dtype)
    return open_data(file, DataConfig(file=file, **{"splits": SPLITS, **section}))


def labels_of(data: DataFile, split: str = "train") -> np.ndarray:
    with data.reader(split) as reader:
        return np.asarray(reader.read(np.arange(len(reader)))[1])


def expected(data: DataFile, labels: np.ndarray, split: str = "train") -> np.ndarray:
    return labels[data.splits[split].rows]


ENUM = h5py.enum_dtype({"low": 0, "mid": 1, "high": 2}, "i1")
AS_CLASSES = {
    "floats": (Y.astype("f8"), {"task": "classification"}, ("0", "1", "2")),
    "float column": (Y.astype("f4")[:, None], {"task": "classification"}, ("0", "1", "2")),
    "one-hot": (np.eye(3, dtype="i1")[Y], {}, ("0", "1", "2")),
    "one-hot booleans": (np.eye(3, dtype=bool)[Y], {}, ("0", "1", "2")),
    "one-hot floats": (np.eye(3, dtype="f4")[Y], {"task": "classification"}, ("0", "1", "2")),
    "from one": (Y + 1, {"classes": "remap"}, ("1", "2", "3")),
    "gaps": ((4 * Y + 1).astype("i1"), {"classes": "remap"}, ("1", "5", "9")),
    "negative floats": (Y - 1.0, {"classes": "remap"}, ("-1", "0", "1")),
    "above int64": (Y.astype("u8") + 2**63, {"classes": "remap"}, tuple(str(2**63 + k) for k in range(3))),
    "halves": (Y / 2, {"classes": "remap"}, ("0", "0.5", "1")),
    "listed": (2 - Y, {"classes": [2, 1, 0]}, ("2", "1", "0")),
    "enumeration": (Y.astype("i1"), {}, ("low", "mid", "high")),
    "fixed texts": (TEXTS, {"classes": "remap"}, ("B", "NK", "T")),
    "padded texts": (np.array([b"B  ", b"NK\r\n", b"T"])[Y], {"classes": "remap"}, ("B", "NK", "T")),
    "no UTF-8": (np.array([b"\xfd", b"\xfe", b"\xff"])[Y], {"classes": "remap"}, (r"\xfd", r"\xfe", r"\xff")),
    "variable texts": (TEXTS.astype(object), {"classes": "remap"}, ("B", "NK", "T")),
    "listed texts": (np.array([b"T", b"B", b"NK"])[Y], {"classes": ["T", "B", "NK"]}, ("T", "B", "NK")),
}


@pytest.mark.parametrize("case", AS_CLASSES)
def test_labels_become_class_numbers(tmp_path: Path, case: str) -> None:
    targets, section, names = AS_CLASSES[case]
    dtypes = {"enumeration": ENUM, "variable texts": h5py.string_dtype()}
    data = opened(tmp_path, targets, dtype=dtypes.get(case), **section)
    assert (data.spec.task, data.spec.class_names, data.spec.num_outputs) == ("classification", names, 3)
    for split in data.splits:
        np.testing.assert_array_equal(labels_of(data, split), expected(data, Y, split))
    file = data.spec.file
    assert sum(class_counts(DataConfig(file=file, splits=SPLITS, **section))) == data.spec.sizes["train"]


def test_plus_and_minus_one_are_two_classes(tmp_path: Path) -> None:
    signs = np.where(Y == 1, 1, -1)
    with pytest.raises(DataError, match=r"label out of range in row \d+ \(got -1; .*Number .*`data.classes: remap`"):
        opened(tmp_path, signs)
    data = opened(tmp_path, signs, classes="remap")
    assert data.spec.class_names == ("-1", "1")
    np.testing.assert_array_equal(labels_of(data), expected(data, (signs + 1) // 2))


@pytest.mark.parametrize(
    ("targets", "section", "note"),
    [
        (Y.astype("f8"), {}, r"whole numbers \(0, 1, 2\) stored as float64, and they are taken as values"),
        (np.eye(3)[Y], {}, r"look like one-hot rows of 3 classes, but .* set `data.task: classification`"),
        (np.eye(3, dtype=int)[Y], {}, "one-hot rows are read as one class"),
        (4 * Y + 1, {}, r"7 of 10 classes never occur, since the labels are 1, 5, 9; set `data.classes: remap`"),
        (Y + 1, {}, r"1 of 4 classes never occur"),
        (Y + 1, {"classes": "remap"}, r"labels are numbered as classes: 1 → 0, 2 → 1, 3 → 2"),
        (
            np.where(np.arange(NUM_SAMPLES) == 7, 2, Y % 2),
            {},
            "labels that occur in other splits are never trained on: 2",
        ),
    ],
)
def test_choice_or_likely_mistake_is_reported(tmp_path: Path, targets: Any, section: dict[str, Any], note: str) -> None:
    rows = np.arange(NUM_SAMPLES)
    file = written(tmp_path, targets)
    with h5py.File(file, "a") as opened_file:
        opened_file["a"], opened_file["b"] = rows[rows != 7], rows[rows == 7]
    splits = {"indices": {"train": "a", "test": "b"}}
    notes = open_data(file, DataConfig(file=file, splits=splits, **section)).spec.notes
    assert len(notes) == 1

    assert re.search(note, notes[0]), notes


@pytest.mark.parametrize(
    ("targets", "section", "fault"),
    [
        (np.zeros(NUM_SAMPLES, int), {}, r"has only one class, but classification needs at least two \(got 0\)"),
        (np.full(NUM_SAMPLES, 3), {}, r"has only one class"),
        (np.zeros(NUM_SAMPLES, int), {"classes": "remap"}, r"has only one class"),
        (TEXTS, {}, r"contains text labels.*Set `data.classes: remap`"),
        (Y, {"classes": [1, 2]}, r"a label that is not one of the classes \(got 0; allowed: 1, 2\)"),
        (Y + 0.25, {"task": "classification"}, r"is not a whole number.*`data.task: regression`"),
        (np.where(Y == 1, np.nan, Y), {"task": "classification"}, r"NaN label in row .*`data.ignore_label: nan`"),
        (np.eye(3)[Y] * 0.5, {"task": "classification"}, r"must contain one-hot rows"),
        (np.full(NUM_SAMPLES, -1), {"ignore_label": -1}, r"has no label other than `data.ignore_label`"),
    ],
)
def test_labels_that_are_no_classes_are_one_line(
    tmp_path: Path, targets: Any, section: dict[str, Any], fault: str
) -> None:
    with pytest.raises(DataError, match=fault) as caught:
        opened(tmp_path, targets, **section)
    assert "d.h5:/targets: " in str(caught.value)


@pytest.mark.parametrize("section", [{"classes": "remap"}, {"ignore_label": -1}])
def test_keys_for_classes_need_classes(tmp_path: Path, section: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"data.{next(iter(section))}: does not apply to regression"):
        opened(tmp_path, X[:, 0], task="regression", **section)


MASKS_STORED = {
    "floats": (MASKS.astype("f4"), {}),
    "one-hot first": (np.moveaxis(np.eye(3, dtype="u1")[MASKS], -1, 1), {}),
    "one-hot last": (np.eye(3, dtype="f4")[MASKS], {}),
    "channel last": (MASKS[..., None], {}),
    "remapped": (np.array([0, 128, 255], "u1")[MASKS], {"classes": "remap"}),
}


@pytest.mark.parametrize("crop", [None, [2, 3]])
@pytest.mark.parametrize("case", MASKS_STORED)
def test_masks_become_class_numbers(tmp_path: Path, case: str, crop: list[int] | None) -> None:
    stored, section = MASKS_STORED[case]
    if case == "channel last" and crop:
        return
    data = opened(tmp_path, stored, IMAGES, task="segmentation", channels="first", crop=crop, **section)
    assert data.spec.num_outputs == 3
    full = expected(data, MASKS)
    np.testing.assert_array_equal(labels_of(data), full[:, 1:3, 1:4] if crop else full)


def test_mask_of_0_and_255_is_reported_and_remapped(tmp_path: Path) -> None:
    masks = np.where(MASKS == 1, 255, 0).astype("u1")
    data = opened(tmp_path, masks, IMAGES, task="segmentation", channels="first")
    assert "254 of 256 classes never occur, since the labels are 0, 255" in data.spec.notes[0]
    data = opened(tmp_path, masks, IMAGES, task="segmentation", channels="first", classes="remap")
    np.testing.assert_array_equal(labels_of(data), expected(data, (MASKS == 1).astype(int)))


@pytest.mark.parametrize(
    ("targets", "ignore"),
    [
        (np.where(Y == 2, -1, Y), -1),
        (np.where(Y == 2, 255, Y).astype("u1"), 255),
        (np.where(Y == 2, np.nan, Y), "nan"),
        (np.array([b"a", b"b", b""])[Y], ""),
        (np.eye(3)[Y][:, :2], -1),
    ],
)
def test_ignored_labels_have_no_class(tmp_path: Path, targets: Any, ignore: Any) -> None:
    section = {"task": "classification", "ignore_label": ignore}
    if targets.dtype.kind == "S":
        section["classes"] = "remap"
    data = opened(tmp_path, targets, **section)
    assert data.spec.num_outputs == 2
    np.testing.assert_array_equal(labels_of(data), expected(data, np.where(Y == 2, IGNORED, Y)))
    counts = class_counts(DataConfig(file=data.spec.file, splits=SPLITS, **section))
    assert counts == tuple(np.bincount(expected(data, Y), minlength=3)[:2])


def test_unlabeled_samples_are_not_used_for_balance(tmp_path: Path) -> None:
    data = opened(tmp_path, np.where(Y == 2, -1, Y), ignore_label=-1, balance="undersample")
    labels, counts = np.unique(labels_of(data), return_counts=True)
    assert labels.tolist() == [0, 1] and counts[0] == counts[1]


def test_classes_of_a_checkpoint_replace_those_of_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, 4 * Y + 1)
    state = HDF5DataModule(file, splits=SPLITS, classes="remap").state_dict()
    assert state["classes"] == [1, 5, 9]
    other = HDF5DataModule(written(tmp_path, np.where(Y == 0, 9, 5)), splits=SPLITS, classes="remap")
    other.load_state_dict(state)
    assert other.spec.class_names == ("1", "5", "9")
    assert set(other.read_batch("train", np.arange(10))[1].tolist()) == {1, 2}


@pytest.mark.parametrize(
    ("shape", "note"),
    [
        ((40, 4, 64), "`data.channels: first` if they are series of 4 channels"),
        ((40, 8, 8, 8), "volumes of one channel"),
    ],
)
def test_ambiguous_shape_is_reported_with_the_key_that_decides(
    tmp_path: Path, shape: tuple[int, ...], note: str
) -> None:
    assert note in opened(tmp_path, Y, np.zeros(shape, "f4")).spec.notes[0]
    assert opened(tmp_path, Y, np.zeros(shape, "f4"), channels="first").spec.notes == ()
