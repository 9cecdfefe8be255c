"""HDF5 of other programs: MATLAB, AnnData, NWB, one group per sample, arrays named by split."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from hpc_dl.errors import DataError

from .conftest import content, images, labels, packed

NUM = 60


def features(num_columns: int = 7) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(NUM, num_columns))


def write_matlab_7_3(path: Path, **variables: tuple[str, Any]) -> None:
    """Write variables as MATLAB does: axes reversed, a class each, a user block of 512 bytes."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, (kind, values) in variables.items():
            if kind == "cell":
                cells = [np.array([[ord(letter)] for letter in text], np.uint16) for text in values]
                stored = [
                    file.create_dataset(f"#refs#/{name}{number}", data=cell).ref for number, cell in enumerate(cells)
                ]
                dataset = file.create_dataset(name, (1, len(stored)), h5py.ref_dtype)
                dataset[0] = stored
            else:
                dataset = file.create_dataset(name, data=np.asarray(values).T)
            dataset.attrs["MATLAB_class"] = np.bytes_(kind)
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")


def test_matlab_7_3(tmp_path: Path) -> None:
    x, y = features(), labels(NUM)[:, None] + 1.0
    write_matlab_7_3(tmp_path / "in.mat", X=("double", x), y=("double", y))
    result = packed(tmp_path / "in.mat", tmp_path / "out.h5")
    np.testing.assert_array_equal(content(tmp_path / "out.h5")["train/inputs"], x)
    np.testing.assert_array_equal(content(tmp_path / "out.h5")["train/targets"], labels(NUM))
    assert (result["task"], result["class_names"]) == ("classification", ["1", "2", "3"])
    assert any("`--task regression` keeps them as numbers" in note for note in result["notes"])
    packed(tmp_path / "in.mat", tmp_path / "values.h5", task="regression")
    np.testing.assert_array_equal(content(tmp_path / "values.h5")["train/targets"], labels(NUM) + 1.0)


def test_matlab_7_3_with_images_and_words(tmp_path: Path) -> None:
    x, kinds = images(NUM, shape=(9, 8, 3)), ["ab", "c", "ab"] * (NUM // 3)
    write_matlab_7_3(tmp_path / "in.mat", images=("uint8", np.moveaxis(x, 0, -1)), kinds=("cell", kinds))
    result = packed(tmp_path / "in.mat", tmp_path / "out.h5", targets="kinds", channels="last")
    np.testing.assert_array_equal(content(tmp_path / "out.h5")["train/inputs"], np.moveaxis(x, -1, 1))
    assert result["class_names"] == ["ab", "c"]
    np.testing.assert_array_equal(content(tmp_path / "out.h5")["train/targets"], [kind == "c" for kind in kinds])


@pytest.mark.slow
@pytest.mark.parametrize("compressed", [False, True])
def test_matlab_5(compressed: bool, tmp_path: Path) -> None:
    matlab = pytest.importorskip("scipy.io")
    kinds = np.array(["ham", "spam", "egg"] * (NUM // 3), dtype=object)
    values = {"X": features(), "y": labels(NUM)[None] + 1.0, "kinds": kinds, "age": features(1)}
    matlab.savemat(tmp_path / "in.mat", values, do_compression=compressed)
    packed(tmp_path / "in.mat", tmp_path / "out.h5")
    np.testing.assert_array_equal(content(tmp_path / "out.h5")["train/inputs"], features())
    np.testing.assert_array_equal(content(tmp_path / "out.h5")["train/targets"], labels(NUM))
    assert packed(tmp_path / "in.mat", tmp_path / "kinds.h5", targets="kinds")["class_names"] == ["egg", "ham", "spam"]
    packed(tmp_path / "in.mat", tmp_path / "age.h5", targets="age")
    np.testing.assert_array_equal(content(tmp_path / "age.h5")["train/targets"], features(1)[:, 0])


def test_matlab_4_and_damaged_files_are_refused(tmp_path: Path) -> None:
    matlab = pytest.importorskip("scipy.io")
    matlab.savemat(tmp_path / "four.mat", {"X": features()}, format="4")
    with pytest.raises(DataError, match=r"four\.mat: is not a MATLAB file of version 5 to 7\.3\. In MATLAB: `load"):
        packed(tmp_path / "four.mat", tmp_path / "out.h5")
    matlab.savemat(tmp_path / "in.mat", {"y": labels(NUM), "X": features()})
    (tmp_path / "in.mat").write_bytes((tmp_path / "in.mat").read_bytes()[:900])
    with pytest.raises(DataError, match=r"in\.mat: cannot be read as a MATLAB file"):
        packed(tmp_path / "in.mat", tmp_path / "out.h5")


def write_h5ad(path: Path, values: np.ndarray, encoding: str) -> None:
    """Write what anndata 0.10 writes, for cells in three categories."""
    with h5py.File(path, "w") as file:
        file.attrs["encoding-type"] = "anndata"
        if encoding == "dense":
            file["X"] = values
        else:
            by_rows = values if encoding == "csr_matrix" else values.T
            group = file.create_group("X")
            group.attrs.update({"encoding-type": encoding, "shape": np.array(values.shape)})
            rows, columns = np.nonzero(by_rows)
            group["data"], group["indices"] = by_rows[rows, columns], columns.astype("i4")
            group["indptr"] = np.searchsorted(rows, np.arange(len(by_rows) + 1)).astype("i4")
        obs = file.create_group("obs")
        obs.attrs["_index"] = "_index"
        obs["_index"] = [f"cell{number}" for number in range(len(values))]
        obs["age"] = np.arange(len(values), dtype="f4")
        kinds = obs.create_group("cell_type")
        kinds.attrs["encoding-type"] = "categorical"
        kinds["codes"], kinds["categories"] = labels(len(values)).astype("i1"), ["B", "NK", "T"]
        donors = obs.create_group("donor")
        donors["codes"], donors["categories"] = (np.arange(len(values)) // 10).astype("i1"), list("abcdef")
        var = file.create_group("var")
        var.attrs["_index"] = "gene"
        var["gene"] = [f"g{number}" for number in range(values.shape[1])]


@pytest.mark.parametrize("encoding", ["dense", "csr_matrix", "csc_matrix"])
def test_h5ad(encoding: str, tmp_path: Path) -> None:
    values = np.random.default_rng(0).poisson(0.3, (NUM, 11)).astype(np.float32)
    write_h5ad(tmp_path / "in.h5ad", values, encoding)
    result = packed(tmp_path / "in.h5ad", tmp_path / "out.h5")
    np.testing.assert_array_equal(content(tmp_path / "out.h5")["train/inputs"], values)
    np.testing.assert_array_equal(content(tmp_path / "out.h5")["train/targets"], labels(NUM))
    assert result["class_names"] == ["B", "NK", "T"]
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["train/inputs"].attrs["columns"].tolist() == [f"g{number}" for number in range(11)]
    packed(tmp_path / "in.h5ad", tmp_path / "age.h5", targets="age", group="donor", splits="train=.5,test=.5")
    ages = content(tmp_path / "age.h5")["train/targets"]
    assert len(ages) == 30 and len({int(age) // 10 for age in ages}) == 3


def test_h5ad_with_missing_labels_is_refused(tmp_path: Path) -> None:
    write_h5ad(tmp_path / "in.h5ad", np.eye(NUM, 5), "csr_matrix")
    with h5py.File(tmp_path / "in.h5ad", "r+") as file:
        file["obs/cell_type/codes"][3:5] = -1
    with pytest.raises(DataError, match=r"/obs/cell_type: has no value for 2 cells\. Leave them out: `adata\["):
        packed(tmp_path / "in.h5ad", tmp_path / "out.h5")
    with h5py.File(tmp_path / "in.h5ad", "r+") as file:
        file["X"].attrs["shape"] = np.array([NUM, 1 << 50])
    with pytest.raises(DataError, match=r"/X: has rows that exceed the memory"):
        packed(tmp_path / "in.h5ad", tmp_path / "out.h5", targets="age")


def write_nwb(path: Path, stops: np.ndarray, timestamps: bool) -> np.ndarray:
    series = np.random.default_rng(0).normal(size=(1000, 4)).astype(np.float32)
    with h5py.File(path, "w") as file:
        file["acquisition/ephys/data"] = series
        file["acquisition/ephys/data"].attrs.update({"unit": "volts", "conversion": 1e-6})
        if timestamps:
            file["acquisition/ephys/timestamps"] = 2 + np.arange(1000) / 100
        else:
            file["acquisition/ephys/starting_time"] = 2.0
            file["acquisition/ephys/starting_time"].attrs["rate"] = 100.0
        trials = file.create_group("intervals/trials")
        trials["id"] = np.arange(len(stops))
        trials["start_time"], trials["stop_time"] = 2 + np.arange(len(stops)) * 0.3, stops
        trials["label"] = ["left", "right"] * (len(stops) // 2)
        file["units/spike_times"] = np.array([2.05, 2.31, 2.32, 2.34, 2.02])
        file["units/spike_times_index"] = np.array([4, 5])
    return series


@pytest.mark.parametrize("timestamps", [True, False])
def test_nwb_trials(timestamps: bool, tmp_path: Path) -> None:
    stops = 2 + np.arange(20) * 0.3 + 0.25
    series = write_nwb(tmp_path / "in.nwb", stops, timestamps)
    result = packed(tmp_path / "in.nwb", tmp_path / "out.h5", inputs="ephys")
    inputs = content(tmp_path / "out.h5")["train/inputs"]
    np.testing.assert_array_equal(inputs, [series[30 * trial : 30 * trial + 25].T for trial in range(20)])
    assert (result["class_names"], result["input_shape"]) == (["left", "right"], [4, 25])
    packed(tmp_path / "in.nwb", tmp_path / "units.h5", inputs="units", rate=20)
    counts = content(tmp_path / "units.h5")["train/inputs"]
    assert counts.shape == (20, 2, 5) and counts.sum() == 5
    assert counts[0, 0].tolist() == [0, 1, 0, 0, 0] and counts[1, 0].tolist() == [3, 0, 0, 0, 0]


def test_nwb_trials_of_different_lengths(tmp_path: Path) -> None:
    stops = 2 + np.arange(20) * 0.3 + np.resize([0.2, 0.25], 20)
    series = write_nwb(tmp_path / "in.nwb", stops, True)
    with pytest.raises(DataError, match=r"several time series \(allowed: units, acquisition/ephys\)"):
        packed(tmp_path / "in.nwb", tmp_path / "out.h5")
    with pytest.raises(DataError, match=r"different lengths.*20: 10x, 25: 10x.*`--length STEPS`"):
        packed(tmp_path / "in.nwb", tmp_path / "out.h5", inputs="ephys")
    packed(tmp_path / "in.nwb", tmp_path / "out.h5", inputs="ephys", length=22)
    inputs = content(tmp_path / "out.h5")["train/inputs"]
    np.testing.assert_array_equal(inputs[1], series[30:52].T)
    np.testing.assert_array_equal(inputs[0], np.pad(series[:20].T, ((0, 0), (0, 2))))


@pytest.mark.parametrize("where", ["", "data/", "train/"])
@pytest.mark.parametrize("as_attribute", [True, False])
def test_one_group_per_sample(where: str, as_attribute: bool, tmp_path: Path) -> None:
    x = features(12).reshape(NUM, 3, 4)
    with h5py.File(tmp_path / "in.h5", "w") as file:
        for row in range(NUM):
            group = file.create_group(f"{where}s{row:03d}")
            group["image"] = x[row]
            if as_attribute:
                group.attrs["label"] = ["ham", "egg"][row % 2]
            else:
                group["label"] = ["ham", "egg"][row % 2]
            group.attrs["subject"] = row // 10
    result = packed(tmp_path / "in.h5", tmp_path / "out.h5")
    np.testing.assert_array_equal(content(tmp_path / "out.h5")["train/inputs"][:, 0], x)
    np.testing.assert_array_equal(content(tmp_path / "out.h5")["train/targets"], 1 - labels(NUM, 2))
    assert result["class_names"] == ["egg", "ham"]
    if where == "":
        sizes = packed(tmp_path / "in.h5", tmp_path / "two.h5", group="subject", splits="train=.5,test=.5")["sizes"]
        assert sizes == {"train": 30, "test": 30}


def test_groups_of_different_lengths(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "in.h5", "w") as file:
        for row in range(10):
            file[f"s{row}/x"], file[f"s{row}/y"] = np.full((2, 5 + row % 2), row, float), row / 4
    with pytest.raises(DataError, match=r"different lengths.*5: 5x, 6: 5x"):
        packed(tmp_path / "in.h5", tmp_path / "out.h5")
    result = packed(tmp_path / "in.h5", tmp_path / "out.h5", length=6, channels="first")
    inputs = content(tmp_path / "out.h5")["train/inputs"]
    assert inputs.shape == (10, 2, 6) and inputs[2, 0].tolist() == [2] * 5 + [0] and result["task"] == "regression"
    np.testing.assert_array_equal(content(tmp_path / "out.h5")["train/targets"], np.arange(10) / 4)


def test_arrays_named_by_split(tmp_path: Path) -> None:
    x, kinds = features(), np.array(["T", "B", "NK"] * (NUM // 3), dtype=object)
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file["X_train"], file["X_test"] = x[:40], x[40:]
        file.create_dataset("y_train", data=kinds[:40], dtype=h5py.string_dtype())
        file.create_dataset("y_test", data=kinds[40:], dtype=h5py.string_dtype())
    result = packed(tmp_path / "in.h5", tmp_path / "out.h5")
    arrays = content(tmp_path / "out.h5")
    np.testing.assert_array_equal(arrays["test/inputs"], x[40:])
    assert [["B", "NK", "T"][number] for number in arrays["test/targets"]] == kinds[40:].tolist()
    assert result["sizes"] == {"train": 40, "test": 20}


@pytest.mark.parametrize(
    ("stored", "names"),
    [
        (np.resize([1, 5, 9], NUM), ["1", "5", "9"]),
        (np.resize([-1, 1], NUM), ["-1", "1"]),
        (np.resize([0.0, 2.0], NUM), ["0", "2"]),
        (np.eye(3)[np.resize([0, 2, 1], NUM)], ["0", "1", "2"]),
        (np.resize([[True], [False]], (NUM, 1)), ["0", "1"]),
    ],
)
def test_labels_are_numbered_on_request(stored: np.ndarray, names: list[str], tmp_path: Path) -> None:
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file["x"], file["y"] = features(), stored
    result = packed(tmp_path / "in.h5", tmp_path / "out.h5", classes="remap", splits="train=.5,test=.5")
    assert (result["task"], result["class_names"]) == ("classification", names)
    targets = content(tmp_path / "out.h5")["train/targets"]
    assert sorted(set(targets.tolist())) == list(range(len(names))) and targets.shape == (30,)


def test_labels_that_do_not_occur_are_reported(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file["x"], file["y"] = features(), np.resize([1, 3], NUM)
    notes = packed(tmp_path / "in.h5", tmp_path / "out.h5")["notes"]
    assert any("no sample has the labels 0, 2, but they count as classes; `--classes remap`" in note for note in notes)
