"""Provenance: everything is recorded, except secrets."""

import json
import subprocess
from pathlib import Path

import pytest

import hpc_dl
from hpc_dl.regular_files import read_json
from hpc_dl.runs import provenance
from tests import experiments
from tests.experiments import spec

SECRET = "0123456789abcdef0123456789abcdef01234567"
CODE = """
import pytorch_lightning, torch

class Model(pytorch_lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(64, 3)

    def training_step(self, batch, index):
        return torch.nn.functional.cross_entropy(self.layer(batch[0].flatten(1)), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)
"""


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git repository with one commit of the module ``own_code``, which can be imported."""
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "own_code.py").write_text(CODE)
    (folder / "notes.txt").write_text("none\n")
    git = ["git", "-C", str(folder), "-c", "user.name=T", "-c", "user.email=t@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *command], check=True)
    monkeypatch.syspath_prepend(folder)
    return folder


def head_of(folder: Path) -> str:
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_commit_is_that_of_the_code_not_of_the_current_folder(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository)
    package = Path(hpc_dl.__file__).parent
    state = provenance.collect([], spec())["git"]
    assert list(state) == ["hpc_dl"]
    assert (state["hpc_dl"] or {}).get("commit") == (head_of(package) if (package.parent / ".git").exists() else None)
    (repository / "own_code.py").write_text("x = 2\n")
    changed = provenance.git_state(repository / "own_code.py")
    assert changed is not None and changed["dirty"] and "+x = 2" in changed["diff"]


def test_code_that_is_not_committed_has_no_commit(repository: Path) -> None:
    installed = repository / ".venv" / "lib" / "package"  # a virtual environment inside of the repository
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("")
    assert provenance.git_state(installed) is None
    assert provenance.git_state(repository) is not None


def test_secrets_are_redacted_in_command_and_diff(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    monkeypatch.setenv("MY_GitHub_Token", "ghp_12345678")
    monkeypatch.setenv("DB_PASSWORD", "short")
    (repository / "own_code.py").write_text(f"x = 2\nkey = '{SECRET}'\ntoken = 'ghp_12345678'\n")
    record = provenance.collect(["hpc-dl", "train", f"wandb.project={SECRET}"], spec(), "own_code")
    text = json.dumps(record)
    assert SECRET not in text
    assert "ghp_12345678" not in text
    assert record["command"] == ["hpc-dl", "train", "wandb.project=<WANDB_API_KEY>"]
    assert "+key = '<WANDB_API_KEY>'" in record["git"]["own_code"]["diff"]
    assert "+token = '<MY_GitHub_Token>'" in record["git"]["own_code"]["diff"]
    assert "+x = 2" in record["git"]["own_code"]["diff"], "the rest of the diff is kept"


def test_collect_records_code_packages_and_data(repository: Path) -> None:
    record = provenance.collect(["hpc-dl", "train", "a.yaml"], spec(train=10, val=3), "own_code")
    state = {"repository": str(repository), "commit": head_of(repository), "dirty": False, "diff": ""}
    assert record["git"] == {"hpc_dl": provenance.git_state(Path(hpc_dl.__file__).parent), "own_code": state}
    assert record["hpc_dl"] == hpc_dl.__version__ and record["folder"] == str(Path.cwd())
    assert {"torch", "pytorch-lightning", "h5py", "wandb"} <= set(record["packages"])
    assert record["data"] == {
        "file": "/data/paper.h5", "name": "paper", "checksum": "sha256:0", "sizes": {"train": 10, "val": 3},
    }  # fmt: skip


def test_git_state_outside_of_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance.git_state(tmp_path) is None


def test_git_state_without_git(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.git_state(repository) is None


def test_user_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 54321)
    assert provenance.collect([], spec())["user"] == "54321"


def test_slurm_facts_exclude_other_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_JWT": SECRET, "HOME": "/root"}
    assert provenance.slurm_facts(environment) == {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4"}


def test_prepared_run_contains_no_secret(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    (repository / "notes.txt").write_text(f"key = '{SECRET}'\n")
    file = experiments.classification_file(tmp_path)
    run = experiments.prepared(tmp_path, experiments.raw(file, model={"class": "own_code.Model"}))
    for path in run.path.rglob("*"):
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes(), path
    assert "<WANDB_API_KEY>" in read_json(run.provenance)["git"]["own_code"]["diff"]
