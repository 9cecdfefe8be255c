"""``resources.on_oom: grow``: one automatic resume with more memory."""

from pathlib import Path

import pytest

from hpc_dl.cluster.batch_script import executor
from hpc_dl.cluster.site import Container, SiteProfile
from hpc_dl.config.experiment import Experiment
from hpc_dl.failures.grow import grown_memory
from hpc_dl.runs import attempts
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import write_state
from tests import experiments

KILLED = "slurmstepd: error: Detected 1 oom_kill event in StepId=7.0. Some of the step tasks have been OOM Killed.\n"


def ran_out(runs: Path, message: str = KILLED) -> RunFolder:
    """A run of 8 GiB whose rank was killed."""
    run = RunFolder.create(runs, "tiny")
    run.config.write_text("seed: 0\nresources: {memory: 8G}\n")
    (run.submitit / "7_0_log.out").write_text(message)
    write_state(run, "running", attempt=0)
    return run


def test_half_as_much_again_once(tmp_path: Path) -> None:
    run = ran_out(tmp_path)
    assert grown_memory(run) == "resources.memory=12G"
    attempts.record(run, "resumed", command=["resources.on_oom=grow"])
    assert grown_memory(run) == ""
    attempts.record(run, "resumed", command=["hpc-dl", "resume", run.name])
    assert grown_memory(run) == "resources.memory=12G", "a user has resumed it since"


def test_other_failures_and_cancelled_runs_do_not_grow(tmp_path: Path) -> None:
    assert grown_memory(ran_out(tmp_path, "RuntimeError: CUDA out of memory\n")) == ""
    run = ran_out(tmp_path)
    run.cancelled.write_text('{"by": "me"}')
    assert grown_memory(run) == ""


@pytest.mark.parametrize(
    ("on_oom", "container", "expected"), [("grow", False, 1), ("stop", False, 0), ("grow", True, 0)]
)
def test_batch_script_ends_with_it(tmp_path: Path, on_oom: str, container: bool, expected: int) -> None:
    file = experiments.classification_file(tmp_path)
    experiment = Experiment.from_dict(experiments.raw(file, resources={"on_oom": on_oom}))
    site = SiteProfile()
    if container:
        site = site.model_copy(update={"container": Container(image="/images/x.sif")})
    teardown = executor(RunFolder(tmp_path / "run"), experiment, site, None).parameters["teardown"]
    assert sum("hpc_dl.failures.grow" in line for line in teardown) == expected
    assert teardown[-1] == 'exit "$status"'
    assert not expected or teardown[-2].endswith('-m hpc_dl.failures.grow "$run"')
