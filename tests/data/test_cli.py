"""``hpc-dl data``: make, list, inspect, verify, pack and bench."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from hpc_dl.cli.data import app
from hpc_dl.data.read_speed.diagnosis import StoredDataset, repack_advice
from hpc_dl.errors import DataError
from tests.conftest import PROJECT

from .conftest import MakeFile, samples


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_make_and_list_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPC_DL_DATA", str(tmp_path))
    assert json.loads(run("make", "digits", "--json")) == {
        "source": "digits",
        "file": str(tmp_path / "digits.h5"),
        "made": True,
    }
    assert "already exists" in run("make", "digits")
    before = (tmp_path / "digits.h5").stat().st_ino
    assert json.loads(run("make", "digits", "--force", "--json"))["made"]
    assert (tmp_path / "digits.h5").stat().st_ino != before
    listed = {row["name"]: row for row in json.loads(run("list", "--json"))}
    assert listed["digits"]["file"] == str(tmp_path / "digits.h5")
    assert listed["fashion_mnist"]["file"] is None
    assert "digits" in run("list", "--data", tmp_path / "other")


def test_inspect_file_of_hpc_dl(own_file: Path) -> None:
    report = json.loads(run("inspect", own_file, "--json"))
    assert (report["format"], report["spec"]["sizes"], report["faults"]) == (
        "hpc_dl 2",
        {"train": 50, "val": 11, "test": 12},
        [],
    )
    inputs = next(dataset for dataset in report["datasets"] if dataset["path"] == "/train/inputs")
    assert (inputs["shape"], inputs["dtype"], inputs["layout"]) == ([50, 1, 4, 4], "uint8", "contiguous, mapped")
    text = run("inspect", own_file)
    assert "3 classes: a, b, c" in text and "/train/inputs" in text


def test_inspect_foreign_file(foreign_file: MakeFile) -> None:
    path = foreign_file(names=["a", "[b]"], x=np.zeros((9, 3)), nothing=h5py.Empty("f4"), number=3)
    with h5py.File(path, "r+") as file:
        file.create_dataset("packed", data=np.zeros((9, 3)), compression="gzip", fletcher32=True, chunks=(3, 3))
        file.attrs["note"] = b"bytes"
        file.attrs["link"] = file["x"].ref
    report = json.loads(run("inspect", path, "--json"))
    assert report["format"] is None and report["spec"] is None
    assert report["attributes"]["note"] == "bytes"
    layouts = {dataset["path"]: dataset["layout"] for dataset in report["datasets"]}
    assert layouts["/packed"] == "chunks (3, 3) deflate fletcher32"
    assert layouts["/nothing"] == "empty"
    assert "does not exist, but should contain the train split" in run("inspect", path)


def test_verify(own_file: Path, foreign_file: MakeFile) -> None:
    assert json.loads(run("verify", own_file, "--json"))["checksum"].startswith("sha256:")
    assert "content matches" in run("verify", own_file)
    foreign = foreign_file(x=np.array([1, np.nan]), names=["a"], nothing=h5py.Empty("f4"))
    assert json.loads(run("verify", foreign, "--json"))["nan"] == {"/x": 1}
    assert "/x: 1 missing values (NaN), which `data.imputation` can fill in" in run("verify", foreign)


def test_verify_finds_a_flipped_byte(own_file: Path) -> None:
    with h5py.File(own_file) as file:
        offset = file["val/inputs"].id.get_offset()
    content = bytearray(own_file.read_bytes())
    content[offset + 20] ^= 1
    own_file.write_bytes(content)
    with pytest.raises(DataError, match=r"does not match the stored checksum.*got 'sha256:.*make SOURCE --force"):
        run("verify", own_file)


def test_verify_finds_a_flipped_byte_in_a_compressed_foreign_file(foreign_file: MakeFile) -> None:
    path = foreign_file()
    with h5py.File(path, "r+") as file:
        file.create_dataset("x", data=samples(50).inputs, chunks=True, fletcher32=True)
        offset = file["x"].id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[offset + 20] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r":/x: cannot be read.*Copy the file again, or create it again"):
        run("verify", path)


def test_verify_finds_infinite_inputs(tmp_path: Path) -> None:
    from hpc_dl.data.files.format import Samples, write

    inputs = np.zeros((9, 3))
    inputs[4, 1] = np.inf
    write(
        tmp_path / "x.h5",
        {"train": Samples(inputs, np.zeros(9))},
        source="x",
        task="regression",
        license="MIT",
    )
    with pytest.raises(DataError, match=r"x.h5:/train/inputs: contains 1 infinite values"):
        run("verify", tmp_path / "x.h5")


def test_help_lists_the_commands() -> None:
    assert "verify" in run("--help")


def test_pack_reports_size_and_speed(foreign_file: MakeFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpc_dl.data.packing.pack.SPEED_SECONDS", 0.01)
    monkeypatch.setattr("hpc_dl.cli.data_pack._MEASURABLE_BYTES", 0)
    source = foreign_file(images=samples(60).inputs, labels=samples(60).targets)
    out = tmp_path / "out.h5"
    text = run(
        "pack", source, out, "--splits", "train=.5,val=.25,test=.25", "--class-names", "a, b,c", "--verify",
        "--license", "CC0-1.0",
    )  # fmt: skip
    assert "out.h5: classification, inputs (1, 4, 4) uint8; train 30, val 15, test 15" in text
    assert "verified against the source" in text
    assert re.search(r"^size: 0\.0 MB -> 0\.0 MB$", text, re.MULTILINE)
    assert re.search(
        r"^speed: [\d,]+ samples/s \(shuffled\) -> [\d,]+ samples/s \(shuffled\): [\d.,]+ times$", text, re.M
    )
    spec = json.loads(run("inspect", out, "--json"))["spec"]
    assert (spec["class_names"], spec["sizes"]) == (["a", "b", "c"], {"train": 30, "val": 15, "test": 15})
    report = json.loads(run("pack", out, tmp_path / "small.h5", "--codec", "gzip", "--json"))
    assert (report["layout"], report["codec"], report["verified"]) == ("chunked", "gzip", False)
    assert report["checksum"] == json.loads(run("verify", tmp_path / "small.h5", "--json"))["checksum"]
    with h5py.File(tmp_path / "small.h5") as file:
        assert file.attrs["license"] == "CC0-1.0"


def test_pack_reports_progress(foreign_file: MakeFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpc_dl.data.packing.pack.SPEED_SECONDS", 0.01)
    source = foreign_file(x=samples(60).inputs, y=samples(60).targets)
    result = CliRunner().invoke(app, ["pack", str(source), str(tmp_path / "out.h5")], catch_exceptions=False)
    assert "packing: 60 of 60 samples (100%)" in result.stderr
    note = "note: all samples are in the training split; to create others, use `--splits train=.8,val=.1,test=.1`"
    assert note in result.stdout


def test_pack_refuses_an_invalid_size(tmp_path: Path) -> None:
    message = r"--size: is not a height and width \(got '224'; allowed: for example 224x224\)"
    with pytest.raises(DataError, match=message):
        run("pack", tmp_path, tmp_path / "out.h5", "--size", "224")


LAYOUTS = {
    "mapped": ({}, "mapped", r"memory|the overhead per batch|the disk"),
    "packed": ({"chunks": (8, 1, 4, 4), "compression": "gzip"}, "chunks, gzip", r"decompression \(deflate\)"),
    "cut": ({"chunks": (50, 1, 2, 2), "compression": "lzf"}, "chunks, lzf", r"each sample is divided into 4 chunks"),
    "foreign filter": ({"chunks": (8, 1, 4, 4), "scaleoffset": 0}, "by h5py", r"h5py: one thread, one lock"),
}


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_bench_names_the_limit(layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpc_dl.data.read_speed.benchmark._SECONDS", 0.01)
    options, reading, limit = LAYOUTS[layout]
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for split, num in (("train", 5000), ("test", 3)):
            file.create_dataset(f"{split}/inputs", data=samples(num).inputs.astype(np.int32), **_fitting(options, num))
            file[f"{split}/targets"] = np.zeros(num, np.int64)
    report = json.loads(run("bench", tmp_path / "x.h5", "--json", "--batch-size", "16"))
    assert [dataset["dataset"] for dataset in report["datasets"]] == ["/train/inputs", "/test/inputs"]
    train = report["datasets"][0]
    assert train["reading"].startswith(reading) and re.search(limit, train["limit"])
    assert train["warm"]["samples_per_s"] > 0 and report["memory_bytes_per_s"] > 0
    assert (report["disk_bytes_per_s"] is None) == (train["cold"] is None)
    text = run("bench", tmp_path / "x.h5")
    assert "limits of this machine: a copy in memory" in text and "limited by" in text


@pytest.mark.parametrize(
    ("gain", "phrase"),
    [
        (1.1, ""),
        (1.6, "about 1.6 times as fast"),
        (6.4, "about 6 times as fast"),
        (47, "about 50 times as fast"),
        (340, "about 300 times as fast"),
    ],
)
def test_gain_is_rounded_to_the_measured_precision(gain: float, phrase: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        stored = StoredDataset.of(file.create_dataset("x", data=np.zeros((1000, 1000)), compression="gzip"))
    advice = repack_advice(tmp_path / "x.h5", stored, gain)
    assert phrase in advice and bool(advice) == bool(phrase)
    assert not advice or "needs 8.0 MB instead of 0.0 MB" in advice


def _fitting(options: dict[str, Any], num_samples: int) -> dict[str, Any]:
    """Return the options with chunks that are not larger than the dataset."""
    chunks = options.get("chunks")
    return options | ({"chunks": (min(num_samples, chunks[0]), *chunks[1:])} if chunks else {})


def test_bench_explains_a_missing_disk_speed(own_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpc_dl.data.read_speed.benchmark._SECONDS", 0.01)
    if not Path("/dev/shm").is_dir():
        pytest.skip("no file system in memory")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        copy = Path(shutil.copy(own_file, folder))
        assert "cannot be evicted from memory" in run("bench", copy)


def test_bench_of_a_file_without_numbers(foreign_file: MakeFile) -> None:
    with pytest.raises(DataError, match=r"has no array with a usual name for inputs"):
        run("bench", foreign_file(names=["a", "b"]))
    with pytest.raises(DataError, match=r":/names: contains no numbers to read"):
        run("bench", foreign_file(names=["a", "b"]), "--inputs", "names")


@pytest.mark.slow
def test_pack_and_bench_do_not_import_torch(own_file: Path, tmp_path: Path) -> None:
    script = Path(__file__).with_name("pack_and_bench.py")
    command = [sys.executable, str(script), str(own_file), str(tmp_path / "out.h5")]
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    subprocess.run(command, check=True, capture_output=True, timeout=60, env=environment)


def test_made_source_is_found_by_name(tmp_path: Path) -> None:
    from hpc_dl.data import sources

    path = sources.ensure("xor", tmp_path)
    assert json.loads(run("inspect", "xor", "--data", tmp_path, "--json"))["file"] == str(path)
    assert "content matches" in run("verify", "xor", "--data", tmp_path)
    with pytest.raises(DataError, match=r"digits: does not exist"):
        run("inspect", "digits", "--data", tmp_path)


@pytest.mark.parametrize("command", ["inspect", "verify", "bench"])
def test_missing_file_is_reported_without_a_configuration_key(tmp_path: Path, command: str) -> None:
    with pytest.raises(DataError) as caught:
        run(command, tmp_path / "nothing.h5")
    assert str(caught.value) == f"{tmp_path / 'nothing.h5'}: does not exist. Check the path"


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("digits", "digits: does not exist yet in FOLDER. Make it with `hpc-dl data make digits`"),
        ("digit", "digit: does not exist. Did you mean 'digits'?"),
    ],
)
def test_source_that_was_not_made(tmp_path: Path, name: str, error: str) -> None:
    with pytest.raises(DataError) as caught:
        run("inspect", name, "--data", tmp_path)
    assert str(caught.value) == error.replace("FOLDER", str(tmp_path))


def test_unknown_source_names_the_argument(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^SOURCE: is not known .*Did you mean 'digits'\?$"):
        run("make", "digit", "--data", tmp_path)


def test_pack_suggests_names_that_fit_the_option(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", scans=np.zeros((9, 3)), labels=np.zeros(9, int))
    (tmp_path / "x.csv").write_text("age,label\n1,0\n2,1\n")
    for name, targets in (("x.npz", "labels"), ("x.csv", "label")):
        with pytest.raises(DataError) as caught:
            run(
                "pack",
                tmp_path / name,
                tmp_path / "x.h5",
                "--inputs",
                "labell",
                "--targets",
                targets,
                "--license",
                "MIT",
            )
        assert "did you mean" not in str(caught.value).lower()
