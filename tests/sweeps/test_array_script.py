"""The batch script of a job array: compared with a golden script, and run in a shell."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from hpc_dl.cluster import requeue, site
from hpc_dl.cluster.array_script import array_executor
from hpc_dl.config.experiment import Experiment
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import write_state
from tests.cluster.test_batch_script import EXPERIMENT, GOLDEN
from tests.conftest import PROJECT


def script(sweep: Path, parallel: int | None = 2) -> str:
    array = RunFolder(sweep / "arrays" / "1")
    experiment = Experiment.from_dict(EXPERIMENT)
    return array_executor(array, sweep, 3, parallel, experiment, site.SiteProfile(), Path("/data"), 120).script()


def test_golden_script() -> None:
    text = script(Path("/runs/golden-sweep")).replace(shlex.quote(sys.executable), "PYTHON")
    golden = GOLDEN / "array.sh"
    if os.environ.get("HPC_DL_REGENERATE"):
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8"), (
        f"if this is intended: HPC_DL_REGENERATE=1 pytest {Path(__file__).relative_to(PROJECT)}"
    )


@pytest.mark.parametrize(
    ("ends", "trained", "status"),
    [
        ({}, ["a", "b", "c"], 0),
        ({"b": "failed"}, ["a", "b", "c"], 1),  # the next one runs nevertheless
        ({"b": "stopped"}, ["a", "b"], 75),  # the task ends, and continues with it when it is requeued
    ],
)
def test_members_run_one_after_another(tmp_path: Path, ends: dict[str, str], trained: list[str], status: int) -> None:
    sweep = tmp_path / "a $sweep; touch pwned"
    (sweep / "arrays" / "1").mkdir(parents=True)
    (sweep / "arrays" / "1" / "tasks").write_text("other\na done b c\n")
    for name in ("a", "b", "c", "done"):
        RunFolder.create_at(sweep / name)
    write_state(RunFolder(sweep / "done"), "finished")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "srun").write_text(
        '#!/bin/bash\nrun=${@: -1}\nname=${run##*/}\necho "$name" >>"$TRAINED"\n'
        "declare -A ends=(" + " ".join(f"[{name}]={end}" for name, end in ends.items()) + ")\n"
        'state=${ends[$name]:-finished}\necho " \\"state\\": \\"$state\\"" >"$run/state.json"\n'
        "[[ $state == failed ]] && exit 1\nexit 0\n"
    )
    (programs / "srun").chmod(0o755)
    (programs / "scontrol").write_text("#!/bin/sh\n")
    (programs / "scontrol").chmod(0o755)
    variables = {"SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_JOB_ID": "9", "SLURM_JOB_ID": "10",
                 "TRAINED": str(tmp_path / "trained"), "PATH": f"{programs}:{os.environ['PATH']}"}  # fmt: skip
    done = subprocess.run(["bash", "-c", script(sweep)], env=variables, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (status, "")
    assert (tmp_path / "trained").read_text().split() == trained
    assert requeue.refusal_file(RunFolder(sweep / "a")).exists() is False
