"""``hpc-dl site``: writes a profile once, asks only on a terminal, and compares it again."""

from pathlib import Path

import pytest

from hpc_dl.cluster import site
from tests.cli.conftest import HpcDl
from tests.cluster.inspection.recorded_cluster import use_cluster


@pytest.fixture
def profiles(hpc_dl: HpcDl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the user's own profiles, on a cluster where the partition must be chosen."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    use_cluster("24.05", tmp_path / "bin", monkeypatch)
    return tmp_path / "config" / "hpc_dl" / "sites"


def test_profile_is_written_and_chosen_by_the_host(hpc_dl: HpcDl, profiles: Path) -> None:
    answer = hpc_dl("site", "init", "--yes")
    assert answer.status == 0, answer.err
    assert "partition: gpu is a guess; possible are gpu, gpu_preempt" in answer.err
    assert f"Wrote {profiles / 'gamma.yaml'}" in answer.err
    assert site.load(None).account == "training"


def test_question_without_a_terminal_names_yes(hpc_dl: HpcDl, profiles: Path) -> None:
    answer = hpc_dl("site", "init")
    assert answer.status == 2 and "add --yes to take gpu" in answer.err.lower()
    assert not profiles.exists()


def test_answer_on_a_terminal(hpc_dl: HpcDl, profiles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        lines = iter(["typo\n", "gpu_preempt\n"])

        def isatty(self) -> bool:
            return True

        def readline(self) -> str:
            return next(self.lines)

    monkeypatch.setattr("sys.stdin", Terminal())
    answer = hpc_dl("site", "init", "--name", "mine")
    assert answer.status == 0 and "typo is not one of them" in answer.err
    assert site.load("mine").partition == "gpu_preempt"


def test_existing_file_stays_without_force(hpc_dl: HpcDl, profiles: Path) -> None:
    path = Path("alpha.yaml")
    path.write_text("account: mine\n")
    answer = hpc_dl("site", "init", path, "--yes")
    assert answer.status == 2 and "alpha.yaml: exists" in answer.err and "--force" in answer.err
    assert path.read_text() == "account: mine\n"
    assert hpc_dl("site", "init", path, "--yes", "--force").status == 0
    assert site.load(str(path.absolute())).partition == "gpu"


def test_name_cannot_leave_the_folder(hpc_dl: HpcDl, profiles: Path) -> None:
    assert hpc_dl("site", "init", "--name", "../x", "--yes").status == 2


def test_check_reports_each_finding_in_a_line(hpc_dl: HpcDl, profiles: Path) -> None:
    assert hpc_dl("site", "check").status == 2, "no profile yet"
    hpc_dl("site", "init", "--yes")
    path = profiles / "gamma.yaml"
    changed = path.read_text().replace("account: training", "account: gone").replace("nodes: 12", "nodes: 99")
    path.write_text(changed)
    answer = hpc_dl("site", "check")
    assert answer.status == 1
    keys = [line.partition(":")[0] for line in answer.out.splitlines()]
    assert {"account", "limits.nodes"} <= set(keys)  # from some day on also the recorded reservation
    findings = hpc_dl("site", "check", "gamma", "--json").json["findings"]
    assert [finding["key"] for finding in findings] == keys


def test_check_without_findings(hpc_dl: HpcDl, profiles: Path) -> None:
    Path("mine.yaml").write_text("partition: gpu\naccount: training\n")
    answer = hpc_dl("site", "check", "mine.yaml")
    assert answer.status == 0 and answer.out == "" and "no findings" in answer.err
