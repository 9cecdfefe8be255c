"""Fixtures that validate configurations on small data files."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpc_dl.cli.main import main
from hpc_dl.config import yaml
from tests import experiments

Validate = Callable[..., tuple[int, list[str]]]


@pytest.fixture(scope="session")
def image_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 / 13 / 11 images of 1 × 8 × 8 bytes in three classes."""
    return experiments.classification_file(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="session")
def value_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 / 13 / 11 vectors of five features with one value to predict."""
    return experiments.regression_file(tmp_path_factory.mktemp("values"))


@pytest.fixture
def validate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Validate:
    """Run ``hpc-dl validate`` on a mapping or a YAML text with overrides.

    Returns the exit status and the lines on stderr.
    """

    def run(content: Any, *overrides: str) -> tuple[int, list[str]]:
        path = tmp_path / "bad.yaml"
        path.write_text(content if isinstance(content, str) else yaml.dumps(content))
        monkeypatch.setattr(sys, "argv", ["hpc-dl", "validate", str(path), *overrides])
        with pytest.raises(SystemExit) as exit_info:
            main()
        out, err = capsys.readouterr()
        status = int(exit_info.value.code or 0)
        assert status == 0 or out == "", "a fault was printed on stdout"
        return status, err.replace(f"{tmp_path}/", "").splitlines()

    return run
