"""``sync_runs``: each run has one line, whatever is wrong with its folder or with W&B."""

import json
import os
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.wandb_sync import Synced, sync_runs
from hpc_dl.tracking.journal import JournalWriter, read_journal
from hpc_dl.tracking.wandb_account import Account, NoCredentials, account
from hpc_dl.tracking.wandb_errors import SharedPatience
from hpc_dl.tracking.wandb_record import WandbRecord
from tests import experiments
from tests.conftest import forget_settings
from tests.tracking.fake_wandb import FakeWandb

Damage = Callable[[RunFolder], object]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder without a journal."""
    folder = tmp_path_factory.mktemp("run")
    return experiments.prepared(folder, experiments.raw(experiments.classification_file(folder))).path


@pytest.fixture
def run(prepared: Path, tmp_path: Path, wandb_server: FakeWandb) -> RunFolder:
    """A run of 30 rows."""
    shutil.copytree(prepared, tmp_path / "runs" / "a")
    run = RunFolder(tmp_path / "runs" / "a")
    log(run, 0, 1, 30)
    return run


def log(run: RunFolder, attempt: int, first: int, last: int) -> None:
    writer = JournalWriter(run.journal, attempt, first - 1)
    for step in range(first, last + 1):
        writer.write({"train/loss": 1 / step}, step, 0)
    writer.close()


def sync(*runs: RunFolder, state: str = "finished", owner: Account | None = None) -> list[Synced]:
    return list(sync_runs([(run, state) for run in runs], owner or account(), 8, lambda message: None))


def check(run: RunFolder, server: FakeWandb) -> None:
    """Check that each row is in W&B once."""
    run_id = WandbRecord.of(run.path).id
    rows = {row["step"]: {"epoch": 0, "train/loss": row["train/loss"]} for row in read_journal(run.journal)}
    assert server.values(run_id) == rows
    assert (server.duplicates(run_id), server.dropped, server.state(run_id)) == (0, {}, "finished")


def _folder(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir(parents=True)


def _fifo(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


REFUSED: dict[str, Damage] = {
    "record_is_no_json": lambda run: _write(run.path / "wandb.json", "{"),
    "record_of_another_type": lambda run: _write(run.path / "wandb.json", '{"id": 5, "project": []}'),
    "record_with_other_lists": lambda run: _write(run.path / "wandb.json", '{"id": "a", "replaces": 5}'),
    "record_is_a_folder": lambda run: _folder(run.path / "wandb.json"),
    "record_is_a_pipe": lambda run: _fifo(run.path / "wandb.json"),
    "lock_is_a_folder": lambda run: _folder(run.path / "wandb.lock"),
    "outbox_is_a_folder": lambda run: _folder(run.path / "wandb" / "history.jsonl"),
    "outbox_is_a_pipe": lambda run: _fifo(run.path / "wandb" / "history.jsonl"),
    "configuration_is_a_list": lambda run: _write(run.config, "[1]"),
    "configuration_is_gone": lambda run: run.config.unlink(),
    "journal_is_damaged": lambda run: _write(run.journal / "attempt-001.jsonl", '{"from_step": 0}\nx\n{"step": 1}\n'),
    "journal_of_another_type": lambda run: _write(run.journal / "attempt-001.jsonl", '{"from_step": "x"}\n'),
    "attempts_are_a_folder": lambda run: _folder(run.attempts),
}
"""Damage that no upload can repair; the line names the file."""

REPAIRED: dict[str, Damage] = {
    "outbox_is_no_json": lambda run: _write(run.path / "wandb" / "history.jsonl", "garbage\n"),
    "outbox_of_zeros": lambda run: _write(run.path / "wandb" / "history.jsonl", "\0" * 500 + "\n"),
    "outbox_of_another_type": lambda run: _write(run.path / "wandb" / "history.jsonl", '[1]\n{"_step": "x"}\n'),
    "outbox_line_is_cut_off": lambda run: _write(run.path / "wandb" / "history.jsonl", '{"_step": 1, "trai'),
    "provenance_is_no_json": lambda run: _write(run.provenance, "{"),
    "provenance_of_another_type": lambda run: _write(run.provenance, '{"data": [1], "git": {"commit": 5}}'),
    "result_of_another_type": lambda run: _write(run.result, '{"metrics": 5, "diagnosis": "x", "baseline": 1}'),
    "attempts_of_another_type": lambda run: _write(run.attempts, '{"event": "started", "time": 5}\n[]\nx\n'),
    "settings_of_another_type": lambda run: _write(
        run.path / "wandb" / "logged" / "settings.jsonl", '{"config": 5}\n{"other": {}}\n[]\nx\n'
    ),
}
"""Damage of what follows from other files, or of facts that may be missing."""


def copies(run: RunFolder, damages: dict[str, Damage]) -> list[RunFolder]:
    """A damaged copy of a run for each kind of damage."""
    damaged = []
    for name, damage in damages.items():
        copy = RunFolder(run.path.with_name(name))
        shutil.copytree(run.path, copy.path)
        damage(copy)
        damaged.append(copy)
    return damaged


@pytest.mark.slow
def test_each_damaged_run_has_its_line(run: RunFolder, wandb_server: FakeWandb) -> None:
    damaged = copies(run, REFUSED)
    *bad, good = sync(*damaged, run)
    assert [done.run.name for done in bad if str(done.run.path) not in done.problem] == []
    assert all(done.problem.isprintable() for done in bad)
    assert good.problem == ""
    check(run, wandb_server)
    assert len(wandb_server.rows) == 1


@pytest.mark.slow
def test_slightly_damaged_runs_are_uploaded(run: RunFolder, wandb_server: FakeWandb) -> None:
    for done in sync(*copies(run, REPAIRED)):
        assert (done.run.name, done.problem) == (done.run.name, "")
        check(done.run, wandb_server)


@pytest.mark.slow
def test_damaged_outbox_of_a_sent_run_is_made_again(run: RunFolder, wandb_server: FakeWandb) -> None:
    sync(run)
    first = WandbRecord.of(run.path).id
    for number, damage in enumerate([damage for name, damage in REPAIRED.items() if name.startswith("outbox")]):
        damage(run)
        log(run, number + 1, 31 + 10 * number, 40 + 10 * number)
        assert sync(run)[0].problem == ""
        check(run, wandb_server)
    assert WandbRecord.of(run.path).id == first


def test_deleted_run_is_uploaded_again(run: RunFolder, wandb_server: FakeWandb) -> None:
    sync(run)
    first = WandbRecord.of(run.path)
    wandb_server.delete(first.id)
    assert sync(run)[0].problem == ""
    check(run, wandb_server)
    assert WandbRecord.of(run.path).replaces == [first.url]


def test_unusual_values_of_the_configuration_arrive(run: RunFolder, wandb_server: FakeWandb) -> None:
    with run.config.open("a") as file:
        file.write("notes: {limit: .inf, missing: .nan, day: 2026-01-01}\n")
    assert sync(run)[0].problem == ""
    notes = wandb_server.run(WandbRecord.of(run.path).id)["config"]["notes"]
    assert notes == {"limit": "Infinity", "missing": "NaN", "day": "2026-01-01"}


def log_files(run: RunFolder, *names: str) -> None:
    """Log rows that refer to files, as ``wandb.log`` of an image does."""
    lines = [{"attempt": 0, "from_step": 0}]
    lines += [{"step": n, "time": 1.0, "x": {"_type": "file", "path": name}} for n, name in enumerate(names, start=1)]
    _write(run.path / "wandb" / "logged" / "attempt-000.jsonl", "".join(json.dumps(line) + "\n" for line in lines))


def test_file_outside_of_the_run_is_not_uploaded(run: RunFolder, wandb_server: FakeWandb, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("key")
    files = run.path / "wandb" / "files"
    _write(files / "own.txt", "own")
    (files / "link").symlink_to(tmp_path / "secret")
    log_files(run, str(tmp_path / "secret"), "../../../../secret", "link", "own.txt")
    assert sync(run)[0].problem == ""
    assert wandb_server.files == {"own.txt": b"own"}


def test_refused_file_does_not_keep_the_rows_back(run: RunFolder, wandb_server: FakeWandb) -> None:
    for name in ("a.mp4", "b.png"):
        _write(run.path / "wandb" / "files" / name, name)
    log_files(run, "a.mp4", "b.png")
    wandb_server.refused_files = {"a.mp4"}
    problem = "W&B does not have the file a.mp4: the server refused with status 403: not this file"
    for _ in range(2):
        done = sync(run)[0]
        assert done.problem.startswith(problem)
        assert (done.proof.received, done.proof.problem) == (30, "")
        assert wandb_server.files == {"b.png": b"b.png"}
    wandb_server.refused_files.clear()
    assert sync(run)[0].problem == ""
    assert set(wandb_server.files) == {"a.mp4", "b.png"}
    requests = wandb_server.requests.total()
    assert sync(run)[0].problem == ""
    assert wandb_server.requests.total() == requests + 1
    assert wandb_server.duplicates(WandbRecord.of(run.path).id) == 0


@pytest.mark.slow
def test_copied_runs_that_went_on_are_runs_of_their_own(run: RunFolder, wandb_server: FakeWandb) -> None:
    sync(run)
    lengths = {"shorter": 5, "as_long": 10, "longer": 30}
    others = copies(run, {name: lambda copy, n=n: log(copy, 1, 31, 30 + n) for name, n in lengths.items()})
    log(run, 1, 31, 40)
    for _ in range(2):
        for done in sync(run, *others):
            assert (done.run.name, done.problem) == (done.run.name, "")
            check(done.run, wandb_server)
    assert len(wandb_server.rows) == 4


def test_copy_on_another_machine_is_recognized_by_its_rows(
    run: RunFolder, wandb_server: FakeWandb, tmp_path: Path
) -> None:
    copy = RunFolder(tmp_path / "runs" / "copy")
    sync(run)
    shutil.copytree(run.path, copy.path)
    hidden = run.path.rename(tmp_path / "elsewhere")
    WandbRecord.of(copy.path)
    hidden.rename(run.path)
    log(run, 1, 31, 40)
    sync(run)
    for step in range(31, 51):  # at other times
        with (copy.journal / "attempt-001.jsonl").open("a") as file:
            header = json.dumps({"from_step": 30}) + "\n" if step == 31 else ""
            file.write(header + json.dumps({"step": step, "epoch": 0, "time": 9e9 + step, "train/loss": 7.0}) + "\n")
    for _ in range(2):
        assert [done.problem for done in sync(copy, run)] == ["", ""]
    check(run, wandb_server)
    check(copy, wandb_server)


def test_moved_run_stays_the_same(run: RunFolder, wandb_server: FakeWandb, tmp_path: Path) -> None:
    sync(run)
    first = WandbRecord.of(run.path).id
    moved = RunFolder(run.path.rename(tmp_path / "moved"))
    log(moved, 1, 31, 40)
    sync(moved)
    check(moved, wandb_server)
    assert WandbRecord.of(moved.path).id == first


@pytest.mark.slow
def test_unreachable_server_is_waited_for_once(
    run: RunFolder, wandb_server: FakeWandb, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # not listening
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{unused.getsockname()[1]}")
        forget_settings()
        monkeypatch.setattr(SharedPatience, "UNREACHED_S", 3)
        monkeypatch.setattr(SharedPatience, "FIRST_WAIT_S", 0.1)
        started = time.monotonic()
        done = sync(*[run] * 8)
        assert time.monotonic() - started < 8 * 3, "not one after the other"
    assert all("cannot be reached (" in one.problem and "efused" in one.problem for one in done)


@pytest.mark.parametrize("url", ["wandb.example.org", "htp://host", "http://host:99999", "http://[::1"])
def test_invalid_address_is_named(wandb_server: FakeWandb, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", url)
    forget_settings()
    with pytest.raises(NoCredentials) as caught:
        account()
    assert str(caught.value).startswith("WANDB_BASE_URL, or base_url in W&B's settings file, is not valid: ")
    assert url in str(caught.value)
    assert caught.value.remedy == "correct it, or unset it"
