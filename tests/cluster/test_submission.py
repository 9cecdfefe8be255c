"""Submissions to a fake sbatch: its answers, refusals, and what becomes of the run folder."""

import os
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from hpc_dl.cluster import submit
from hpc_dl.cluster.site import SiteProfile
from hpc_dl.config.experiment import Experiment
from hpc_dl.errors import ClusterError
from hpc_dl.regular_files import read_json
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.search import all_runs
from hpc_dl.runs.state import read_state

EXPERIMENT = Experiment.from_dict({"name": "x", "data": {"source": "digits"}, "model": {"name": "linear"}})
Submit = Callable[..., RunFolder]


@pytest.fixture
def submitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Submit:
    """A function that submits a run to an sbatch with a given answer, and returns the run."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    run = RunFolder.create(tmp_path / "runs", "x")

    def send(answer: str, status: int = 0, profile: SiteProfile | None = None) -> RunFolder:
        stream = "" if status == 0 else ">&2"
        (programs / "sbatch").write_text(f"#!/bin/sh\nenv >{tmp_path}/environment\n"
                                         f"printf %s {shlex.quote(answer)} {stream}; exit {status}\n")  # fmt: skip
        (programs / "sbatch").chmod(0o755)
        submit.submit_run(run, EXPERIMENT, profile or SiteProfile(scheduler="slurm"))
        return run

    return send


@pytest.mark.parametrize(
    ("answer", "job"),
    [
        ("This is your job 7 of 50\nSubmitted batch job 4242\n", {"job_id": "4242"}),
        ("Submitted batch job 4242 on cluster alpha\n", {"job_id": "4242", "cluster": "alpha"}),
        ("4242\n", {"job_id": "4242"}),
        ("4242;alpha\n", {"job_id": "4242", "cluster": "alpha"}),
    ],
)
def test_job_and_cluster_are_recorded(submitted: Submit, answer: str, job: dict[str, str]) -> None:
    run = submitted(answer)
    assert job.items() <= read_json(run.job).items()
    assert ("cluster" in read_json(run.job)) == ("cluster" in job)
    assert (run.submitit / "4242_submitted.pkl").exists(), "the job looks for it by its number"


def test_folder_stays_if_the_answer_names_no_job(submitted: Submit, tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=r"its answer names none: 'Thank you for job 7!'.*Check with `squeue --me`"):
        submitted("Thank you for job 7!\n")
    (folder,) = (run.path for run in all_runs(tmp_path / "runs"))
    assert "may be queued" in read_state(RunFolder(folder))["reason"]


def test_folder_stays_if_the_submission_is_interrupted(
    submitted: Submit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("submitit.core.utils.copy_process_streams", interrupted)
    with pytest.raises(ClusterError, match="interrupted"):
        submitted("Submitted batch job 4242\n")
    assert list(all_runs(tmp_path / "runs"))


def test_refused_job_leaves_no_folder_and_the_remedy_names_the_value(submitted: Submit, tmp_path: Path) -> None:
    refusal = "sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified"
    with pytest.raises(ClusterError) as caught:
        submitted(refusal, 1, SiteProfile(account="wrong", partition="main"))
    assert "account is 'wrong'" in str(caught.value)
    assert str(caught.value).startswith("sbatch: Invalid account or account/partition combination specified. Set")
    assert list(all_runs(tmp_path / "runs")) == []


def test_refusal_names_what_the_shell_has_chosen(submitted: Submit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SBATCH_ACCOUNT", "wrong")
    monkeypatch.setenv("SBATCH_PARTITION", "main")
    refusal = "sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified"
    with pytest.raises(ClusterError) as caught:
        submitted(refusal, 1, SiteProfile(partition="other"))
    assert str(caught.value).endswith("; your shell sets SBATCH_ACCOUNT=wrong"), "the profile decides the partition"


def test_sbatch_gets_none_of_the_variables_that_would_change_the_job(
    submitted: Submit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SBATCH_PARTITION", "SBATCH_TIMELIMIT", "SLURM_HINT", "SRUN_CPUS_PER_TASK", "MASTER_ADDR", "RANK"):
        monkeypatch.setenv(name, "1")
    submitted("Submitted batch job 1\n")
    seen = {line.partition("=")[0] for line in (tmp_path / "environment").read_text().splitlines()}
    assert not {name for name in seen if name.startswith(("SBATCH_", "SRUN_"))}
    assert not {"SLURM_HINT", "MASTER_ADDR", "RANK"} & seen
    assert os.environ["SBATCH_TIMELIMIT"] == "1", "only sbatch does not see it"
