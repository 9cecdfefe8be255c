"""The available memory, and reading files that do not fit in it."""

from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from hpc_dl.data.batches import loader
from hpc_dl.data.datamodule import HDF5DataModule
from hpc_dl.data.storage import available_memory, rawfile
from tests.data.storage.conftest import FILTERS


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that replaces the system's own files; the machine has 8 GB available."""
    monkeypatch.setattr(available_memory.psutil, "virtual_memory", lambda: SimpleNamespace(available=8_000_000_000))
    monkeypatch.setattr(available_memory, "_PROCESS", tmp_path / "cgroup")
    monkeypatch.setattr(available_memory, "_CGROUPS", tmp_path / "groups")
    return tmp_path


def group(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("_", ".", 1)).write_text(content)


def test_available_bytes_on_this_machine() -> None:
    assert 1e6 < available_memory.available_bytes() < 1e15


def test_machine_memory_without_control_groups(system: Path) -> None:
    assert available_memory.available_bytes() == 8e9
    assert available_memory.stays_in_memory(4_000_000_000) and not available_memory.stays_in_memory(5_000_000_000)


def test_cgroup_v2_limits_of_all_parents(system: Path) -> None:
    (system / "cgroup").write_text("0::/slurm/job_7/step_0\n")
    slurm = system / "groups" / "slurm"
    group(slurm / "job_7" / "step_0", memory_max="max\n", memory_stat="anon 5000\nfile 77\n")
    group(slurm / "job_7", memory_max="2000000000\n", memory_stat="anon 500000000\nfile 77\n")
    group(slurm, memory_max="max\n", memory_stat="anon 900000000\n")
    assert available_memory.available_bytes() == 1.5e9


def test_cgroup_v1_limits(system: Path) -> None:
    (system / "cgroup").write_text("5:cpu,cpuacct:/\n4:memory:/slurm/job_7\n1:name=systemd:/\n0::/\n")
    stat = "cache 9\ntotal_rss 100000000\nhierarchical_memory_limit 400000000\n"
    group(system / "groups" / "memory" / "slurm" / "job_7", memory_stat=stat)
    assert available_memory.available_bytes() == 3e8


@pytest.mark.parametrize("row", [7, 60_000], ids=["small rows", "large rows"])
@pytest.mark.parametrize(
    "options", [{}, {"chunks": (3,)}, {**FILTERS["zstd"], "chunks": (3,)}], ids=["plain", "chunks", "zstd"]
)
def test_files_larger_than_memory_give_the_same_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict, row: int
) -> None:  # fmt: skip
    values = np.random.default_rng(0).integers(0, 256, (100, row), np.uint8)
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        chunks = {"chunks": (*options["chunks"], row)} if options else {}
        file.create_dataset("train/inputs", data=values, **options | chunks)
        file["train/targets"] = np.arange(100) % 3

    def epoch() -> list[np.ndarray]:
        batches = HDF5DataModule(path, batch_size=8, shuffle="exact").train_dataloader()
        return [x.numpy() for x, _ in batches]

    expected = epoch()
    monkeypatch.setattr(loader, "stays_in_memory", lambda num_bytes: False)
    monkeypatch.setattr(rawfile, "stays_in_memory", lambda num_bytes: False)
    np.testing.assert_array_equal(epoch(), expected)
