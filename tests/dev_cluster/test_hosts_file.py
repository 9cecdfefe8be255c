"""The cluster's line in /etc/hosts, on a copy of the file."""

from pathlib import Path

import pytest

from dev_cluster import hosts
from dev_cluster.cluster import Cluster
from dev_cluster.errors import Fault


@pytest.fixture
def hosts_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    file = tmp_path / "hosts"
    monkeypatch.setattr(hosts, "HOSTS_FILE", file)
    return file


@pytest.mark.parametrize(
    "before",
    ["127.0.0.1 localhost\n", "127.0.0.1\tlocalhost n1\n# n2\n10.0.0.1 n22", ""],
    ids=["usual", "similar names, no last newline", "empty"],
)
def test_down_restores_every_byte(hosts_file: Path, tmp_path: Path, before: str) -> None:
    hosts_file.write_text(before)
    hosts_file.chmod(0o640)
    one, other = (Cluster(tmp_path / name) for name in ("one", "one-more"))
    for cluster in (one, other, one):
        hosts.add_line(cluster)
    lines = hosts_file.read_text().splitlines()
    assert lines[: len(before.splitlines())] == before.splitlines()
    added = [line.partition(" # ")[0].split()[:3] for line in lines[len(before.splitlines()) :]]
    assert added == [["127.0.0.1", "n1", "n2"]] * 2
    hosts.remove_line(one)
    assert hosts_file.read_text().count("127.0.0.1 n1 n2") == 1, "the other cluster's line stays"
    hosts.remove_line(other)
    assert hosts_file.read_text().rstrip("\n") == before.rstrip("\n")
    assert hosts_file.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [hosts_file], "no temporary file is left"


def test_node_name_of_another_machine_is_refused(hosts_file: Path, tmp_path: Path) -> None:
    text = "127.0.0.1 localhost\n10.0.0.7 storage n2\n"
    hosts_file.write_text(text)
    with pytest.raises(Fault, match=r"gives the name n2 to 10\.0\.0\.7: choose other node names"):
        hosts.add_line(Cluster(tmp_path / "one"))
    assert hosts_file.read_text() == text
