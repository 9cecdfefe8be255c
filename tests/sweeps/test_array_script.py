"""The batch script of a job array: compared with a golden script, and run in a shell."""

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hpc_dl.cluster import requeue, site
from hpc_dl.cluster.array_script import array_executor
from hpc_dl.config.experiment import Experiment
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import write_state
from tests.cluster.test_batch_script import EXPERIMENT, GOLDEN
from tests.conftest import PROJECT

ON_ONE_GPU = {"nodes": 1, "gpus_per_node": 1, "cpus_per_gpu": 2, "memory": "1.5G", "time": 60}


def script(sweep: Path, parallel: int | None = 2, side_by_side: int = 1) -> str:
    array = RunFolder(sweep / "arrays" / "1")
    experiment = Experiment.from_dict(EXPERIMENT | ({"resources": ON_ONE_GPU} if side_by_side > 1 else {}))
    return array_executor(
        array, sweep, 3, parallel, experiment, site.SiteProfile(), Path("/data"), 120, side_by_side=side_by_side
    ).script()


@pytest.mark.parametrize(("name", "side_by_side"), [("array", 1), ("side-by-side", 3)])
def test_golden_script(name: str, side_by_side: int) -> None:
    text = script(Path("/runs/golden-sweep"), side_by_side=side_by_side).replace(shlex.quote(sys.executable), "PYTHON")
    golden = GOLDEN / f"{name}.sh"
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
    assert run_task(tmp_path, script, ends) == (status, trained, [])


@pytest.mark.parametrize(
    ("ends", "status", "requeues"),
    [
        ({}, 0, []),
        ({"b": "failed"}, 1, []),
        ({"a": "stopped", "b": "failed", "c": "stopped"}, 75, ["requeue 9_1"]),  # once, although two have stopped
        ({"a": "finished", "b": "cancelled", "c": "pruned"}, 0, []),
    ],
)
def test_members_run_side_by_side(tmp_path: Path, ends: dict[str, str], status: int, requeues: list[str]) -> None:
    def together(sweep: Path) -> str:
        return script(sweep, side_by_side=4)

    assert run_task(tmp_path, together, ends) == (status, ["a", "b", "c"], requeues)


def run_task(tmp_path: Path, script: Callable[[Path], str], ends: dict[str, str]) -> tuple[int, list[str], list[str]]:
    """Run the second task in a shell, with programs in place of Slurm's.

    Returns:
        The exit status, the members that srun trained, and the requests to requeue the job.
    """
    sweep = tmp_path / "a $sweep; touch pwned"
    (sweep / "arrays" / "1").mkdir(parents=True)
    (sweep / "arrays" / "1" / "tasks").write_text("other\na done b c\n")
    for name in ("a", "b", "c", "done"):
        RunFolder.create_at(sweep / name)
    write_state(RunFolder(sweep / "done"), "finished")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "srun").write_text(
        "#!/bin/bash\nworst=0\n"
        "declare -A ends=(" + " ".join(f"[{name}]={end}" for name, end in ends.items()) + ")\n"
        'for run in "$@"; do [[ -d $run && -e $run/layout ]] || continue\nname=${run##*/}\necho "$name" >>"$TRAINED"\n'
        'state=${ends[$name]:-finished}\necho " \\"state\\": \\"$state\\"" >"$run/state.json"\n'
        'case $state in failed) worst=1;; stopped) [[ $* == *member_process* ]] && echo limit >"$run/requeue";; esac\n'
        "done\nexit $worst\n"
    )
    # As Slurm does, it reports a requeue in the facts of the job.
    (programs / "scontrol").write_text(
        '#!/bin/bash\nif [[ $1 == requeue ]]; then echo "$*" >>"$REQUEUES"; exit; fi\n'
        'echo "JobState=RUNNING Restarts=$(cat "$REQUEUES" 2>/dev/null | wc -l) Reason=None"\n'
    )
    for program in programs.iterdir():
        program.chmod(0o755)
    trained, requeues = tmp_path / "trained", tmp_path / "requeues"
    variables = {"SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_JOB_ID": "9", "SLURM_JOB_ID": "10", "TRAINED": str(trained),
                 "REQUEUES": str(requeues), "PATH": f"{programs}:{os.environ['PATH']}"}  # fmt: skip
    done = subprocess.run(["bash", "-c", script(sweep)], env=variables, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert requeue.refusal_file(RunFolder(sweep / "a")).exists() is False
    requests = requeues.read_text().splitlines() if requeues.exists() else []
    return done.returncode, trained.read_text().split(), requests
