"""``hpc-dl disk``: sizes agree with the files, and what can go is named with its command."""

import os
from pathlib import Path

import pytest

from hpc_dl.runs.folder import CODE_STORE, RunFolder
from hpc_dl.runs.state import write_state
from tests.cli.conftest import HpcDl

BLOCKS = 64  # of 4096 bytes, in a large file


def large_file(path: Path, blocks: int = BLOCKS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(4096 * blocks))
    return path


def occupied(*paths: Path) -> int:
    return sum(512 * path.lstat().st_blocks for path in paths)


@pytest.fixture
def runs(hpc_dl: HpcDl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[RunFolder]:
    """A finished run, a failed one that shares a checkpoint with it, and a cache."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("HF_HOME", "TORCH_HOME", "PIP_CACHE_DIR", "WANDB_CACHE_DIR", "APPTAINER_CACHEDIR"):
        monkeypatch.delenv(name, raising=False)
    folders = [RunFolder.create(Path("runs"), name) for name in ("good", "bad")]
    for run, state in zip(folders, ("finished", "failed"), strict=True):
        run.config.write_text("seed: 0\ndata: {file: /data/own.h5}\n")
        write_state(run, state)  # type: ignore[arg-type]
    shared = large_file(folders[0].checkpoints / "best-1.ckpt")
    os.link(shared, folders[1].checkpoints / "best-1.ckpt")
    (folders[0].checkpoints / "best.ckpt").symlink_to("best-1.ckpt")
    large_file(folders[1].log(0), 2 * BLOCKS)
    large_file(Path("runs") / CODE_STORE / "abc" / "hpc_dl" / "x.py")
    large_file(tmp_path / "home" / ".cache" / "torch" / "hub" / "weights.pth")
    return folders


def test_sizes_are_those_of_the_files(hpc_dl: HpcDl, runs: list[RunFolder], tmp_path: Path) -> None:
    report = hpc_dl("disk", "--json").json
    good, bad = runs
    link = good.checkpoints / "best.ckpt"
    assert report["parts"]["runs: checkpoints"] == {
        "bytes": occupied(good.checkpoints / "best-1.ckpt", link),
        "files": 2,
    }, "a file with two names counts once"
    assert report["parts"]["runs: logs"] == {"bytes": occupied(bad.log(0)), "files": 1}
    assert report["parts"]["code of the runs"]["bytes"] >= 4096 * BLOCKS
    assert report["caches"] == {str(tmp_path / "home/.cache/torch"): {"bytes": 4096 * BLOCKS, "files": 1}}
    assert [(row["run"], row["state"]) for row in report["runs"]] == [(bad.name, "failed"), (good.name, "finished")]
    (can_go,) = report["can_go"]
    assert (can_go["what"], can_go["command"]) == ("1 run without a result", f"hpc-dl remove {bad.name}")
    assert can_go["bytes"] == report["runs"][0]["bytes"]


def test_data_that_no_run_uses_can_go(hpc_dl: HpcDl, runs: list[RunFolder]) -> None:
    for name in ("digits", "iris", "own"):
        large_file(Path("data") / f"{name}.h5")
    runs[0].config.write_text(f"seed: 0\ndata: {{file: {Path('data/iris.h5').absolute()}}}\n")
    answer = hpc_dl("disk", "--data", "data")
    assert answer.status == 0, answer.err
    lines = [line for line in answer.out.splitlines() if line.startswith("Can go: ")]
    assert len(lines) == 2 and lines[0].startswith("Can go: 1 run without a result (")
    assert lines[1] == (
        "Can go: 1 data set that no run uses and `hpc-dl data make` can make again (0.3 MB): rm data/digits.h5"
    )
    assert "data files" in answer.out and "cache: " in answer.out
    runs[1].config.write_text("damaged: [")
    assert "digits" not in hpc_dl("disk", "--data", "data").out, "the damaged run may use it"


def test_unreadable_and_empty_folders(hpc_dl: HpcDl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    answer = hpc_dl("disk", "--runs", "none", "--data", "nothing")
    assert answer.status == 0 and answer.out.startswith("There are no runs in ")
