"""What the checks of ``hpc-dl doctor --job`` measure here, and how they judge measurements."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from hpc_dl.cluster.doctor import job_checks
from hpc_dl.cluster.doctor.job import judged
from hpc_dl.cluster.doctor.job_check import Rank
from hpc_dl.cluster.doctor.job_checks import data_reading, file_locks, matrix_product, network
from hpc_dl.config.experiment import Experiment
from hpc_dl.runs.folder import RunFolder
from tests.conftest import forget_settings

Look = Callable[..., list[str]]
TWO_BY_TWO = {"nodes": 2, "gpus_per_node": 2, "cpus_per_gpu": 2}
NODES = ("n1", "n1", "n2", "n2")
OWN = {"model": {"class": "mine.Net"}, "optimizer": {}}


def experiment(**changes: Any) -> Experiment:
    base = {"name": "x", "data": {"source": "digits"}, "model": {"name": "linear"}, "resources": TWO_BY_TWO}
    return Experiment.from_dict({key: value for key, value in (base | changes).items() if value is not None})


def look(name: str, *values: dict[str, Any], nodes: tuple[str, ...] = NODES, **changes: Any) -> list[str]:
    """Judge what ranks measured; returns the findings."""
    reports = [
        {"rank": rank, "node": node, "measured": {name: {"values": each}}, "done": True}
        for rank, (node, each) in enumerate(zip(nodes, values, strict=False))
    ]
    return [str(finding) for finding in job_checks.judge(name, reports, experiment(**changes))[0]]


@pytest.fixture
def rank(tmp_path: Path) -> Callable[..., Rank]:
    """A rank on this machine."""

    def make(number: int = 0, **changes: Any) -> Rank:
        resources = {"nodes": 1, "gpus_per_node": 0, "cpus_per_gpu": 1}
        run = RunFolder(tmp_path)
        return Rank(run, experiment(**{"resources": resources, **changes}), number, 0, 1, f"n{number}", ("", 0))

    return make


def measure(name: str, rank: Rank) -> dict[str, Any]:
    return job_checks.load(name).measure(rank)


def test_cpu_cores(rank: Callable[..., Rank]) -> None:
    assert measure("cpu_cores", rank())["cores"] == sorted(os.sched_getaffinity(0))
    here = {"in_slurm": True}
    well = [{"cores": [0, 1], **here}, {"cores": [2, 3], **here}] * 2
    assert look("cpu_cores", *well) == []
    pinned = look("cpu_cores", *well[:2], {"cores": [0], **here}, {"cores": [0], **here})
    assert pinned[0].startswith("n2: the 2 ranks may use only core 0; 4 CPU cores were requested. ")
    assert "SLURM_CPU_BIND: none" in pinned[0] and len(pinned) == 1
    (shared,) = look("cpu_cores", *[{"cores": [4, 5], "in_slurm": False}] * 2)
    assert shared.startswith("n1: the 2 ranks may use only cores 4, 5; 4 ") and shared.endswith("cpus_per_gpu=1")


def test_all_reduce(rank: Callable[..., Rank]) -> None:
    assert measure("all_reduce", rank()) == {}
    assert look("all_reduce", {"backend": "gloo", "all": 0.1, "between_nodes": 0.05}) == []
    fast, slow = {"backend": "nccl", "all": 90.0, "between_nodes": 20.0}, {"backend": "nccl", "all": 90.0}
    (line,) = look("all_reduce", fast, slow, {**fast, "between_nodes": 0.4}, slow)
    assert line.startswith("an all-reduce between nodes reaches 0.4 GB/s (nccl), less than 1 GB/s. ")
    assert "NCCL_SOCKET_IFNAME" in line
    assert look("all_reduce", slow, resources={**TWO_BY_TWO, "nodes": 1}) == []


def test_clock_difference() -> None:
    assert look("clock_difference", {"times": [10.0, 20.0]}, {"times": [13.0, 20.1]}) == [], "one busy moment"
    (line,) = look("clock_difference", {"times": [13.0, 20.0]}, {}, {"times": [5.0, 12.5]})
    assert line.startswith("the clock of n1 is 7.5 s ahead of that of n2. ")


def test_data_reading(rank: Callable[..., Rank], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_reading, "_LEAST_BYTES", 0)
    path = tmp_path / "own.h5"
    data = {"file": str(path), "inputs": "x", "targets": "y"}
    with pytest.raises(FileNotFoundError):
        measure("data_reading", rank(data=data))
    path.write_bytes(b"no HDF5")
    with pytest.raises(OSError, match=r"own\.h5"):
        measure("data_reading", rank(data=data))
    with h5py.File(path, "w") as file:
        for split in ("train", "val", "test"):
            file[f"{split}/x"], file[f"{split}/y"] = np.ones((8, 3), np.float32), np.arange(8) % 2
    assert measure("data_reading", rank(data=data))["bytes_per_s"] > 0
    fast, slow = {"bytes_per_s": 2e9, "from_disk": True}, {"bytes_per_s": 9e7, "from_disk": True}
    assert look("data_reading", fast, {}, fast) == []
    (line,) = look("data_reading", fast, {}, slow)
    assert line.startswith("n2 reads the data with 90.0 MB/s, n1 with 2.00 GB/s. ")


def test_file_locks(rank: Callable[..., Rank], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_locks, "_WAIT_S", 30.0)
    assert measure("file_locks", rank()) == {}
    with ThreadPoolExecutor(2) as pool:
        ranks = [rank(number, resources={**TWO_BY_TWO, "gpus_per_node": 0}) for number in (0, 1)]
        first, second = pool.map(lambda each: measure("file_locks", each), ranks)
    assert first == {"first": True, "tried": True} and second["seen"] and second["locked_out"]
    assert look("file_locks", first, {}, second) == []
    (line,) = look("file_locks", first, {}, {**second, "locked_out": False})
    assert line.startswith("n2: got a lock in the folder of runs that the first node holds. ")
    (line,) = look("file_locks", first, {}, {"seen": False})
    assert line.startswith("n2: a file that the first node wrote was not seen within ") and "`runs_dir`" in line


def test_gpu_health(rank: Callable[..., Rank]) -> None:
    assert measure("gpu_health", rank()) == {}
    well = {"others_gib": 0.6, "uncorrected_errors": 0, "throttled": 0x4}
    assert look("gpu_health", well) == []
    ill = look("gpu_health", well, {"others_gib": 30.0, "uncorrected_errors": 2, "throttled": 0x60})
    assert [line.partition(". ")[0] for line in ill] == [
        "rank 1 on n1: the GPU counts 2 uncorrected memory errors",
        "rank 1 on n1: the GPU lowers its clocks (temperature)",
        "rank 1 on n1: 30.0 GiB of the GPU's memory are used by others",
    ]


def test_gpus(rank: Callable[..., Rank]) -> None:
    assert measure("gpus", rank()) == {}
    measured = measure("gpus", rank(resources={"gpus_per_node": 1}))
    assert measured.keys() == {"models", "torch", "torch_cuda", "driver_cuda"}
    well = {"models": ["H200", "H200"], "torch": "2.9", "torch_cuda": "12.8", "driver_cuda": "12.2"}
    assert look("gpus", well, well) == []
    one, none = {**well, "models": ["H200"]}, {**well, "models": []}
    (line,) = look("gpus", one, one, well)
    assert line.startswith("ranks 0, 1 on n1: torch sees 1 of 2 GPUs. ") and "`gpus-per-task`" in line
    (line,) = look("gpus", {**none, "driver_cuda": "11.4"})
    assert "the driver supports CUDA up to 11.4, torch 2.9 needs 12.8" in line
    (line,) = look("gpus", {**none, "driver_cuda": None})
    assert "libcuda.so.1" in line
    (line,) = look("gpus", {**none, "torch_cuda": None})
    assert "torch 2.9 is built without CUDA" in line
    (line,) = look("gpus", well, {**well, "models": ["A100", "A100"]})
    assert line.startswith("GPUs of different models: A100, H200. ") and "`gpu_type`" in line


def test_matrix_product(rank: Callable[..., Rank], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix_product, "_SECONDS", 0.05)
    assert measure("matrix_product", rank())["tflops"] > 0
    speeds = [{"device": "cuda", "tflops": value} for value in (50.0, 48.0, 51.0, 30.0)]
    (line,) = look("matrix_product", *speeds)
    assert line.startswith("rank 3 on n2: a matrix product reaches 30 TFLOP/s, the median is 50. ")
    assert look("matrix_product", *[{**each, "device": "cpu"} for each in speeds]) == []


def test_network(rank: Callable[..., Rank], monkeypatch: pytest.MonkeyPatch) -> None:
    assert measure("network", rank(wandb={"mode": "disabled"})) == {}
    monkeypatch.setattr(network, "_TIMEOUT_S", 0.5)
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    forget_settings()
    measured = measure("network", rank(wandb={"mode": "online"}))
    forget_settings()
    assert measured == {"url": "http://127.0.0.1:9", "problem": "ConnectionError"}
    (line,) = look("network", measured)
    assert line.startswith("rank 0 on n1: http://127.0.0.1:9 cannot be reached (ConnectionError). ")
    assert look("network", {**measured, "problem": ""}) == []


def test_shared_memory(rank: Callable[..., Rank]) -> None:
    assert 0 <= measure("shared_memory", rank())["free"] <= measure("shared_memory", rank())["bytes"]
    small = {"bytes": 64 << 20, "free": 64 << 20}
    assert look("shared_memory", small, resources={**TWO_BY_TWO, "gpus_per_node": 1}) == [], "no workers, no NCCL"
    (line,) = look("shared_memory", small)
    assert line.startswith("n1: 64 of 64 MiB of /dev/shm are free, 128 MiB may be needed. ")
    (line,) = look("shared_memory", small, data=None, resources={"gpus_per_node": 0, "cpus_per_gpu": 4}, **OWN)
    assert "256 MiB may be needed" in line
    assert look("shared_memory", {"bytes": 2**34, "free": 2**34}) == []


def test_software(rank: Callable[..., Rank]) -> None:
    values = measure("software", rank())
    assert look("software", values, {}, values) == []
    older, other = look("software", values, {}, {**values, "Python": "3.9.1", "modules": "gcc/12"})
    assert older.startswith("Python differs: 3.") and "; 3.9.1 on n2. " in older
    assert "modules differs: none on n1; gcc/12 on n2. " in other


def test_every_check_has_a_test() -> None:
    assert {name for name in job_checks.names() if f"test_{name}" not in globals()} == set()


def test_failed_measurements_name_their_ranks(rank: Callable[..., Rank], monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[set[str]] = []
    monkeypatch.setattr(job_checks, "names", lambda: ["cpu_cores", "data_reading", "software"])
    missing = rank(data={"file": "/no.h5", "inputs": "x", "targets": "y"})
    measured = job_checks.measure(missing, lambda so_far: written.append({*so_far}))
    assert [len(names) for names in written] == [1, 2, 3], "each one is on the disk before the next"
    report = {"rank": 0, "node": "n1", "measured": measured, "done": True}
    found = judged([report, {**report, "rank": 1}], experiment(resources={"gpus_per_node": 2, "cpus_per_gpu": 1}))
    (finding,) = found.found["data_reading"]
    assert finding.fatal and str(finding).startswith("ranks 0, 1 on n1: [Errno 2] No such file or directory: '/no.h5'")


def test_silent_ranks_are_found() -> None:
    report = {"rank": 2, "node": "n2", "measured": {"all_reduce": {"values": {}}}, "done": False}
    lines = [str(finding) for finding in judged([report], experiment(), "the job was killed").found["ranks"]]
    assert lines[0].startswith("ranks 0, 1, 3 measured nothing: the job was killed. ")
    assert lines[1].startswith("rank 2 on n2 ended during the check after all_reduce: the job was killed. ")
    assert judged([], experiment()).found.keys() == {"ranks"}
