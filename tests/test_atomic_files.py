"""Atomic writes of text and JSON files."""

import json
import os
from pathlib import Path

import pytest

from hpc_dl.atomic_files import write_json, write_text
from hpc_dl.regular_files import read_json


def test_write_replaces_the_file_and_leaves_no_others(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    write_text(path, "größer\n")
    assert path.read_text(encoding="utf-8") == "größer\n"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a", "")
        (tmp_path / "b").write_text("")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "half of it \ud800")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_failed_rename_leaves_no_files(tmp_path: Path) -> None:
    folder = tmp_path / "is-a-folder"
    folder.mkdir()
    with pytest.raises(OSError):
        write_text(folder, "x")
    assert os.listdir(tmp_path) == ["is-a-folder"]


def test_json_round_trip_without_nan(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    assert read_json(path) is None
    write_json(path, {"b": [1, 2.5, None], "a": "ä"})
    assert read_json(path) == {"b": [1, 2.5, None], "a": "ä"} == json.loads(path.read_text())
    write_json(path, {"a": {"b": (float("nan"), [float("-inf")])}})  # such as a metric of a model that diverged
    assert read_json(path) == {"a": {"b": ["nan", ["-inf"]]}}
    assert os.listdir(tmp_path) == ["a.json"]
