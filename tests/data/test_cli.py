"""``hpc-dl data``, as a user types it."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from hpc_dl.cli.data import app
from hpc_dl.errors import DataError

from .conftest import MakeFile, samples


def run(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_make_and_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPC_DL_DATA", str(tmp_path))
    assert json.loads(run("make", "digits", "--json")) == {
        "source": "digits",
        "file": str(tmp_path / "digits.h5"),
        "made": True,
    }
    assert "was there already" in run("make", "digits")
    before = (tmp_path / "digits.h5").stat().st_ino
    assert json.loads(run("make", "digits", "--force", "--json"))["made"]
    assert (tmp_path / "digits.h5").stat().st_ino != before
    listed = {row["name"]: row for row in json.loads(run("list", "--json"))}
    assert listed["digits"]["file"] == str(tmp_path / "digits.h5")
    assert listed["fashion_mnist"]["file"] is None
    assert "digits" in run("list", "--data", tmp_path / "other")


def test_inspect_own_file(own_file: Path) -> None:
    found = json.loads(run("inspect", own_file, "--json"))
    assert (found["format"], found["spec"]["sizes"], found["faults"]) == (
        "hpc_dl 1",
        {"train": 50, "val": 11, "test": 12},
        [],
    )
    inputs = next(dataset for dataset in found["datasets"] if dataset["path"] == "/train/inputs")
    assert (inputs["shape"], inputs["dtype"], inputs["layout"]) == ([50, 1, 4, 4], "uint8", "contiguous, mapped")
    text = run("inspect", own_file)
    assert "3 classes: a, b, c" in text and "/train/inputs" in text


def test_inspect_foreign_file(foreign_file: MakeFile) -> None:
    path = foreign_file(names=["a", "[b]"], x=np.zeros((9, 3)), nothing=h5py.Empty("f4"), number=3)
    with h5py.File(path, "r+") as file:
        file.create_dataset("packed", data=np.zeros((9, 3)), compression="gzip", fletcher32=True, chunks=(3, 3))
        file.attrs["note"] = b"bytes"
        file.attrs["link"] = file["x"].ref
    found = json.loads(run("inspect", path, "--json"))
    assert found["format"] is None and found["spec"] is None
    assert found["attributes"]["note"] == "bytes"
    layouts = {dataset["path"]: dataset["layout"] for dataset in found["datasets"]}
    assert layouts["/packed"] == "chunks (3, 3) deflate fletcher32"
    assert layouts["/nothing"] == "empty"
    assert "there is no such group for the train split" in run("inspect", path)


def test_verify(own_file: Path, foreign_file: MakeFile) -> None:
    assert json.loads(run("verify", own_file, "--json"))["checksum"].startswith("sha256:")
    assert "content matches" in run("verify", own_file)
    foreign = foreign_file(x=np.array([1, np.nan]), names=["a"], nothing=h5py.Empty("f4"))
    assert json.loads(run("verify", foreign, "--json"))["nonfinite"] == {"/x": 1}


def test_one_flipped_byte_is_found(own_file: Path) -> None:
    with h5py.File(own_file) as file:
        offset = file["val/inputs"].id.get_offset()
    content = bytearray(own_file.read_bytes())
    content[offset + 20] ^= 1
    own_file.write_bytes(content)
    with pytest.raises(DataError, match=r"content does not match its checksum.*got 'sha256:.*make SOURCE --force"):
        run("verify", own_file)


def test_flipped_byte_in_a_packed_foreign_file(foreign_file: MakeFile) -> None:
    path = foreign_file()
    with h5py.File(path, "r+") as file:
        file.create_dataset("x", data=samples(50).inputs, chunks=True, fletcher32=True)
        offset = file["x"].id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[offset + 20] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r":/x: cannot be read.*Copy or make the file again"):
        run("verify", path)


def test_nan_inputs_are_found_by_reading_all(tmp_path: Path) -> None:
    from hpc_dl.data.format import Samples, write

    inputs = np.zeros((9, 3))
    inputs[4, 1] = np.inf
    write(
        tmp_path / "x.h5",
        {"train": Samples(inputs, np.zeros(9))},
        source="x",
        task="regression",
        licence="MIT",
    )
    with pytest.raises(DataError, match=r"x.h5:/train/inputs: holds 1 NaN or infinite values"):
        run("verify", tmp_path / "x.h5")


def test_help_knows_all_commands() -> None:
    assert "verify" in run("--help")
