"""The command line, run in this process."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from hpc_dl.cli.main import main
from tests import experiments


class Answer(NamedTuple):
    """What a command answered."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on stdout."""
        return json.loads(self.out)


HpcDl = Callable[..., Answer]


@pytest.fixture
def hpc_dl(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> HpcDl:
    """``hpc-dl WORDS`` in an empty folder, outside of any job."""
    for name in ("HPC_DL_RUNS", "HPC_DL_DATA", "HPC_DL_SITE", "HPC_DL_SITES", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["hpc-dl", *map(str, words)])
        capfd.readouterr()
        try:
            main()
            status = 0
        except SystemExit as ended:
            status = int(ended.code or 0)
        out, err = capfd.readouterr()
        return Answer(status, out, err)

    return run


@pytest.fixture(scope="session")
def image_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 / 13 / 11 images of 1 × 8 × 8 bytes in three classes."""
    return experiments.classification_file(tmp_path_factory.mktemp("images"))


@pytest.fixture
def config(tmp_path: Path, image_file: Path) -> Callable[..., Path]:
    """Writes ``tiny.yaml``, with sections laid over the usual ones."""
    from hpc_dl.config import yaml

    def write(**sections: Any) -> Path:
        path = tmp_path / "tiny.yaml"
        path.write_text(yaml.dumps(experiments.raw(image_file, **sections)))
        return path

    return write
