"""``hpc-dl doctor --job``: its batch script, and jobs on this machine and on a real Slurm."""

import json
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hpc_dl.cluster.doctor import job_checks
from hpc_dl.cluster.doctor.check import Situation
from hpc_dl.cluster.doctor.job import doctor_executor
from hpc_dl.cluster.notify_config import Notify
from hpc_dl.config.experiment import Experiment
from hpc_dl.runs.folder import RunFolder
from tests.cluster.conftest import Desk, command, desk, digits_folder, slurm_desk, wait_until
from tests.cluster.test_batch_script import CONTAINER, EXPERIMENT

__all__ = ["command", "desk", "digits_folder", "slurm_desk"]

FOUR_RANKS = ("resources.nodes=2", "resources.gpus_per_node=2")


def nothing_left(desk: Desk) -> bool:
    return [path.name for path in desk.runs.iterdir()] == [".code"]


def test_script_is_that_of_a_training_with_another_command() -> None:
    run, experiment = RunFolder(Path("/runs/.doctor-xxx")), Experiment.from_dict(EXPERIMENT)
    site = CONTAINER.model_copy(update={"notify": Notify(command=["/bin/true"], mail="me@cluster.example")})
    script = doctor_executor(run, experiment, Situation(site, Path("/runs"), Path("/data"))).script()
    assert "trap" not in script and "mail" not in script, "an examination is not the end of a run"
    script = script.replace(shlex.quote(sys.executable), "PYTHON")
    (srun,) = [line for line in script.splitlines() if line.startswith("srun")]
    assert srun.endswith(
        "apptainer exec --nv --bind /runs/.doctor-xxx --bind /runs/.code --bind /data --bind /scratch "
        "--env PYTHONPATH=/runs/.doctor-xxx/code --writable-tmpfs '/images/hpc dl.sif' python "
        "-u -m hpc_dl.cluster.doctor.rank_process /runs/.doctor-xxx"
    )
    assert "--kill-on-bad-exit=0" in srun and "--cpus-per-task=8" in srun
    assert "#SBATCH --no-requeue\n" in script and "#SBATCH --requeue" not in script and "scontrol" not in script
    for line in ("--nodes=2", "--ntasks-per-node=4", "--gpus-per-node=4", "--mem=1572864M"):
        assert f"#SBATCH {line}\n" in script
    assert "module load 'gcc; echo no' || exit 1\n" in script


def test_job_needs_an_experiment_and_one_node_without_slurm(desk: Desk) -> None:
    assert "--job: needs an experiment" in desk.run("doctor", "--job", status=2).stderr
    lines = desk.run("doctor", "tiny.yaml", "--job", "resources.nodes=2", status=1).stdout
    assert "job: resources.nodes: several nodes need Slurm. " in lines and nothing_left(desk)


@pytest.mark.slow  # starts processes that import torch
@pytest.mark.timeout(700)
def test_job_on_this_machine(desk: Desk) -> None:
    pinned = ["taskset", "-c", "0", "hpc-dl", "doctor", "tiny.yaml", "--job", "--json"]
    desk.environment["PATH"] += f":{Path(shutil.which('taskset') or '').parent}"
    options = ["resources.gpus_per_node=2", "resources.cpus_per_gpu=2", "--site", "local.yaml"]
    (desk.folder / "local.yaml").write_text("scheduler: local\n")
    done = subprocess.run(
        [*pinned, *options], cwd=desk.folder, env=desk.environment, capture_output=True, text=True, timeout=600
    )
    found = {each["check"]: each for each in json.loads(done.stdout)}
    assert found["cpu_cores"]["what"].endswith("the 2 ranks may use only core 0; 4 CPU cores were requested")
    assert found["cpu_cores"]["remedy"] == "set resources.cpus_per_gpu=1"
    assert found.keys() & {"ranks", "all_reduce", "data_reading", "gpus", "software"} == set(), done.stdout
    assert nothing_left(desk)


@pytest.mark.slurm
@pytest.mark.slow
@pytest.mark.timeout(700)
def test_job_on_two_nodes(slurm_desk: Desk) -> None:
    done = slurm_desk.run("doctor", "tiny.yaml", "--job", *FOUR_RANKS, timeout_s=600)
    assert "Submitted Slurm job" in done.stderr
    lines = dict(line.partition(": ")[::2] for line in done.stdout.splitlines())
    assert lines["ranks"] == "ok" and lines["file locks"] == "ok" and lines["software"] == "ok"
    assert "(gloo" in lines["all reduce"] and "GB/s" in lines["all reduce"]  # slow on a busy machine
    assert {name.replace("_", " ") for name in job_checks.names()} <= lines.keys()
    assert nothing_left(slurm_desk)


@pytest.mark.slurm
def test_job_whose_setup_fails_says_why(slurm_desk: Desk) -> None:
    (slurm_desk.folder / "broken.yaml").write_text('setup: ["echo no such module; exit 3"]\n')
    found = slurm_desk.json("doctor", "tiny.yaml", "--job", "--site", "broken.yaml", status=1)
    (line,) = [each["what"] for each in found if each["check"] == "ranks"]
    assert line.startswith("rank 0 measured nothing: Slurm reports FAILED: ")
    assert line.endswith("its output ends with 'no such module'")
    (folder,) = slurm_desk.runs.glob(".doctor-*")
    assert "no such module" in next((folder / "submitit").glob("*.out")).read_text()


@pytest.mark.slurm
@pytest.mark.slow
def test_sigterm_cancels_the_waiting_job(slurm_desk: Desk) -> None:
    sbatch = slurm_desk.folder.parent / "bin" / "sbatch"
    sbatch.write_text(f'#!/bin/sh\nexec {shutil.which("sbatch")} --hold "$@"\n')
    sbatch.chmod(0o755)
    messages = slurm_desk.folder / "messages"
    with messages.open("w") as file:
        process = slurm_desk.start("doctor", "tiny.yaml", "--job", stderr=file)
    wait_until(lambda: "[pending] it is held" in messages.read_text(), "it says why the job waits")
    process.send_signal(signal.SIGTERM)  # as Ctrl-C: tests/cluster/test_rehearse_on_slurm.py
    process.communicate(timeout=200)
    assert process.returncode == 130 and "Traceback" not in messages.read_text()
    assert nothing_left(slurm_desk)
    number = messages.read_text().partition("Submitted Slurm job ")[2].partition(";")[0]
    left = ["squeue", "--noheader", f"--jobs={number}", "--states=PENDING,RUNNING"]
    environment = slurm_desk.environment
    wait_until(lambda: not subprocess.run(left, env=environment, capture_output=True).stdout, "the job is cancelled")
