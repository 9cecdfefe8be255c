"""What ``hpc-dl site check`` finds in profiles of recorded clusters."""

import datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hpc_dl.cli.main import app
from hpc_dl.cluster.inspection.check import Findings, check
from hpc_dl.cluster.inspection.choice import choose
from hpc_dl.cluster.inspection.profile_text import profile_text
from hpc_dl.cluster.inspection.queries import inspect
from hpc_dl.cluster.site import SiteProfile
from hpc_dl.cluster.submit import check_paths_and_modules
from hpc_dl.config import yaml
from hpc_dl.errors import ConfigError
from hpc_dl.schema import parse
from tests.cluster.inspection.recorded_cluster import use_cluster, write_program

NOW = datetime.datetime(2026, 11, 30, 10)
GOOD: dict[str, Any] = {"partition": "gpu", "account": "training", "constraint": "zen4&h100", "gpu_type": "h100"}


def checked(cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **keys: Any) -> Findings:
    use_cluster(cluster, tmp_path / "bin", monkeypatch)
    return check(parse(SiteProfile, keys, ""), inspect(), NOW)


@pytest.mark.parametrize("cluster", ["20.11", "22.05", "24.05", "25.05-without-accounting", "only-scontrol"])
def test_profile_that_init_wrote_has_no_findings(cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_cluster(cluster, tmp_path / "bin", monkeypatch)
    facts = inspect()
    text = profile_text(facts, choose(facts, lambda what, values, guess: guess), "x", NOW.date())
    assert check(parse(SiteProfile, yaml.loads(text, "x"), ""), facts, NOW).faults == []


def test_good_profile_has_no_findings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reservation = {"name": "course_mon", "from": "2026-11-30", "until": "2026-11-30T17:00"}
    limits = {"nodes": 3, "gpus_per_node": 4, "memory": "500G", "time": "08:00:00"}
    keys = {**GOOD, "reservation": reservation, "limits": limits, "runs_dir": str(tmp_path / "new" / "runs")}
    assert checked("24.05", tmp_path, monkeypatch, **keys) == Findings([], [])


FAULTS = {
    "removed partition": ({"partition": "gpu,old"}, "partition: does not exist, or is not open to you (got 'old'"),
    "account of others": ({"account": "other"}, "account: is none of the accounts of me (got 'other'; allowed: lab, "),
    "account not here": ({"account": "lab"}, "account: may not use the partition gpu (got 'lab'; allowed: training)"),
    "default account not here": ({"account": None}, "account: may not use the partition gpu (got 'lab'"),
    "removed QoS": ({"qos": "fast"}, "qos: does not exist (got 'fast'; allowed: normal)"),
    "removed reservation": ({"reservation": "course_sun"}, "reservation: does not exist (got 'course_sun'"),
    "past reservation": (
        {"reservation": {"name": "course_mon", "until": "2026-11-29"}},
        "reservation: course_mon ended on 2026-11-29. Remove it from the profile",
    ),
    "shortened reservation": (
        {"reservation": {"name": "course_mon", "until": "2026-11-30"}},
        "reservation: course_mon ends on 2026-11-30T17:00:00 (got '2026-11-30'). Set `until: 2026-11-30T17:00:00`",
    ),
    "feature": ({"constraint": "[zen3|zen5*2]"}, "constraint: no node of the partition has this feature (got 'zen5'"),
    "GPU type": ({"gpu_type": "v100"}, "gpu_type: no node of the partition has such GPUs (got 'v100'; allowed: a100, "),
    "nodes": ({"limits": {"nodes": 13}}, "limits.nodes: is more than the cluster allows (got 13; allowed: at most 12)"),
    "memory": ({"limits": {"memory": "2T"}}, "limits.memory: is more than the cluster allows (got '2T'; allowed:"),
    "time": ({"limits": {"time": "2-00:00:00"}}, "allowed: at most 1-00:00:00). Set `time: 1-00:00:00`"),
    "image": ({"container": {"image": "/no/such.sif"}}, "container.image: does not exist (got '/no/such.sif')"),
    "variable": ({"data_dir": "$NO_SUCH/data"}, "site data_dir: contains a variable that is not set here"),
    "sbatch replaces": ({"sbatch": {"account": "other"}}, "account: is none of the accounts of me (got 'other'"),
}  # fmt: skip


@pytest.mark.parametrize("case", FAULTS)
def test_finding(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes, message = FAULTS[case]
    (fault,) = checked("24.05", tmp_path, monkeypatch, **{**GOOD, **changes}).faults
    assert message in str(fault)


def test_folder_below_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    (fault,) = checked("24.05", tmp_path, monkeypatch, **GOOD, runs_dir=str(tmp_path / "file" / "runs")).faults
    assert str(fault).startswith("runs_dir: cannot be used or created")


def test_partition_that_is_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (fault,) = checked("20.11", tmp_path, monkeypatch, partition="gputest", account="project_2").faults
    assert str(fault).startswith("partition: takes no jobs at present (got 'gputest')")


@pytest.mark.parametrize(
    ("qos", "message"),
    [
        ("normal", "qos: may not be used by the account project_2 on the partition gpu (got 'normal'; allowed: gpu)"),
        (None, "qos: is required: Slurm's default is not allowed on the partition gpu (allowed: gpu)"),
    ],
)
def test_qos_that_the_partition_refuses(
    qos: str | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (fault,) = checked("20.11", tmp_path, monkeypatch, partition="gpu", account="project_2", qos=qos).faults
    assert str(fault) == message


def test_what_cannot_be_checked_is_no_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {"partition": "gpu", "account": "a", "reservation": "r", "gpu_type": "x", "modules": ["m"]}
    findings = checked("only-scontrol", tmp_path, monkeypatch, **keys)
    assert findings.faults == []
    topics = [line.partition(":")[0] for line in findings.unchecked]
    assert topics == ["account and qos", "reservation", "constraint and gpu_type", "modules"]


def test_modules_are_loaded_on_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_cluster("22.05", tmp_path / "bin", monkeypatch)
    # Environment Modules 5.2.0: the exit status is 0, also of a module that does not exist.
    script = """case "$*" in *avail*) exit 0 ;; *cuda/11*) echo 'test 0 = 1;'
    echo "ERROR: Unable to locate a modulefile for 'cuda/11'" >&2 ;; *) echo 'test 0;' ;; esac"""
    write_program(tmp_path / "bin" / "modulecmd", script)
    assert check(SiteProfile(partition="main", modules=["cuda/12"]), inspect(), NOW).faults == []
    (fault,) = check(SiteProfile(partition="main", modules=["cuda/11"]), inspect(), NOW).faults
    assert str(fault).startswith("modules: cannot be loaded: ERROR: Unable to locate a modulefile for 'cuda/11'")
    said: list[str] = []
    check_paths_and_modules(SiteProfile(modules=["cuda/11"]), said.append)
    assert said == [f"hpc-dl: {fault}"]


def test_missing_image_is_reported_before_a_job_waits(tmp_path: Path) -> None:
    config, profile = tmp_path / "tiny.yaml", tmp_path / "site.yaml"
    config.write_text("{name: tiny, data: {source: digits}, model: {name: linear}}")
    profile.write_text(f"scheduler: local\ncontainer: {{image: {tmp_path}/missing.sif, binds: [/nowhere:/data]}}\n")
    for command in ("validate", "submit", "sweep"):
        values = ["sweep={parameters: {seed: {values: [1]}}}"] if command == "sweep" else []
        answer = CliRunner().invoke(app, [command, str(config), *values, "--site", str(profile)])
        assert isinstance(answer.exception, ConfigError), answer.output
        assert str(answer.exception) == (
            f"container.image: does not exist (got '{tmp_path}/missing.sif'). Correct the path, or create it\n"
            "container.binds: does not exist (got '/nowhere'). Correct the path, or create it"
        )
