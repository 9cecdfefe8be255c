"""``hpc-dl tag``, ``note``: in the run folder, shown and selected by ``status`` and ``results``."""

import os
from pathlib import Path

import pytest

from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import write_state
from tests.cli.conftest import HpcDl


@pytest.fixture
def names(hpc_dl: HpcDl) -> list[str]:
    """Two finished runs."""
    runs = [RunFolder.create(Path("runs"), "x") for _ in range(2)]
    for number, run in enumerate(runs):
        run.config.write_text(f"name: x\nseed: {number}\n")
        run.result.write_text('{"metrics": {"val/loss": 0.5}}')
        write_state(run, "finished")
    return [run.name for run in runs]


@pytest.mark.slow
@pytest.mark.parametrize("command", ["status", "results"])
def test_tags_and_notes_are_shown_and_selected(hpc_dl: HpcDl, names: list[str], command: str) -> None:
    assert "tags" not in hpc_dl(command).out
    assert hpc_dl("tag", names[0], "good", "v1.0", "good").err == f"{names[0]}: good, v1.0\n"
    hpc_dl("tag", names[0], "good")
    hpc_dl("note", names[0], "before\x1b[2J the change")
    header, first, *_ = (text := hpc_dl(command).out).splitlines()
    assert header.split()[:3] == ["run", "state", "tags"] and "  good, v1.0  " in first
    assert f"\n\n{names[0]}: before\\x1b[2J the change\n" in text
    assert [row["run"] for row in hpc_dl(command, "--where", "tags=good", "--json").json] == names[:1]
    assert hpc_dl("tag", "--remove", names[0], "good", "other").err == f"{names[0]}: v1.0\n"
    hpc_dl("note", names[0], "")
    (row,) = hpc_dl(command, "--where", "tags!=good", "--where", "seed=0", "--json").json
    assert row["tags"] == ["v1.0"] and "note" not in row


@pytest.mark.parametrize("tag", ["", "-x", "two words", "a,b", "x" * 41, "\x1b"])
def test_invalid_tags_and_notes_are_refused(hpc_dl: HpcDl, names: list[str], tag: str) -> None:
    answer = hpc_dl("tag", names[0], "--", "good", tag)
    assert answer.status == 2 and "TAG: cannot be a tag" in answer.err
    assert "TEXT: is too long" in hpc_dl("note", names[0], "x" * 1001).err
    assert not (Path("runs") / names[0] / "labels.json").exists()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"tags": "x", "note": ""}', '{"tags": [1], "note": ""}'])
def test_damaged_labels_are_not_shown_and_not_replaced(hpc_dl: HpcDl, names: list[str], content: str) -> None:
    file = Path("runs") / names[0] / "labels.json"
    file.write_text(content)
    assert hpc_dl("status").status == 0
    answer = hpc_dl("tag", names[0], "good")
    assert answer.status == 2 and "is damaged" in answer.err and file.read_text() == content


def test_runs_of_others_are_not_labeled(hpc_dl: HpcDl, names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    for command in (["tag", names[0], "good"], ["note", names[0], "text"], ["remove", names[0], "--yes"]):
        answer = hpc_dl(*command)
        assert answer.status == 2 and "belongs to" in answer.err and len(answer.err.splitlines()) == 1
    assert not (Path("runs") / names[0] / "labels.json").exists()
