"""``hpc-dl rehearse`` on a real Slurm."""

import json
import shutil
import signal
from pathlib import Path

import pytest

from hpc_dl.cluster.rehearsal.short_experiment import STEPS_BEFORE_SIGNAL
from hpc_dl.runs import attempts
from hpc_dl.runs.folder import RunFolder
from tests.cluster.conftest import Desk, wait_until

CPU = ("resources.gpus_per_node=0",)
FOUR_RANKS = ("resources.nodes=2", "resources.gpus_per_node=2")


def wrap(desk: Desk, program: str, script: str) -> None:
    """Replace one of Slurm's commands by a script, where ``REAL`` is the command itself."""
    wrapper = desk.folder.parent / "bin" / program
    wrapper.write_text(f"#!/bin/sh\n{script.replace('REAL', str(shutil.which(program)))}\n")
    wrapper.chmod(0o755)


def all_cancelled(desk: Desk) -> bool:
    return all(facts["state"] == "cancelled" for facts in desk.json("status"))


@pytest.mark.slurm
@pytest.mark.slow
@pytest.mark.timeout(700)  # the jobs of other tests may be ahead in the queue
def test_rehearsal_of_two_nodes_with_two_ranks(slurm_desk: Desk) -> None:
    arguments = ("rehearse", "tiny.yaml", *FOUR_RANKS, "--site", "dev", "--json")
    result = slurm_desk.run(*arguments, timeout_s=600)
    assert "Sending a real SIGUSR2" in result.stderr and "[pending] requeued, will resume at step" in result.stderr
    report = json.loads(result.stdout)
    assert report["passed"] and report["identical"] and report["problems"] == []
    # The signal of one rank reaches the others with the next step.
    assert report["step"] == STEPS_BEFORE_SIGNAL + 1
    assert report["seconds"].keys() == {
        "queue_wait", "start_to_first_step", "step", "checkpoint", "signal_to_end_of_training", "signal_to_requeue",
        "requeue_wait", "restart_to_first_step",
    }  # fmt: skip
    assert report["seconds"]["requeue_wait"] >= 5
    run = RunFolder(Path(report["interrupted"]))
    starts = [line for line in attempts.history(run) if line["event"] == "started"]
    assert [(line["from_step"], line["world_size"]) for line in starts] == [(0, 4), (report["step"], 4)]
    assert starts[1]["SLURM_RESTART_COUNT"] == "1"
    assert {facts["state"] for facts in slurm_desk.json("status")} == {"finished"}
    # The next submission requests the measured lead.
    assert report["lead_s"] == 60
    dry = slurm_desk.run("submit", "tiny.yaml", "--site", "dev", "--dry-run").stdout
    assert "#SBATCH --signal=USR2@60\n" in dry
    assert "#SBATCH --signal=USR2@120\n" in slurm_desk.run("submit", "tiny.yaml", "name=other", "--dry-run").stdout


@pytest.mark.slurm
@pytest.mark.slow
def test_refused_requeue_explains_what_to_ask_the_administrators(slurm_desk: Desk) -> None:
    refusal = "Requested operation is presently disabled for job 7"
    wrap(slurm_desk, "scontrol", f'if [ "$1" = requeue ]; then echo "{refusal}" >&2; exit 1; fi; exec REAL "$@"')
    result = slurm_desk.run("rehearse", "tiny.yaml", *CPU, status=1, timeout_s=200)
    last = result.stdout.splitlines()[-1]
    assert last.startswith("failed: the requeue and the second start: the run stopped: ")
    assert refusal in last and "Show the administrators" in last and "hpc-dl resume tiny-rehearsal-" in last
    assert "from signal to checkpoint and end" in result.stdout, "the measured times are reported anyway"
    assert "second start" not in result.stdout.replace(last, "")


@pytest.mark.slurm
def test_timeout_in_the_queue(slurm_desk: Desk) -> None:
    wrap(slurm_desk, "sbatch", 'exec REAL --hold "$@"')
    result = slurm_desk.run("rehearse", "tiny.yaml", *CPU, "--timeout", "0.15", status=1)
    assert "[pending] it is held" in result.stderr
    assert "not reached within 0.15 min (pending it is held" in result.stdout.splitlines()[-1]
    wait_until(lambda: all_cancelled(slurm_desk), "both jobs are cancelled")


@pytest.mark.slurm
def test_ctrl_c_cancels_both_jobs(slurm_desk: Desk) -> None:
    wrap(slurm_desk, "sbatch", 'exec REAL --hold "$@"')
    messages = slurm_desk.folder / "messages"
    with messages.open("w") as file:
        process = slurm_desk.start("rehearse", "tiny.yaml", *CPU, stderr=file)
    wait_until(lambda: "Waiting for" in messages.read_text(), "it waits for the jobs")
    assert len(list(slurm_desk.runs.glob("*/job.json"))) == 2
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=200)
    assert process.returncode == 130
    assert "Cancelling the jobs of the rehearsal" in messages.read_text()
    assert "Traceback" not in messages.read_text()
    assert len(slurm_desk.json("status")) == 2
    wait_until(lambda: all_cancelled(slurm_desk), "both jobs are cancelled")
