"""The batch script: compared with golden scripts, and run in a shell with hostile values."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from hpc_dl.cluster import site
from hpc_dl.cluster.submit import batch_script
from hpc_dl.config.experiment import Experiment
from hpc_dl.errors import ClusterError
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
    """The shipped example with all keys except the container enabled, as its header advises."""
    text = (PROJECT / "slurm" / "sites" / "example.yaml").read_text(encoding="utf-8")
    before, _, after = text.partition("# Run the job in an Apptainer image")
    limits = after.partition("# The largest job")[2]
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
    expected = golden.read_text(encoding="utf-8") if golden.exists() else ""
    assert text == expected, f"if this is intended: HPC_DL_REGENERATE=1 pytest {Path(__file__).relative_to(PROJECT)}"


def test_hostile_values_are_quoted(tmp_path: Path) -> None:
    profile = site.SiteProfile(environment={"WORDS": "it's $HOME; `touch pwned` $(touch pwned)"})
    text = batch_script(tmp_path / "a b; touch pwned", Experiment.from_dict(EXPERIMENT), profile)
    setup = text.split("# setup\n")[1].split("# command")[0]
    printed = subprocess.run(
        ["bash", "-c", f'{setup}\nprintf "%s\\n" "$WORDS" "$PYTHONPATH" "$HDF5_USE_FILE_LOCKING"'],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": "/outer"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert printed[0] == profile.environment["WORDS"]
    assert printed[1].endswith("/code:/outer") and printed[1].startswith(str(tmp_path / "a b; touch pwned"))
    assert printed[2] == "FALSE"
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    ("scratch_dir", "environment", "expected"),
    [
        (None, {}, "/tmp"),
        (None, {"TMPDIR": "/var/tmp"}, "/var/tmp"),
        (None, {"TMPDIR": "/var/tmp", "SLURM_TMPDIR": "/local/7"}, "/local/7"),
        ("$LOCAL/x", {"LOCAL": "/local", "TMPDIR": "/var/tmp"}, "/local/x"),
    ],
)
def test_scratch_folder_is_found_on_the_node(
    tmp_path: Path, scratch_dir: str | None, environment: dict[str, str], expected: str
) -> None:
    experiment = Experiment.from_dict(EXPERIMENT | {"data": {"source": "digits", "stage": "node"}})
    profile = site.SiteProfile(scratch_dir=scratch_dir, container=CONTAINER.container)
    setup = batch_script(tmp_path, experiment, profile).split("# setup\n")[1].split("# command")[0]
    printed = subprocess.run(
        ["bash", "-c", f'{setup}\nprintf "%s\n" "$HPC_DL_SCRATCH" "$APPTAINER_BIND"'],
        env={"PATH": os.environ["PATH"], "APPTAINER_BIND": "/a"} | environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    # A folder that does not exist would keep the container from starting.
    assert printed == [expected, f"/a,{expected}" if Path(expected).is_dir() else "/a"]


@pytest.mark.parametrize("folder", ["50%j", "it's", 'say "x"', "new\nline", "back\\slash"])
def test_paths_that_sbatch_would_misread_are_refused(tmp_path: Path, folder: str) -> None:
    with pytest.raises(ClusterError, match="the path of a runs folder for Slurm must not contain"):
        batch_script(tmp_path / folder, Experiment.from_dict(EXPERIMENT), site.SiteProfile())


def test_separators_of_binds_are_refused_for_a_container(tmp_path: Path) -> None:
    batch_script(tmp_path / "a,b", Experiment.from_dict(EXPERIMENT), site.SiteProfile())
    with pytest.raises(ClusterError, match="must not contain ','"):
        batch_script(tmp_path / "a,b", Experiment.from_dict(EXPERIMENT), CONTAINER)


def test_batch_script_writes_nothing(tmp_path: Path) -> None:
    batch_script(tmp_path / "runs", Experiment.from_dict(EXPERIMENT), site.SiteProfile(), tmp_path / "data")
    assert list(tmp_path.iterdir()) == []


def test_no_gpus_are_requested_for_cpu_jobs() -> None:
    resources = {"gpus_per_node": 0, "cpus_per_gpu": 4}
    text = batch_script(Path("/runs"), Experiment.from_dict({**EXPERIMENT, "resources": resources}), CONTAINER)
    assert "--gpus" not in text and "--nv" not in text
    assert "--ntasks-per-node=1" in text and "--cpus-per-task=4" in text


def test_current_folder_comes_last_and_only_for_an_own_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    own = {**EXPERIMENT, "model": {"class": "own_model.Own"}}
    text = batch_script(Path("/runs"), Experiment.from_dict(own), site.SiteProfile())
    assert f"/code${{PYTHONPATH:+:$PYTHONPATH}}:{tmp_path}\n" in text
    assert str(tmp_path) not in batch_script(Path("/runs"), Experiment.from_dict(EXPERIMENT), site.SiteProfile())
