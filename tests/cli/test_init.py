"""``hpc-dl init``: a new project, and nothing overwritten."""

from pathlib import Path

import pytest

from hpc_dl.cli.init import create_project
from hpc_dl.errors import ConfigError
from tests.cli.conftest import HpcDl

FILES = ["experiment.yaml", "my_model.py", "test_my_model.py", "site.yaml", "train.sbatch", "README.md", ".gitignore"]


def test_files_of_a_new_project(tmp_path: Path, hpc_dl: HpcDl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    status, _, messages = hpc_dl("init", "new/project")
    assert status == 0
    assert sorted(path.name for path in (tmp_path / "new" / "project").iterdir()) == sorted(FILES)
    assert "cd new/project" in messages and "hpc-dl train experiment.yaml" in messages
    status, facts, _ = hpc_dl("validate", "new/project/experiment.yaml", "model={name: mlp}")
    assert status == 0
    assert "1 × 8 × 8" in facts and "0, 1, 2, 3, 4, 5, 6, 7, 8, 9" in facts
    script = (tmp_path / "new" / "project" / "train.sbatch").read_text()
    assert "sbatch train.sbatch experiment.yaml" in script and "configs/" not in script


def test_existing_files_are_kept_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(ConfigError, match=r"already contains README\.md\. Choose another folder: hpc-dl init DIR"):
        create_project(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
    assert (tmp_path / "README.md").read_text() == "mine"


def test_folder_that_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot be written to: Not a directory"):
        create_project(tmp_path / "file" / "project")
