"""How much memory there is, and reading files that do not stay in it."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from hpc_dl.data.batches import loader
from hpc_dl.data.datamodule import HDF5DataModule
from hpc_dl.data.storage import available_memory, rawfile

from .storage.conftest import FILTERS


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in the place of the system's own files: 8 GB are available."""
    monkeypatch.setattr(available_memory.psutil, "virtual_memory", lambda: SimpleNamespace(available=8_000_000_000))
    monkeypatch.setattr(available_memory, "_PROCESS", tmp_path / "cgroup")
    monkeypatch.setattr(available_memory, "_CGROUPS", tmp_path / "groups")
    return tmp_path


def group(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("_", ".", 1)).write_text(content)


def test_here() -> None:
    assert 1e6 < available_memory.memory_at_hand() < 1e15


def test_what_the_machine_has_where_there_are_no_groups(system: Path) -> None:
    assert available_memory.memory_at_hand() == 8e9
    assert available_memory.stays_in_memory(4_000_000_000) and not available_memory.stays_in_memory(5_000_000_000)


def test_limits_of_version_2_of_this_group_and_those_above(system: Path) -> None:
    (system / "cgroup").write_text("0::/slurm/job_7/step_0\n")
    slurm = system / "groups" / "slurm"
    group(slurm / "job_7" / "step_0", memory_max="max\n", memory_stat="anon 5000\nfile 77\n")
    group(slurm / "job_7", memory_max="2000000000\n", memory_stat="anon 500000000\nfile 77\n")
    group(slurm, memory_max="max\n", memory_stat="anon 900000000\n")
    assert available_memory.memory_at_hand() == 1.5e9


def test_limits_of_version_1(system: Path) -> None:
    (system / "cgroup").write_text("5:cpu,cpuacct:/\n4:memory:/slurm/job_7\n1:name=systemd:/\n0::/\n")
    told = "cache 9\ntotal_rss 100000000\nhierarchical_memory_limit 400000000\n"
    group(system / "groups" / "memory" / "slurm" / "job_7", memory_stat=told)
    assert available_memory.memory_at_hand() == 3e8


@pytest.mark.parametrize("row", [7, 60_000], ids=["small rows", "large rows"])
@pytest.mark.parametrize(
    "how", [{}, {"chunks": (3,)}, {**FILTERS["zstd"], "chunks": (3,)}], ids=["plain", "chunks", "zstd"]
)
def test_files_that_do_not_stay_in_memory_give_the_same_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: dict, row: int
) -> None:  # fmt: skip
    import h5py

    values = np.random.default_rng(0).integers(0, 256, (100, row), np.uint8)
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        options = how | ({"chunks": (*how["chunks"], row)} if how else {})
        file.create_dataset("train/inputs", data=values, **options)
        file["train/targets"] = np.arange(100) % 3

    def epoch() -> list[np.ndarray]:
        batches = HDF5DataModule(path, batch_size=8, shuffle="exact").train_dataloader()
        return [x.numpy() for x, _ in batches]

    expected = epoch()
    monkeypatch.setattr(loader, "stays_in_memory", lambda num_bytes: False)
    monkeypatch.setattr(rawfile, "stays_in_memory", lambda num_bytes: False)
    np.testing.assert_array_equal(epoch(), expected)
