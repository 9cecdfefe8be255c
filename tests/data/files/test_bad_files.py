"""Every way a data file can be wrong: one clear error that names file, dataset and remedy."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from hpc_dl.data.config import DataConfig
from hpc_dl.data.files.data_file import open_spec
from hpc_dl.data.files.format import write
from hpc_dl.errors import DataError

from .conftest import samples

X, Y = samples(20)
FRACTIONS: dict[str, Any] = {"splits": {"fractions": {}}}


@dataclass
class Bad:
    """A bad file: how it is made, what the YAML says of it, and what the message must hold."""

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
    "missing": Bad(lambda path: None, ["F: there is no such file", "hpc-dl data make"]),
    "folder": Bad(Path.mkdir, ["F: is a folder, not an HDF5 file", "Give the path of the file in it"]),
    "empty": Bad(Path.touch, ["F: is empty (0 bytes)", "Copy or make the file again"]),
    "text": Bad(lambda path: path.write_text("a,b\n" * 999), ["F: is not an HDF5 file", "docs/data-format.md"]),
    "truncated": Bad(truncated, ["F: is truncated", "eof =", "Copy or make it again"], FRACTIONS),
    "unknown version": Bad(
        own(lambda f: f.attrs.update(format_version=9)), ["unknown version", "got 9; allowed: 2", "Update hpc_dl"]
    ),
    "no train": Bad(
        own(lambda f: f.pop("train")), ["F:/train: there is no such group", "allowed: /test, /val", "`data.splits`"]
    ),
    "no groups": Bad(
        datasets(inputs=X, targets=Y), ["F:/train: there is no such group", "groups, fractions or indices"]
    ),
    "missing dataset": Bad(
        own(lambda f: f["val"].move("inputs", "input")),
        ["F:/val/inputs: there is no such dataset", "/val/input,", "Correct `data.inputs`", "did you mean '/"],
    ),
    "group for a dataset": Bad(datasets(inputs__a=X, targets=Y), ["F:/inputs: is a group", "/inputs/a"], FRACTIONS),
    "broken link": Bad(
        datasets(inputs=h5py.ExternalLink("gone.h5", "/x"), targets=Y),
        ["F:/inputs: is a link", "cannot be opened"],
        FRACTIONS,
    ),
    "lengths": Bad(
        own(lambda f: replaced(f, "val/targets", Y[:5])),
        ["F:/val/targets: has 5 targets for 9 inputs in /val/inputs", "one target for each input"],
    ),
    "shapes of splits": Bad(
        own(lambda f: replaced(f, "val/inputs", X[:9, :, :3])),
        ["F:/val/inputs: shapes and types differ", "Store all splits alike"],
    ),
    "zero length": Bad(datasets(inputs=X[:0], targets=Y[:0]), ["F:/inputs: holds no samples"], FRACTIONS),
    "scalar": Bad(datasets(inputs=3.0, targets=Y), ["F:/inputs: holds no samples"], FRACTIONS),
    "classes as values": Bad(
        own(lambda file: None),
        ["data.task: ", "names classes, whose numbers are no values", "Leave it out"],
        {"task": "regression"},
    ),
    "NaN targets": Bad(
        datasets(inputs=X, targets=with_nan(Y)),
        ["F:/targets: NaN or infinite target in row 7", "Leave these samples out"],
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
    "labels that are no classes": Bad(
        datasets(inputs=X, targets=Y * 1000),
        ["F:/targets: labels up to 2000 among 20 samples", "`data.task: regression`"],
        FRACTIONS,
    ),
    "texts as targets": Bad(
        datasets(inputs=X, targets=["cat"] * 20),
        ["F:/targets: must hold numbers", "got 'texts'", "Store classes as integers"],
        FRACTIONS,
    ),
    "compound inputs": Bad(
        datasets(inputs=np.zeros(20, [("a", "f4"), ("b", "i2")]), targets=Y),
        ["F:/inputs: must hold numbers", "compound of a, b"],
        FRACTIONS,
    ),
    "rows of any length": Bad(
        datasets(inputs=X, targets=ragged(20)),
        ["F:/targets: must hold numbers", "rows of float32 of any length"],
        FRACTIONS,
    ),
    "opaque inputs": Bad(
        datasets(inputs=np.zeros(20, "V5"), targets=Y), ["F:/inputs: must hold numbers", "opaque bytes"], FRACTIONS
    ),
    "null dataset": Bad(datasets(inputs=X, targets=h5py.Empty("f4")), ["F:/targets: holds no samples"], FRACTIONS),
    "external link out of the folder": Bad(
        linked_elsewhere, ["F:/inputs: is a link outside of the folder of its file", "hpc-dl data pack"], FRACTIONS
    ),
    "complex inputs": Bad(
        datasets(inputs=np.zeros(20, "c8"), targets=Y), ["F:/inputs: must hold numbers", "complex64"], FRACTIONS
    ),
    "one-hot": Bad(
        datasets(inputs=X, targets=np.eye(20, dtype=int)),
        ["F:/targets: must hold one class number", "row of zeros and ones"],
        FRACTIONS,
    ),
    "float classes": Bad(
        datasets(inputs=X, targets=Y.astype(float)),
        ["F:/targets: class numbers must be integers", "`data.task: regression`"],
        FRACTIONS | {"task": "classification"},
    ),
    "dense targets": Bad(
        datasets(inputs=X, targets=np.zeros((20, 4, 4))),
        ["F:/targets: must hold a row of values", "(N,) or (N, K)"],
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
        ["F:/test/inputs: the test split holds the samples of the val split", "`data.splits.groups.test`"],
        {"splits": {"groups": {"val": "test", "test": "test"}}},
    ),
    "index out of range": index_case(
        ["F:/train: lists 2 rows that are not there", "got 20; allowed: 0 to 19", "`data.splits.indices.train`"],
        train=[3, 20, 21],
    ),
    "negative index": index_case(["F:/train: lists 1 rows that are not there", "got -1"], train=[3, -1]),
    "overlap": index_case(
        ["F:/test: the test split shares 2 rows with train, the first is row 3", "each row in one split only"],
        train=[1, 2, 3, 4],
        test=[3, 4, 5],
    ),
    "row twice": index_case(["F:/train: lists 1 rows more than once"], train=[3, 3]),
    "mask too short": index_case(["F:/train: is a mask of 7 entries for 20 samples"], train=np.ones(7, bool)),
    "empty mask": index_case(["F:/train: lists no rows"], train=np.zeros(20, bool)),
    "float index": index_case(["F:/train: must be one row of integers"], train=[0.5]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_file(tmp_path: Path, name: str) -> None:
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


def test_every_split_is_told_at_once(tmp_path: Path) -> None:
    def edit(file: h5py.File) -> None:
        file["val/targets"][2] = 9
        file["test/targets"][3] = -1

    own(edit)(tmp_path / "x.h5")
    with pytest.raises(DataError) as caught:
        open_spec(DataConfig(file=str(tmp_path / "x.h5")))
    assert [fault.where.rpartition(":")[2] for fault in caught.value.faults] == ["/val/targets", "/test/targets"]


def test_permission_denied(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    datasets(inputs=X, targets=Y)(path)
    path.chmod(0)
    root = os.geteuid() == 0
    if root:  # root may read everything: look at the file as nobody
        os.seteuid(65534)
    try:
        with pytest.raises(DataError, match=r"permission denied.*Ask its owner"):
            open_spec(DataConfig(file=str(path)))
    finally:
        if root:
            os.seteuid(0)
