"""Reporting to a server that works, refuses, dies or does not exist, with wandb's own process."""

import base64
import socket

import psutil
import pytest

from .fake_wandb import ENTITY, FakeWandb
from .wandb_process import KEY, LIMIT_S, RUN_ID, UNREACHABLE

pytestmark = pytest.mark.slow


def test_online_run_arrives_completely(report):
    with FakeWandb() as server:
        done = report(server.url, num_rows=50, exit_code=1)
        done.check()
        assert done.messages == [f"W&B: {server.url}/{ENTITY}/hpc_dl/runs/{RUN_ID}"]
        rows = server.rows[RUN_ID]
        assert [row["trainer/global_step"] for row in rows] == list(range(50))
        assert rows[1]["train/loss"] == 0.5
        assert server.summaries[RUN_ID]["test/accuracy"] == 0.5
        assert server.exit_codes == {RUN_ID: 1}
        run = server.run(RUN_ID)
        assert (run["project"], run["groupName"], run["tags"]) == ("hpc_dl", "seeds", ["a", "b"])
        assert (run["displayName"], run["jobType"]) == ("a run", "train")
        assert run["config"]["model"] == {"name": "mlp", "width": 64}
        assert run["config"]["hpc_dl"] == {"slurm_job_id": "4711"}
        # The x-axis of all metrics ("*") is metric 1, the step.
        assert {"2": "*", "5": 1, "6": [1], "7": []} in run["config"]["_wandb"]["m"]
        assert run["config"]["_wandb"]["m"][0]["1"] == "trainer/global_step"
        assert server.authorized == {"Basic " + base64.b64encode(f"api:{KEY}".encode()).decode()}


def test_offline_run_records_every_row(report):
    done = report(UNREACHABLE, mode="offline", num_rows=300)
    done.check()
    assert done.messages[0] == "W&B: recording offline; wandb.mode is offline"
    assert len(done.messages) == 2
    assert len(done.offline_rows()) == 300


@pytest.mark.parametrize("mode", ["auto", "online"])
def test_unreachable_server_means_offline_at_once(report, mode):
    done = report(UNREACHABLE, mode=mode)
    done.check()
    assert done.outcome["seconds"]["start"] < LIMIT_S
    assert done.messages[0].startswith("W&B: recording offline; 127.0.0.1:9 cannot be reached: ")
    assert len(done.messages) == 2
    assert len(done.offline_rows()) == 20


def test_refused_key_means_offline(report):
    with FakeWandb() as server:
        server.refuse = 401
        done = report(server.url)
    done.check()
    assert done.outcome["seconds"]["start"] < LIMIT_S
    assert done.messages[0].startswith("W&B: recording offline; ")
    assert "401" in done.messages[0]
    assert len(done.messages) == 2
    assert len(done.offline_rows()) == 20


@pytest.mark.slow
def test_silent_server_means_offline_within_the_limit(report):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        done = report(f"http://127.0.0.1:{silent.getsockname()[1]}")
    done.check()
    assert done.outcome["seconds"]["start"] < LIMIT_S
    assert done.messages[0].startswith("W&B: recording offline; ")
    assert len(done.offline_rows()) == 20


@pytest.mark.slow
def test_dying_server_does_not_delay_the_run(report):
    with FakeWandb() as server:
        done = report(server.url, actions={10: lambda _: server.die()})
    done.check()
    assert done.outcome["seconds"]["log"] < LIMIT_S
    assert done.outcome["seconds"]["finish"] < LIMIT_S
    assert len(done.messages) == 2  # the URL, and the command that uploads the rest
    assert "wandb sync --include-online " in done.messages[1]
    assert len(done.offline_rows()) == 20


@pytest.mark.slow
def test_death_of_wandbs_process_is_reported_once(report):
    def kill_children(process: psutil.Process) -> None:
        children = process.children(recursive=True)
        for child in children:
            child.kill()
        psutil.wait_procs(children, timeout=5)

    done = report(UNREACHABLE, mode="offline", num_rows=500, actions={100: kill_children})
    assert done.process.returncode == 0, done.process.stderr
    assert done.process.stdout == ""
    assert done.outcome["seconds"]["log"] < LIMIT_S
    assert done.outcome["seconds"]["finish"] < LIMIT_S
    assert len([message for message in done.messages if "training continues" in message]) == 1


def test_refused_rows_are_reported(report):
    with FakeWandb() as server:

        def refuse(_: psutil.Process) -> None:
            server.refuse = 403

        done = report(server.url, actions={10: refuse})
    done.check()
    assert [message.split(" (")[0] for message in done.messages[1:-1]] == ["W&B: the server has refused rows"]
    assert "wandb sync --include-online " in done.messages[-1]


def test_disabled_run_does_not_import_wandb(report):
    done = report(UNREACHABLE, mode="disabled")
    done.check()
    assert done.messages == []
    assert not done.outcome["imported"]
    assert list(done.folder.iterdir()) == []
