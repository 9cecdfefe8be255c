"""Files are there whole or not at all."""

import json
import os
from pathlib import Path

import pytest

from hpc_dl.atomic_files import read_json, write_json, write_text


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    write_text(path, "größer\n")
    assert path.read_text(encoding="utf-8") == "größer\n"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_its_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a", "")
        (tmp_path / "b").write_text("")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "half of it \ud800")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_failing_rename_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = tmp_path / "is-a-folder"
    folder.mkdir()
    with pytest.raises(OSError):
        write_text(folder, "x")
    assert os.listdir(tmp_path) == ["is-a-folder"]


def test_json_is_strict_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    assert read_json(path) is None
    write_json(path, {"b": [1, 2.5, None], "a": "ä"})
    assert read_json(path) == {"b": [1, 2.5, None], "a": "ä"} == json.loads(path.read_text())
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert read_json(path) == {"b": [1, 2.5, None], "a": "ä"}
    assert os.listdir(tmp_path) == ["a.json"]
