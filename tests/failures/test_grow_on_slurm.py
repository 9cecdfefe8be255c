"""``resources.on_oom: grow`` on a real Slurm: a job out of memory submits the next one."""

import pytest

from hpc_dl.runs import attempts
from hpc_dl.runs.state import read_state
from tests.cluster.conftest import Desk, wait_until

MODULE = '''
import os, signal, sys
from own_model import Own

class Hungry(Own):
    """Is killed in its second epoch, as by Slurm, where the job has requested less than 2 GiB."""

    def on_train_epoch_start(self):
        if self.current_epoch == 1 and int(os.environ["SLURM_MEM_PER_NODE"]) < 2048:
            print("slurmstepd: error: Detected 1 oom_kill event in StepId=7.0.", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
'''


@pytest.mark.slurm
def test_job_is_submitted_again_with_more_memory(slurm_desk: Desk) -> None:
    (slurm_desk.folder / "hungry.py").write_text(MODULE)
    slurm_desk.run(
        "submit", "tiny.yaml", "model={class: hungry.Hungry}", "optimizer={}", "resources.on_oom=grow",
        "trainer.max_epochs=2", "checkpoint.every=2 steps",
    )  # fmt: skip
    run = slurm_desk.only_run()
    wait_until(lambda: read_state(run)["state"] == "finished", "the second job finishes")
    resumed = [event for event in attempts.history(run) if event["event"] == "resumed"]
    assert [event["changes"] for event in resumed] == [{"resources.memory": ["1500M", "3G"]}]
    assert attempts.history(run)[-2]["from_step"] > 0, "it continued from its checkpoint"
