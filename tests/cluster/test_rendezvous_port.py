"""The port at which ranks of one machine meet is free, and not one for outgoing connections."""

import random
import socket
from pathlib import Path

import pytest

from hpc_dl.cluster import rendezvous_port
from hpc_dl.cluster.rendezvous_port import free_port
from hpc_dl.errors import ClusterError


@pytest.mark.parametrize("outgoing", ["32768\t60999\n", "1024 40000", "15000\t65535\n"])
def test_no_outgoing_connection_takes_it(outgoing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "range").write_text(outgoing)
    monkeypatch.setattr(rendezvous_port, "EPHEMERAL_PORTS", tmp_path / "range")
    first, last = map(int, outgoing.split())
    everywhere = first == 15000  # then one of them must do
    for _ in range(20):
        port = free_port()
        assert 25000 <= port < 61000
        assert everywhere or not first <= port <= last


@pytest.mark.parametrize("text", ["", "32768", "a b"])
def test_unreadable_range(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "range").write_text(text)
    monkeypatch.setattr(rendezvous_port, "EPHEMERAL_PORTS", tmp_path / "range")
    port = free_port()
    assert not 32768 <= port <= 60999


def test_seed_of_a_training_does_not_choose_the_port() -> None:
    chosen = set()
    for _ in range(5):
        random.seed(0)
        before = random.getstate()
        chosen.add(free_port())
        assert random.getstate() == before
    assert len(chosen) > 1


def test_a_used_port_is_not_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as server:
        used = free_port()
        server.bind(("127.0.0.1", used))
        monkeypatch.setattr(rendezvous_port, "_PORTS", [used])
        with pytest.raises(ClusterError, match=f"no free TCP port between {used} and {used}"):
            free_port()
