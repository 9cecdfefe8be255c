"""The batch script, compared as a whole with a golden one, and where a golden one cannot tell."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from hpc_dl.atomic_files import read_json, write_json
from hpc_dl.cluster import requeue, site
from hpc_dl.cluster.submit import batch_script
from hpc_dl.config.experiment import Experiment
from hpc_dl.errors import ClusterError
from hpc_dl.runs.folder import RunFolder
from tests.conftest import PROJECT

GOLDEN = Path(__file__).parent / "golden"
EXPERIMENT = {
    "name": "golden",
    "data": {"source": "digits"},
    "model": {"name": "linear"},
    "resources": {"nodes": 2, "gpus_per_node": 4, "cpus_per_gpu": 8, "memory": "1.5T", "time": "1-12:00:00"},
}
CONTAINER = site.SiteProfile(
    environment={"WORDS": "it's $HOME; rm -rf /"},
    modules=["gcc; echo no"],
    container=site.Container(image="/images/hpc dl.sif", binds=["/scratch"], args=["--writable-tmpfs"]),
)


def filled_in_example(folder: Path) -> site.SiteProfile:
    """The shipped example with the # before its keys removed, as its first lines say; without the
    container."""
    text = (PROJECT / "slurm" / "sites" / "example.yaml").read_text(encoding="utf-8")
    before, _, rest = text.partition("# Run inside an Apptainer image")
    limits = rest.partition("# The most that")[2]
    path = folder / "filled-in.yaml"
    path.write_text(re.sub(r"(?m)^# (?=[a-z_]+: |[a-z_]+:$|  )", "", before + "#" + limits), encoding="utf-8")
    return site.load(str(path))


@pytest.mark.parametrize(
    ("name", "profile"),
    [("plain", site.SiteProfile()), ("example", None), ("container", CONTAINER)],
)
def test_golden_script(name: str, profile: site.SiteProfile | None, tmp_path: Path) -> None:
    profile = profile or filled_in_example(tmp_path)
    text = batch_script(Path("/runs"), Experiment.from_dict(EXPERIMENT), profile, Path("/data"))
    text = text.replace(shlex.quote(sys.executable), "PYTHON")
    golden = GOLDEN / f"{name}.sh"
    if os.environ.get("HPC_DL_REGENERATE"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text, encoding="utf-8")
    wanted = golden.read_text(encoding="utf-8") if golden.exists() else ""
    assert text == wanted, f"if this is meant: HPC_DL_REGENERATE=1 pytest {Path(__file__).relative_to(PROJECT)}"


def test_what_the_shell_makes_of_hostile_words(tmp_path: Path) -> None:
    profile = site.SiteProfile(environment={"WORDS": "it's $HOME; `touch pwned` $(touch pwned)"})
    text = batch_script(tmp_path / "a b; touch pwned", Experiment.from_dict(EXPERIMENT), profile)
    setup = text.split("# setup\n")[1].split("# command")[0]
    printed = subprocess.run(
        ["bash", "-c", f'{setup}\nprintf "%s\\n" "$WORDS" "$PYTHONPATH" "$HDF5_USE_FILE_LOCKING"'],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": "/mine"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert printed[0] == profile.environment["WORDS"]
    assert printed[1].endswith("/code:/mine") and printed[1].startswith(str(tmp_path / "a b; touch pwned"))
    assert printed[2] == "FALSE"
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("folder", ["50%j", "it's", 'say "x"', "new\nline", "back\\slash"])
def test_paths_that_sbatch_would_misread_are_refused(tmp_path: Path, folder: str) -> None:
    with pytest.raises(ClusterError, match="a runs folder for Slurm cannot have"):
        batch_script(tmp_path / folder, Experiment.from_dict(EXPERIMENT), site.SiteProfile())


def test_separators_of_binds_are_refused_for_a_container(tmp_path: Path) -> None:
    batch_script(tmp_path / "a,b", Experiment.from_dict(EXPERIMENT), site.SiteProfile())
    with pytest.raises(ClusterError, match="cannot have ','"):
        batch_script(tmp_path / "a,b", Experiment.from_dict(EXPERIMENT), CONTAINER)


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    batch_script(tmp_path / "runs", Experiment.from_dict(EXPERIMENT), site.SiteProfile(), tmp_path / "data")
    assert list(tmp_path.iterdir()) == []


def test_without_gpus_none_is_asked_for() -> None:
    resources = {"gpus_per_node": 0, "cpus_per_gpu": 4}
    text = batch_script(Path("/runs"), Experiment.from_dict({**EXPERIMENT, "resources": resources}), CONTAINER)
    assert "--gpus" not in text and "--nv" not in text
    assert "--ntasks-per-node=1" in text and "--cpus-per-task=4" in text


def test_the_current_folder_is_importable_last_and_only_for_an_own_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    own = {**EXPERIMENT, "model": {"class": "own_model.Own"}}
    text = batch_script(Path("/runs"), Experiment.from_dict(own), site.SiteProfile())
    assert f"/code${{PYTHONPATH:+:$PYTHONPATH}}:{tmp_path}\n" in text
    assert str(tmp_path) not in batch_script(Path("/runs"), Experiment.from_dict(EXPERIMENT), site.SiteProfile())


# ---- the end of the script: what Slurm says of the job (as measured) decides

_RUNNING = "JobState=RUNNING Reason=None Restarts=0"
_REFUSAL = "Requested operation is presently disabled for job 7"


def last_words(
    run: RunFolder,
    says: str,
    *,
    word: str | None,
    state: str = "stopped",
    status: int = 0,
    answer: str = "",
    restarts: int = 0,
) -> tuple[int, bool]:
    """Run the end of the script with a ``scontrol`` that says this of the job.

    Returns its exit status, and whether it asked for a requeue.
    """
    if word:
        run.requeue.write_text(f"{word}\n")
    write_json(run.state, {"state": state})
    programs = run.path / "bin"
    programs.mkdir()
    (programs / "scontrol").write_text(
        f"#!/bin/bash\nif [[ $1 == requeue ]]; then echo $2 >{shlex.quote(str(run.path / 'asked'))}; {answer}\n"
        f"else echo JobId=7 {shlex.quote(says)} Dependency=none; fi\n"
    )
    (programs / "scontrol").chmod(0o755)
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "SLURM_JOB_ID": "7"}
    environment |= {"SLURM_RESTART_COUNT": str(restarts)} if restarts else {}
    done = subprocess.run(requeue.conclusion(run, status), env=environment, capture_output=True, text=True, timeout=30)
    assert done.stderr == ""
    assert not run.requeue.exists()
    return done.returncode, (run.path / "asked").exists()


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "it's $HOME; a b", "x")


@pytest.mark.parametrize(
    ("says", "word", "asked", "cancelled"),
    [
        (_RUNNING, "limit", True, False),
        (_RUNNING, "term", False, False),
        (f"{_RUNNING} PreemptTime=None", "term", False, False),
        (f"{_RUNNING} PreemptTime=2026-01-01T00:00:00", "term", True, False),
        ("JobState=COMPLETING Reason=None Restarts=1", "term", False, False),
        ("JobState=COMPLETING Reason=None Restarts=1", "limit", False, False),
        ("JobState=COMPLETING Reason=None Restarts=0", "term", False, True),
        ("JobState=COMPLETING Reason=None Restarts=0", "limit", False, True),
        ("JobState=COMPLETING Reason=TimeLimit Restarts=0", "limit", True, False),
        ("JobState=COMPLETING Reason=TimeLimit Restarts=0", "term", True, False),
        ("", "limit", True, False),
        ("", "term", False, False),
        (_RUNNING, None, False, False),
    ],
)
def test_who_is_put_back_into_the_queue(
    run: RunFolder, says: str, word: str | None, asked: bool, cancelled: bool
) -> None:
    assert last_words(run, says, word=word) == (75, asked)
    assert run.cancelled.exists() is cancelled
    if cancelled:
        assert read_json(run.cancelled)["by"] == "scancel"


def test_restarts_are_counted_from_our_own(run: RunFolder) -> None:
    said = "JobState=RUNNING Reason=None Restarts=3"
    assert last_words(run, said, word="limit", restarts=3) == (75, True)


@pytest.mark.parametrize(
    ("says", "asked", "cancelled"),
    [
        (_RUNNING, False, False),
        (f"{_RUNNING} PreemptTime=2026-01-01T00:00:00", True, False),
        ("JobState=COMPLETING Reason=None Restarts=0", False, True),
        ("JobState=COMPLETING Reason=TimeLimit Restarts=0", False, False),
    ],
)
def test_ranks_killed_before_they_could_answer(run: RunFolder, says: str, asked: bool, cancelled: bool) -> None:
    status = 75 if asked else 143
    assert last_words(run, says, word=None, state="running", status=143) == (status, asked)
    assert run.cancelled.exists() is cancelled


@pytest.mark.parametrize(
    ("state", "status", "told"), [("failed", 1, 1), ("finished", 0, 0), ("finished", 140, 0), ("cancelled", 0, 0)]
)
def test_an_end_is_an_end(run: RunFolder, state: str, status: int, told: int) -> None:
    preempted = f"{_RUNNING} PreemptTime=2026-01-01T00:00:00"
    assert last_words(run, preempted, word=None, state=state, status=status) == (told, False)


def test_a_refusal_is_kept(run: RunFolder) -> None:
    assert last_words(run, _RUNNING, word="limit", answer=f"echo '{_REFUSAL}' >&2; exit 1") == (75, True)
    assert requeue.refusal(run).read_text() == f"{_REFUSAL}\n"


def test_slurm_may_be_faster(run: RunFolder) -> None:
    last_words(run, _RUNNING, word="limit", answer="echo 'Job is pending execution for job 7' >&2; exit 1")
    assert not requeue.refusal(run).exists()


@pytest.mark.parametrize(("minutes", "lead"), [(1, 30), (3, 90), (4, 120), (60, 120)])
def test_a_short_job_is_not_warned_at_its_start(minutes: int, lead: int) -> None:
    assert requeue.lead_seconds(minutes) == lead
