"""Commands that read runs while a network file system fails, once or for longer."""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from hpc_dl import regular_files
from tests.cli.conftest import HpcDl
from tests.cli.test_damaged_runs import finished_run

Fail = Callable[[Path, int, int], None]


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch) -> Fail:
    """A function that lets the next reads of a file fail, as NFS does when its server restarts."""
    failures: dict[Path, list[int]] = {}
    read = regular_files._read_once

    def read_or_fail(path: Path, most: int) -> bytes:
        if failures.get(path.absolute()):
            raise OSError(failures[path.absolute()].pop(), "a network failure", str(path))
        return read(path, most)

    def fail(path: Path, number: int, times: int) -> None:
        failures[path.absolute()] = [number] * times

    monkeypatch.setattr(regular_files, "_read_once", read_or_fail)
    return fail


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO])
def test_one_failed_read_is_repeated(hpc_dl: HpcDl, fail: Fail, number: int) -> None:
    run = finished_run(Path("runs"), "first")
    fail(run.state, number, 1)
    result = hpc_dl("status", "--json")
    assert [(row["run"], row["state"]) for row in result.json] == [(run.name, "finished")]
    assert (result.status, result.err) == (0, "")


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO])
def test_lasting_failure_is_one_row_and_hides_no_other_run(hpc_dl: HpcDl, fail: Fail, number: int) -> None:
    run = finished_run(Path("runs"), "first")
    other = finished_run(Path("runs"), "second")
    fail(run.state, number, 100)
    result = hpc_dl("status", "--json")
    rows = {row["run"]: row for row in result.json}
    assert rows[other.name]["state"] == "finished"
    assert rows[run.name]["state"] != "finished" and "network failure" in rows[run.name]["reason"]
