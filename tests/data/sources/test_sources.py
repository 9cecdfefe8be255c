"""The shipped data sets: one contract for all, and each made for real."""

import multiprocessing
import re
import shutil
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpc_dl.data import sources
from hpc_dl.data.config import DataConfig
from hpc_dl.data.files.data_file import open_data
from hpc_dl.data.files.inspection import verify
from hpc_dl.data.open_spec import open_spec
from hpc_dl.data.spec import TASKS
from hpc_dl.errors import DataError


@pytest.mark.parametrize("name", sources.names())
def test_contract(name: str) -> None:
    source = sources.load(name)
    assert source.name == name
    assert source.task in TASKS
    assert source.title and source.size and source.license and source.fetched
    assert source.shared in ("none", "subject", "image", "writer", "atlas", "unknown")
    # SPDX expressions that are AND-ed: what may be shown in a table, and read by a machine.
    assert re.fullmatch(r"[A-Za-z0-9.-]+( AND [A-Za-z0-9.-]+)*", source.license)


def test_digits(tmp_path: Path) -> None:
    spec = open_spec(DataConfig(source="digits"), tmp_path)
    assert (spec.name, spec.input_shape, spec.num_outputs) == ("digits", (1, 8, 8), 10)
    assert spec.sizes == {"train": 1077, "val": 360, "test": 360}
    # Golden: the conversion and the split stay as they are, or published figures lose their
    # meaning.
    assert spec.checksum == "sha256:5d458f6ee5d90fa42ab0df79b43cd984bc798e825fccd7086169f5c461450444"
    verify(spec.file)
    _, labels = open_data(spec.file, DataConfig(file=spec.file)).reader("test").read(np.arange(360))
    assert set(np.bincount(labels)) <= {34, 35, 36, 37, 38}
    with h5py.File(spec.file) as file:
        assert file["train/inputs"][()].max() == 16
    assert [path.name for path in tmp_path.iterdir()] == ["digits.h5"]


def test_two_processes_at_once(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        paths = pool.starmap(sources.ensure, [("digits", tmp_path)] * 2)
    assert set(paths) == {tmp_path / "digits.h5"} == set(tmp_path.iterdir())
    verify(paths[0])


def test_unknown_name() -> None:
    with pytest.raises(DataError, match=r"data.source: is not known .*allowed: .*Did you mean 'digits'"):
        sources.load("digit")


def test_another_file_in_its_place(tmp_path: Path, own_file: Path) -> None:
    shutil.copy(own_file, tmp_path / "digits.h5")
    with pytest.raises(DataError, match=r"is not the digits data set \(got 'own'\).*--force"):
        sources.ensure("digits", tmp_path)


def test_damaged_package_is_refused(tmp_path: Path) -> None:
    given = tmp_path / "digits.csv.gz"
    given.write_bytes(b"\x1f\x8b nonsense")
    with pytest.raises(DataError, match=r"digits.csv.gz: cannot be read.*Fetch it again"):
        sources.load("digits").make(tmp_path / "out" / "digits.h5", given)
    assert not (tmp_path / "out").exists()


def test_no_way_to_fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # no apt-get
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # and nobody there
    with pytest.raises(DataError) as caught:
        sources.ensure("fashion_mnist", tmp_path / "data")
    text = str(caught.value)
    for part in ("fashion_mnist: cannot be fetched", "apt-get: is not on this machine", "https://", "--from PATH"):
        assert part in text
    assert not (tmp_path / "data").exists()


@pytest.mark.slow
def test_fashion_mnist(tmp_path: Path) -> None:
    apt = shutil.which("apt-get")
    if apt is None:
        pytest.skip("there is no apt-get to fetch the Debian package with")
    package = "dataset-fashion-mnist"
    done = subprocess.run([apt, "download", package], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    if done.returncode:
        pytest.skip(f"apt-get download {package}: {done.stderr.strip()}")
    (given,) = tmp_path.glob("*.deb")
    path = tmp_path / "fashion_mnist.h5"
    sources.load("fashion_mnist").make(path, given)
    spec = open_spec(DataConfig(file=str(path)))
    assert (spec.input_shape, spec.sizes) == ((1, 28, 28), {"train": 55_000, "val": 5_000, "test": 10_000})
    assert spec.checksum == "sha256:3600491357934ebcb5d2ee36072de050c1554fbed3ca0c6ae1237fa2ef816c28"
    verify(path)
    _, labels = open_data(path, DataConfig(file=str(path))).reader("val").read(np.arange(5000))
    assert np.bincount(labels).tolist() == [500] * 10
