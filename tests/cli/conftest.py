"""Fixtures that run the command line in this process."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from hpc_dl.cli.main import main
from tests import experiments


class CommandResult(NamedTuple):
    """Exit status and output of a command."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)


HpcDl = Callable[..., CommandResult]


@pytest.fixture
def hpc_dl(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> HpcDl:
    """Run ``hpc-dl ARGUMENTS`` in an empty folder, outside of any Slurm job."""
    for name in ("HPC_DL_RUNS", "HPC_DL_DATA", "HPC_DL_SITE", "HPC_DL_SITES", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object) -> CommandResult:
        monkeypatch.setattr(sys, "argv", ["hpc-dl", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as exit_info:
            main()
        out, err = capfd.readouterr()
        return CommandResult(int(exit_info.value.code or 0), out, err)

    return run


@pytest.fixture(scope="session")
def image_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 / 13 / 11 images of 1 × 8 × 8 bytes in three classes."""
    return experiments.classification_file(tmp_path_factory.mktemp("images"))


@pytest.fixture
def config(tmp_path: Path, image_file: Path) -> Callable[..., Path]:
    """Write ``tiny.yaml``, a small experiment in which the given sections are replaced."""
    from hpc_dl.config import yaml

    def write(**sections: Any) -> Path:
        path = tmp_path / "tiny.yaml"
        path.write_text(yaml.dumps(experiments.raw(image_file, **sections)))
        return path

    return write
