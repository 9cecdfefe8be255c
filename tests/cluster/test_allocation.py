"""Slurm allocations: they determine the resources, and a requeued job finds its run."""

from pathlib import Path

import pytest

from hpc_dl.atomic_files import write_json
from hpc_dl.cluster.allocation import allocation_overrides, run_before_requeue
from hpc_dl.errors import ClusterError, RunError
from hpc_dl.runs.folder import RunFolder


def test_no_overrides_outside_of_an_allocation() -> None:
    assert allocation_overrides({}) == []


@pytest.mark.parametrize(
    ("environment", "overrides"),
    [
        ({"SLURM_GPUS_ON_NODE": "4", "SLURM_CPUS_ON_NODE": "32"}, ["gpus_per_node=4", "cpus_per_gpu=8"]),
        ({"SLURM_GPUS_PER_NODE": "a100:2", "SLURM_CPUS_ON_NODE": "2"}, ["gpus_per_node=2", "cpus_per_gpu=1"]),
        ({"SLURM_GPUS_PER_NODE": "a100"}, ["gpus_per_node=1"]),
        ({"SLURM_GPUS_PER_NODE": "a100:2,h100:1"}, ["gpus_per_node=3"]),
        ({"SLURM_CPUS_ON_NODE": "6"}, ["gpus_per_node=0", "cpus_per_gpu=6"]),
        ({"SLURM_MEM_PER_NODE": "2048"}, ["gpus_per_node=0", "memory=2048M"]),
    ],
)
def test_allocation_determines_the_resources(
    environment: dict[str, str], overrides: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    job = {"SLURM_JOB_ID": "1", "SLURM_JOB_NUM_NODES": "2"}
    assert allocation_overrides(job | environment) == [f"resources.{o}" for o in ("nodes=2", *overrides)]
    # An interactive step (srun --pty) can use only one node, the shell of salloc all of them.
    assert allocation_overrides(job | environment | {"SLURM_STEP_ID": "0"})[0] == "resources.nodes=1"
    assert allocation_overrides(job | environment | {"SLURM_STEP_ID": str(0xFFFFFFFA)})[0] == "resources.nodes=2"


def test_too_few_cpu_cores_are_reported() -> None:
    with pytest.raises(ClusterError, match="1 CPU cores on this node, fewer than its 2 GPUs"):
        allocation_overrides({"SLURM_JOB_ID": "1", "SLURM_GPUS_ON_NODE": "2", "SLURM_CPUS_ON_NODE": "1"})


@pytest.mark.parametrize("name", ["SLURM_MEM_PER_NODE", "SLURM_CPUS_ON_NODE", "SLURM_MEM_PER_CPU"])
def test_variable_that_slurm_has_not_set(name: str) -> None:
    with pytest.raises(ClusterError, match=rf"^{name}: is not the number .* \(got '4G'\)\. Unset {name}"):
        allocation_overrides({"SLURM_JOB_ID": "1", name: "4G"})


def test_train_inside_srun_is_refused() -> None:
    with pytest.raises(ClusterError, match="Run hpc-dl train without srun"):
        allocation_overrides({"SLURM_JOB_ID": "1", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4"})


def test_requeued_job_finds_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    run, command = RunFolder.create(tmp_path, "x"), ["hpc-dl", "train", "x.yaml"]
    run.config.write_text("name: x\n")
    write_json(run.job, {"launcher": "sbatch", "job_id": "7", "host": "n1"})
    write_json(run.provenance, {"command": command})
    requeued = {"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": "1"}
    assert run_before_requeue(tmp_path, command, requeued) == run
    assert run_before_requeue(tmp_path, ["hpc-dl", "train", "y.yaml"], requeued) is None
    assert run_before_requeue(tmp_path, command, requeued | {"SLURM_JOB_ID": "8"}) is None
    assert run_before_requeue(tmp_path, command, requeued | {"SLURM_RESTART_COUNT": "0"}) is None
    run.layout.write_text("1\n")
    with pytest.raises(RunError, match="was written by another version of hpc_dl"):
        run_before_requeue(tmp_path, command, requeued)
