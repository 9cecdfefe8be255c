"""Profiles written from the answers of clusters with several versions of Slurm, and with gaps."""

import datetime
import re
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from hpc_dl.cluster import slurm
from hpc_dl.cluster.inspection.choice import choose, combinations
from hpc_dl.cluster.inspection.facts import gpus_in
from hpc_dl.cluster.inspection.profile_text import profile_text
from hpc_dl.cluster.inspection.queries import ClusterFacts, inspect
from hpc_dl.cluster.inspection.storage import kind_of
from hpc_dl.cluster.site import SiteProfile
from hpc_dl.config import yaml
from hpc_dl.errors import ClusterError
from hpc_dl.schema import parse
from tests.cluster.inspection.recorded_cluster import isolate, use_cluster, write_program

TODAY = datetime.date(2026, 11, 30)
QUESTIONS: list[str] = []


def best_guess(what: str, values: Mapping[str, str], guess: str) -> str:
    assert guess in values
    QUESTIONS.append(what)
    return guess


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A scratch folder on a parallel file system, as far as the mounts say."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("SCRATCH", str(folder))
    mounts = f"/dev/sda1 / ext4 rw 0 0\nserver:/fs {folder} lustre rw 0 0\n"
    monkeypatch.setattr("hpc_dl.cluster.inspection.storage._mounts", lambda: mounts)
    return folder


def written(facts: ClusterFacts) -> tuple[SiteProfile, str, list[str]]:
    """The profile, its text, and what was asked for it."""
    QUESTIONS.clear()
    text = profile_text(facts, choose(facts, best_guess), "alpha", TODAY)
    return parse(SiteProfile, yaml.loads(text, "alpha"), ""), text, list(QUESTIONS)


CLUSTERS = {
    # The QoS of the partition, 12 hours, is shorter than its own limit of three days.
    "20.11": (
        {"partition": "gpu", "account": "project_2", "qos": "gpu", "reservation": None},
        {"nodes": 20, "gpus_per_node": 4, "cpus_per_node": 40, "memory": "370000M", "time": "12:00:00"},
        [],
    ),
    "22.05": (
        {"partition": "main", "account": "dev", "qos": None, "reservation": None},
        {"nodes": 2, "gpus_per_node": 4, "cpus_per_node": 16, "memory": "64000M", "time": "1-00:00:00"},
        [],
    ),
    "24.05": (
        {"partition": "gpu", "account": "training", "qos": None},
        {"nodes": 12, "gpus_per_node": 4, "cpus_per_node": 60, "memory": "1031000M", "time": "1-00:00:00"},
        ["partition"],
    ),
    "25.05-without-accounting": (
        {"partition": "batch", "account": None, "qos": None, "reservation": None},
        {"nodes": 6, "gpus_per_node": 8, "cpus_per_node": 248, "memory": "2063000M", "time": None},
        [],
    ),
    "only-scontrol": ({"partition": "gpu", "account": None}, {"nodes": 4, "gpus_per_node": None, "memory": None}, []),
    "empty": ({"partition": None, "account": None}, {"nodes": None}, []),
}


@pytest.mark.parametrize("name", CLUSTERS)
def test_profile_of_a_cluster(name: str, tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys, limits, questions = CLUSTERS[name]
    use_cluster(name, tmp_path / "bin", monkeypatch)
    profile, text, asked = written(inspect())
    assert {key: getattr(profile, key) for key in keys} == keys
    assert {key: getattr(profile.limits, key) for key in limits} == limits
    assert asked == questions
    assert (profile.hosts, profile.runs_dir) == (["login*.alpha.example"], "$SCRATCH/hpc_dl/runs")
    assert max(map(len, text.splitlines())) < 200


def test_what_goes_together_is_recorded(tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_cluster("20.11", tmp_path / "bin", monkeypatch)
    facts = inspect()
    # gpu denies project_1 and takes only the QoS gpu; gputest is down; project_9 is elsewhere.
    found = [(each.partition.name, each.account, each.qos) for each in combinations(facts)]
    everywhere = ("normal", "gpu")
    assert found == [
        ("small", "project_1", everywhere),
        ("small", "project_2", everywhere),
        ("gpu", "project_2", ("gpu",)),
    ]
    text = written(facts)[1]
    assert re.search(
        r"^# +small\* +project_1,project_2 +normal,gpu +1000 nodes of 40 cores, 186 GiB", text, re.MULTILINE
    )
    assert "constraint`: ib, type_g" in text


def test_own_reservations_are_used_and_others_named(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_cluster("24.05", tmp_path / "bin", monkeypatch)
    profile, text, _ = written(inspect())
    assert isinstance(profile.reservation, list)
    (own,) = profile.reservation
    assert (own.name, own.begin, own.until) == ("course_mon", "2026-11-30T09:00:00", "2026-11-30T17:00:00")
    assert "Reservations of others: demo" in text
    assert "GPUs of the partition: a100, h100." in text
    assert "mig" not in text, "only for another account"


def test_unknown_is_said_at_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_cluster("only-scontrol", tmp_path / "bin", monkeypatch)
    monkeypatch.setattr("hpc_dl.cluster.inspection.storage._mounts", lambda: "/dev/sda1 / ext4 rw 0 0\n")
    text = written(inspect())[1]
    unknown = re.findall(r"^# (\w+):   # not determined: (.+)$", text, re.MULTILINE)
    keys = ["account", "qos", "reservation", "modules", "container", "runs_dir", "data_dir"]
    assert [key for key, _ in unknown] == keys
    assert ("account", "sacctmgr does not respond; ask your site whether jobs must name one") in unknown


def test_modules_and_containers_are_named(tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_cluster("22.05", tmp_path / "bin", monkeypatch)
    # Lmod 8 prints the list on stderr, with the folders.
    lmod = "printf '/apps/modules:\\ngcc/13.2\\ncuda/\\ncuda/12.4(default)\\npython/3.11.6\\n' >&2"
    write_program(tmp_path / "bin" / "lmod", lmod)
    write_program(tmp_path / "bin" / "apptainer", "exit 0")
    monkeypatch.setenv("LMOD_CMD", str(tmp_path / "bin" / "lmod"))
    monkeypatch.setenv("LOADEDMODULES", "gcc/13.2:python/3.11.6")
    text = written(inspect())[1]
    assert "# modules: [gcc/13.2, python/3.11.6]" in text
    assert "Modules that may help: cuda, cuda/12.4, python/3.11.6" in text
    assert "# apptainer found" in text


def test_silent_slurm_takes_one_timeout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sinfo", "scontrol", "sacctmgr"):
        write_program(folder / name, "exec sleep 60")
    isolate(folder, monkeypatch)
    monkeypatch.setattr(slurm, "_TIMEOUT_S", 0.5)
    started = time.monotonic()
    with pytest.raises(ClusterError, match="Slurm: does not respond"):
        inspect()
    assert time.monotonic() - started < 20, "not one after the other"


def test_machine_without_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    isolate(tmp_path / "bin", monkeypatch)
    with pytest.raises(ClusterError, match="neither sinfo nor scontrol was found"):
        inspect()


@pytest.mark.parametrize(
    ("gres", "gpus"),
    [
        ("(null)", {}),
        ("gpu:4", {"": 4}),
        ("gpu", {"": 1}),
        ("gpu:a100:4(S:0,2-3),nvme:1", {"a100": 4}),
        ("gpu:a100:2(S:0),gpu:a100:2(S:1),gpu:a100_3g.20gb:4", {"a100": 4, "a100_3g.20gb": 4}),
        ("craynetwork:4", {}),
    ],
)
def test_gpus_of_a_node(gres: str, gpus: dict[str, int]) -> None:
    assert gpus_in(gres) == gpus


def test_kind_of_file_system_is_that_of_the_innermost_mount() -> None:
    mounts = "a / ext4 rw 0 0\nb /scratch nfs4 rw 0 0\nc /scratch/fast lustre rw 0 0\n"
    assert [kind_of(path, mounts) for path in ("/home", "/scratch", "/scratch/fast/me", "/scratch2")] == [
        "ext4", "nfs4", "lustre", "ext4",
    ]  # fmt: skip
