"""Bad data files: each gives one error that names file, dataset and remedy."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from hpc_dl.data.config import DataConfig
from hpc_dl.data.files.format import write
from hpc_dl.data.open_spec import open_spec
from hpc_dl.errors import DataError
from tests.data.small_files import samples

X, Y = samples(20)
FRACTIONS: dict[str, Any] = {"splits": {"fractions": {}}}


@dataclass
class Bad:
    """A bad file.

    Attributes:
        make: creates the file.
        message: parts of the expected error; ``F`` stands for the path.
        section: the ``data`` section besides the path.
    """

    make: Callable[[Path], object]
    message: list[str]
    section: dict[str, Any] = field(default_factory=dict)


def datasets(**named: object) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with h5py.File(path, "w") as file:
            for name, values in named.items():
                file[name.replace("__", "/")] = values

    return make


def own(edit: Callable[[h5py.File], object]) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        splits = {"train": samples(20), "val": samples(9), "test": samples(9)}
        write(path, splits, source="x", task="classification", license="MIT", class_names=["a", "b", "c"])
        with h5py.File(path, "r+") as file:
            edit(file)

    return make


def truncated(path: Path) -> None:
    datasets(inputs=X, targets=Y)(path)
    os.truncate(path, path.stat().st_size - 100)


def replaced(file: h5py.File, name: str, values: object) -> None:
    del file[name]
    file[name] = values


def with_nan(values: np.ndarray) -> np.ndarray:
    bad = values.astype(float)
    bad[7] = np.nan
    return bad


def ragged(num_rows: int) -> np.ndarray:
    rows = np.empty(num_rows, h5py.vlen_dtype("f4"))
    rows[:] = [np.zeros(2, "f4")] * num_rows
    return rows


def linked_elsewhere(path: Path) -> None:
    (path.parent / "elsewhere").mkdir()
    (path.parent / "data").mkdir()
    datasets(inputs=X)(path.parent / "elsewhere" / "x.h5")
    datasets(inputs=h5py.ExternalLink("../elsewhere/x.h5", "inputs"), targets=Y)(path.parent / "data" / "bad.h5")
    path.symlink_to(path.parent / "data" / "bad.h5")


def indices(**named: object) -> Bad:
    return Bad(datasets(inputs=X, targets=Y, **named), [], {"splits": {"indices": {name: name for name in named}}})


def index_case(message: list[str], **named: object) -> Bad:
    bad = indices(**named)
    bad.message = message
    return bad


BAD: dict[str, Bad] = {
    "missing": Bad(lambda path: None, ["F: does not exist", "Check `data.file`", "hpc-dl data make"]),
    "folder": Bad(Path.mkdir, ["F: is a folder, not an HDF5 file", "Specify the path of a file in it"]),
    "empty": Bad(Path.touch, ["F: is empty (0 bytes)", "Copy the file again, or create it again"]),
    "text": Bad(lambda path: path.write_text("a,b\n" * 999), ["F: is not an HDF5 file", "hpc-dl data pack"]),
    "truncated": Bad(truncated, ["F: is truncated", "eof =", "Copy the file again, or create it again"], FRACTIONS),
    "unknown version": Bad(
        own(lambda f: f.attrs.update(format_version=9)),
        ["has an unknown version of the hpc_dl format", "got 9; allowed: 2", "Update hpc_dl"],
    ),
    "no train": Bad(
        own(lambda f: f.pop("train")),
        ["F:/train: does not exist, but should contain the train split", "allowed: /test, /val", "`data.splits`"],
    ),
    "no groups": Bad(
        datasets(inputs=X, targets=Y),
        ["F:/train: does not exist", "allowed: the file has no groups", "groups, fractions or indices"],
    ),
    "missing dataset": Bad(
        own(lambda f: f["val"].move("inputs", "input")),
        ["F:/val/inputs: does not exist", "/val/input,", "Correct `data.inputs`", "did you mean 'input'?"],
    ),
    "group instead of a dataset": Bad(
        datasets(inputs__a=X, targets=Y), ["F:/inputs: is a group", "/inputs/a"], FRACTIONS
    ),
    "broken link": Bad(
        datasets(inputs=h5py.ExternalLink("gone.h5", "/x"), targets=Y),
        ["F:/inputs: is behind a link whose target cannot be opened, gone.h5:/x", "Correct `data.inputs`"],
        FRACTIONS,
    ),
    "lengths": Bad(
        own(lambda f: replaced(f, "val/targets", Y[:5])),
        ["F:/val/targets: has 5 targets for 9 inputs in /val/inputs", "one target per input"],
    ),
    "shapes of splits": Bad(
        own(lambda f: replaced(f, "val/inputs", X[:9, :, :3])),
        [
            "F:/val/inputs: shapes or types of the val split differ from those of the train split",
            "Store all splits with the same shapes and types",
        ],
    ),
    "zero length": Bad(datasets(inputs=X[:0], targets=Y[:0]), ["F:/inputs: contains no samples"], FRACTIONS),
    "scalar": Bad(datasets(inputs=3.0, targets=Y), ["F:/inputs: contains no samples"], FRACTIONS),
    "classes as values": Bad(
        own(lambda file: None),
        ["data.task: regression cannot fit class numbers", "names classes", "Omit it"],
        {"task": "regression"},
    ),
    "NaN targets": Bad(
        datasets(inputs=X, targets=with_nan(Y)),
        ["F:/targets: NaN or infinite target in row 7", "exclude their samples (`data.splits.indices`)"],
        FRACTIONS,
    ),
    "negative label": Bad(
        own(lambda f: f["test/targets"].__setitem__(4, -1)),
        [
            "F:/test/targets: label out of range in row 4",
            "got -1; allowed: 0 to 2 (`class_names`)",
            "Number the classes from 0",
        ],
    ),
    "label without a name": Bad(
        own(lambda f: f["val/targets"].__setitem__(2, 3)), ["F:/val/targets: label out of range in row 2", "got 3"]
    ),
    "labels that are not classes": Bad(
        datasets(inputs=X, targets=Y * 1000),
        ["F:/targets: labels up to 2000 in 20 samples do not look like class numbers", "`data.task: regression`"],
        FRACTIONS,
    ),
    "strings as targets": Bad(
        datasets(inputs=X, targets=["cat"] * 20),
        ["F:/targets: contains text labels", "got 'strings'", "Set `data.classes: remap`"],
        FRACTIONS,
    ),
    "compound inputs": Bad(
        datasets(inputs=np.zeros(20, [("a", "f4"), ("b", "i2")]), targets=Y),
        ["F:/inputs: must contain numbers", "compound of a, b"],
        FRACTIONS,
    ),
    "variable-length rows": Bad(
        datasets(inputs=X, targets=ragged(20)),
        ["F:/targets: must contain numbers", "variable-length rows of float32"],
        FRACTIONS,
    ),
    "opaque inputs": Bad(
        datasets(inputs=np.zeros(20, "V5"), targets=Y), ["F:/inputs: must contain numbers", "opaque bytes"], FRACTIONS
    ),
    "null dataset": Bad(datasets(inputs=X, targets=h5py.Empty("f4")), ["F:/targets: contains no samples"], FRACTIONS),
    "external link out of the folder": Bad(
        linked_elsewhere,
        ["F:/inputs: is a link to a dataset outside the folder of its file", "hpc-dl data pack"],
        FRACTIONS,
    ),
    "complex inputs": Bad(
        datasets(inputs=np.zeros(20, "c8"), targets=Y), ["F:/inputs: must contain numbers", "complex64"], FRACTIONS
    ),
    "one-hot": Bad(
        datasets(inputs=X, targets=np.eye(20, dtype=int) + np.eye(20, k=1, dtype=int)),
        ["F:/targets: must contain one-hot rows", "got [1, 1, 0,", "`data.task: multilabel`"],
        FRACTIONS,
    ),
    "float classes": Bad(
        datasets(inputs=X, targets=Y + 0.5),
        ["F:/targets: a label in row 0 is not a whole number", "`data.task: regression`"],
        FRACTIONS | {"task": "classification"},
    ),
    "dense targets": Bad(
        datasets(inputs=X, targets=np.zeros((20, 4, 4))),
        ["F:/targets: must contain one row of values per sample", "(N,) or (N, K)"],
        FRACTIONS,
    ),
    "channels last": Bad(
        datasets(inputs=np.zeros((20, 8, 8, 3), "u1"), targets=Y),
        ["F:/inputs: looks like images with the channels last", "`data.channels: last`"],
        FRACTIONS,
    ),
    "class names": Bad(
        own(lambda f: f["train/targets"].attrs.update(class_names=7)),
        ["F:/train/targets: the attribute `class_names`", "got 7"],
    ),
    "empty split": Bad(
        datasets(inputs=X, targets=Y),
        ["F:/inputs: the test split would be empty: 0.01 of 20", "`data.splits.fractions.test`"],
        {"splits": {"fractions": {"train": 0.8, "val": 0.19, "test": 0.01}}},
    ),
    "same group twice": Bad(
        own(lambda f: None),
        ["F:/test/inputs: the test split has the same samples as the val split", "`data.splits.groups.test`"],
        {"splits": {"groups": {"val": "test", "test": "test"}}},
    ),
    "index out of range": index_case(
        ["F:/train: lists 2 rows that do not exist", "got 20; allowed: 0 to 19", "`data.splits.indices.train`"],
        train=[3, 20, 21],
    ),
    "negative index": index_case(["F:/train: lists 1 rows that do not exist", "got -1"], train=[3, -1]),
    "overlap": index_case(
        ["F:/test: the test split shares 2 rows with train, for example row 3", "each row in one split only"],
        train=[1, 2, 3, 4],
        test=[3, 4, 5],
    ),
    "row twice": index_case(["F:/train: lists 1 rows more than once"], train=[3, 3]),
    "mask too short": index_case(
        ["F:/train: is a mask of 7 entries, but there are 20 samples"], train=np.ones(7, bool)
    ),
    "empty mask": index_case(["F:/train: selects no rows"], train=np.zeros(20, bool)),
    "float index": index_case(["F:/train: must be a list of integers or a boolean mask"], train=[0.5]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_file_is_reported(tmp_path: Path, name: str) -> None:
    bad = BAD[name]
    path = tmp_path / "bad.h5"
    bad.make(path)
    with pytest.raises(DataError) as caught:
        open_spec(DataConfig.model_validate({"file": str(path)} | bad.section))
    text = str(caught.value)
    for part in bad.message:
        assert part.replace("F:", f"{path}:", 1) in text
    assert len(caught.value.faults) == 1, text
    assert caught.value.exit_status == 2


def test_faults_of_all_splits_are_reported_at_once(tmp_path: Path) -> None:
    def edit(file: h5py.File) -> None:
        file["val/targets"][2] = 9
        file["test/targets"][3] = -1

    own(edit)(tmp_path / "x.h5")
    with pytest.raises(DataError) as caught:
        open_spec(DataConfig(file=str(tmp_path / "x.h5")))
    assert [fault.where.rpartition(":")[2] for fault in caught.value.faults] == ["/val/targets", "/test/targets"]


def test_missing_permission_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    datasets(inputs=X, targets=Y)(path)
    path.chmod(0)
    root = os.geteuid() == 0
    if root:  # root may read everything, so open the file as user "nobody"
        os.seteuid(65534)
    try:
        with pytest.raises(DataError, match=r"permission denied.*Ask its owner"):
            open_spec(DataConfig(file=str(path)))
    finally:
        if root:
            os.seteuid(0)
