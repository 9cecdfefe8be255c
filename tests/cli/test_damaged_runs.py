"""Commands that read runs, beside a run folder that is damaged or unreadable."""

import contextlib
import json
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hpc_dl.atomic_files import write_json
from hpc_dl.runs import attempts
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import read_state, write_state
from hpc_dl.tracking.journal import JournalWriter
from tests.cli.conftest import HpcDl

_NOBODY = 65534
_VALUES = (None, [], {}, 0, -1, 1e400, 10**40, "x", "\ud800", ["x"], {"state": "finished"}, True, "x" * 10_000)


def finished_run(runs: Path, name: str) -> RunFolder:
    """A run with every file that commands read, as a training leaves it."""
    run = RunFolder.create(runs, name)
    run.config.write_text("name: x\n")
    write_json(run.provenance, {"command": ["hpc-dl"], "data": {"checksum": "sha256:0", "sizes": {"train": 1}}})
    write_json(run.job, {"launcher": "train", "pid": 1, "process_started": 1.0, "host": "h", "submitted": "2026-01-01"})
    write_json(run.timings, {"lead_s": 20.0, "boundary_s": 0.5, "checkpoint_s": 0.1})
    journal = JournalWriter(run.journal, 0)
    for step in range(4):
        journal.write({"train/loss": 1.0 / (step + 1), "val/loss": float("nan")}, step, epoch=step)
    journal.close()
    attempts.record(run, "ended", attempt=0, state="finished", seconds=1.5)
    run.log(0).write_text("first line\nlast line\n")
    run.lock.write_text("h 12\n")
    metrics = {"val/acc": 0.5, "test/acc": 0.25}
    write_json(run.result, {"run": run.name, "dir": str(run.path), "state": "finished", "metrics": metrics, "steps": 4})
    write_state(run, "finished", step=4)
    return run


def flip_bits(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(chance.randint(1, 4) if content else 0):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def truncate(path: Path, chance: random.Random) -> None:
    os.truncate(path, chance.randrange(path.stat().st_size + 1))


def replace_json(path: Path, chance: random.Random) -> None:
    """Put a value of another type somewhere into a JSON file or into a line of one."""
    *lines, last = path.read_text(errors="replace").split("\n") if path.suffix == ".jsonl" else ["", path.read_text()]
    try:
        content = json.loads(chance.choice(lines) or last)
    except ValueError:
        content = {}
    value = chance.choice(_VALUES)
    if isinstance(content, dict) and content and chance.random() < 0.8:
        content[chance.choice(list(content))] = value
    else:
        content = value
    path.write_text("\n".join([*lines[:2], json.dumps(content), "{}\n"]))


def remove(path: Path, chance: random.Random) -> None:
    path.unlink()


def to_folder(path: Path, chance: random.Random) -> None:
    path.unlink()
    path.mkdir()


def to_fifo(path: Path, chance: random.Random) -> None:
    path.unlink()
    os.mkfifo(path)


def to_link(path: Path, chance: random.Random) -> None:
    path.unlink()
    path.symlink_to(chance.choice([path, "/dev/zero", "nowhere", "/proc/self/mem", ".."]))


def enlarge(path: Path, chance: random.Random) -> None:
    os.truncate(path, 1 << 40)


def garbage(path: Path, chance: random.Random) -> None:
    path.write_bytes(
        chance.choice([b"", b"[" * 50_000, b"\xff\xfe{}", b"NaN\n", b'{"a":' * 5000, chance.randbytes(500)])
    )


DAMAGES: list[Callable[[Path, random.Random], None]] = [
    flip_bits, truncate, replace_json, replace_json, remove, to_folder, to_fifo, to_link, enlarge, garbage,
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(int(os.environ.get("DAMAGED_RUNS", "10"))))
def test_any_damage_leaves_the_other_runs_visible(hpc_dl: HpcDl, seed: int) -> None:
    chance = random.Random(seed)
    runs = Path("runs")
    intact = [finished_run(runs, "first"), finished_run(runs, "second")]
    for number in range(3):
        run = finished_run(runs, f"damaged{number}")
        own = chance.choice(["finished", "running", "stopped", "failed", "created"])
        write_state(run, own, step=3, reason="because")  # type: ignore[arg-type]
        write_json(run.cancelled, {"by": "me", "time": "2026-01-01"})
        files = [path for path in run.path.rglob("*") if path.is_file()]
        for path in chance.sample(files, chance.choice([1, 1, 2, len(files)])):
            chance.choice(DAMAGES)(path, chance)
    for command in (["status"], ["results"], ["status", "--json"], ["results", "--json"]):
        answer = hpc_dl(*command)
        assert answer.status == 0, answer.err
        assert "Traceback" not in answer.err
        for run in intact:
            assert run.name in answer.out
        if "--json" in command:
            facts = {row["run"]: row for row in answer.json}
            assert all(facts[run.name]["state"] == "finished" for run in intact)
            assert all(row["state"] != "unreadable" or row["reason"] for row in facts.values())
    for number in range(3):
        for command in (["logs", f"damaged{number}"], ["status", f"damaged{number}"], ["cancel", f"damaged{number}"]):
            answer = hpc_dl(*command)
            assert "Traceback" not in answer.err
            if answer.status:
                assert answer.err.count("\n") == 1, answer.err


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("job.json", "", "job.json: is damaged: it is not JSON"),
        ("job.json", "[]", "job.json: is damaged: it holds no keys (got [])"),
        ("job.json", '{"host": "h"}', "job.json: is damaged: it names neither a Slurm job nor a process"),
        ("job.json", '{"host": "h", "job_id": "--help"}', "`job_id` is invalid (got '--help')"),
        ("result.json", "[1]", "result.json: is damaged"),
        ("result.json", '{"metrics": [1]}', "`metrics` is invalid"),
        ("state.json", '{"state": "asleep"}', "`state` is invalid (got 'asleep')"),
        ("state.json", '{"state": "finished", "step": "4"}', "`step` is invalid (got '4')"),
        ("journal/attempt-000.jsonl", "[]\n", "attempt-000.jsonl, line 1: is damaged"),
        ("layout", "3\n", "another version"),
    ],
)
def test_reason_names_the_file_and_what_is_wrong(hpc_dl: HpcDl, name: str, content: str, reason: str) -> None:
    run = finished_run(Path("runs"), "x")
    (run.path / name).write_text(content)
    (facts,) = hpc_dl("status", "--json").json
    assert reason in facts["reason"]
    assert "\n" not in facts["reason"]


def test_damaged_journal_hides_neither_state_nor_metrics(hpc_dl: HpcDl) -> None:
    run = finished_run(Path("runs"), "x")
    (run.journal / "attempt-000.jsonl").write_text("x\n")
    (facts,) = hpc_dl("results", "--json").json
    assert (facts["state"], facts["metrics"]["test/acc"], facts["step"]) == ("finished", 0.25, 4)


@contextlib.contextmanager
def as_someone_else() -> Iterator[None]:
    """Lose root's access to other people's files, if we have it."""
    if os.geteuid():
        yield
        return
    os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def shared_runs() -> Iterator[Path]:
    """A folder of runs that others can reach, unlike pytest's."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("part", ["", "state.json", "result.json", "journal", "journal/attempt-000.jsonl", "logs"])
def test_colleagues_private_files(hpc_dl: HpcDl, shared_runs: Path, part: str) -> None:
    run, other = finished_run(shared_runs, "private"), finished_run(shared_runs, "open")
    path = run.path / part
    path.chmod(0)
    with as_someone_else():
        rows = {row["run"]: row for row in hpc_dl("status", "--json", "--runs", shared_runs).json}
        results = hpc_dl("results", "--runs", shared_runs)
        named = hpc_dl("logs", "latest", "--runs", shared_runs)
    assert rows[other.name]["state"] == "finished"
    assert other.name in results.out and results.status == 0
    if part != "logs":
        assert "ermission denied" in rows[run.name]["reason"]
        assert named.status == 0  # `latest` is one that can be read
    path.chmod(0o755)


def test_lost_and_found_is_no_run(hpc_dl: HpcDl, shared_runs: Path) -> None:
    finished_run(shared_runs, "x")
    (shared_runs / "lost+found").mkdir(mode=0)
    (shared_runs / "baselines").mkdir()
    with as_someone_else():
        assert len(hpc_dl("status", "--json", "--runs", shared_runs).json) == 1


def test_full_disk_leaves_an_honest_state(hpc_dl: HpcDl, monkeypatch: pytest.MonkeyPatch) -> None:
    run = finished_run(Path("runs"), "x")
    write_state(run, "running", step=3)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.mkstemp", full)
    write_state(run, "failed", reason="No space left on device")
    assert (read_state(run)["state"], read_state(run)["reason"]) == ("failed", "No space left on device")
