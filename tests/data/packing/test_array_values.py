"""Arrays whose values are not samples, classes or targets."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from hpc_dl.errors import DataError

from .conftest import content, packed

X = np.zeros((10, 2))


@pytest.mark.parametrize(
    ("x", "y", "options", "problem"),
    [
        (X, np.array([np.nan, *[1.0] * 9]), {}, "infinite or missing target in sample 0.*np.isfinite"),
        (X, np.array([[0, 1.0]] * 9 + [[0, np.inf]]), {}, "infinite or missing target in sample 9"),
        (X, np.array([0.5, *[1.0] * 9]), {"task": "classification"}, "not a whole number in sample 0.*got 0.5"),
        (X, np.array([0, 2**32] * 5), {}, "label out of range in sample 1.*got 4294967296.*--classes remap"),
        (X, np.array([0, 2**63] * 5, "u8"), {}, "label out of range in sample 1"),
        (X, np.array(["a", 1] * 5, object), {}, r"need unpickling.*y\.astype\(str\)"),
        (np.zeros((10, 0)), np.zeros(10, int), {}, "contains no samples"),
        (np.zeros((0, 2)), np.zeros(0, int), {}, "contains no samples"),
        (X.astype(complex), np.zeros(10, int), {}, "must contain numbers.*complex128"),
    ],
)
def test_values_that_are_refused(x: Any, y: Any, options: dict[str, Any], problem: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", x=x, y=y)
    with pytest.raises(DataError, match=problem):
        packed(tmp_path / "in.npz", tmp_path / "out.h5", **options)
    assert [path.name for path in tmp_path.iterdir()] == ["in.npz"]


def test_padded_texts_are_one_class(tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", x=X, y=np.array([b"a  ", b"a", b"b\r\n", b"b", b"A"] * 2))
    result = packed(tmp_path / "in.npz", tmp_path / "out.h5")
    assert result["class_names"] == ["A", "a", "b"]
    assert content(tmp_path / "out.h5")["train/targets"][:5].tolist() == [1, 1, 2, 2, 0]
    assert any("'A' and 'a'" in note for note in result["notes"])


@pytest.mark.parametrize("kind", [h5py.ref_dtype, h5py.vlen_dtype("f4")])
def test_references_and_rows_of_different_lengths(kind: Any, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file["x"], file["z"] = X, np.arange(10)
        file.create_dataset("y", (10,), dtype=kind)
    with pytest.raises(DataError, match=":/y: contains references or rows of different lengths"):
        packed(tmp_path / "in.h5", tmp_path / "out.h5")


def test_texts_that_are_no_utf8_stay_different(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file["x"], file["y"] = X, np.array([b"a\xfe", b"a\xff"] * 5)
    assert packed(tmp_path / "in.h5", tmp_path / "out.h5")["class_names"] == [r"a\xfe", r"a\xff"]
