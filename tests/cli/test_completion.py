"""Shell completion, as bash requests it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hpc_dl import models

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate(["cnn-a-1f", "cnn-b-2f", "mlp-c-3f"]):
        (tmp_path / "runs" / name).mkdir(parents=True)
        config = tmp_path / "runs" / name / "config.yaml"
        config.write_text("")
        os.utime(config, (number, number))
    (tmp_path / "configs").mkdir()
    for name in ("cnn-digits.yaml", "cnn-dna.yaml", "notes.txt"):
        (tmp_path / "configs" / name).write_text("")
    (tmp_path / "own.yaml").write_text("")
    return tmp_path


def completions(folder: Path, *words: str) -> list[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HPC_DL_")}
    environment |= {
        "PYTHONPATH": str(PROJECT),
        "_HPC_DL_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(["hpc-dl", *words]),
        "COMP_CWORD": str(len(words)),
    }
    code = "import sys; sys.argv = ['hpc-dl']; from hpc_dl.cli.main import main; main()"
    completed = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code], cwd=folder, env=environment, capture_output=True, text=True
    )
    imported = {line.rpartition("|")[2].strip() for line in completed.stderr.splitlines()}
    assert "hpc_dl.cli.main" in imported
    assert not imported & {"torch", "pytorch_lightning", "h5py", "numpy"}
    assert [line for line in completed.stderr.splitlines() if not line.startswith("import time:")] == []
    return completed.stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["tr"], ["train"]),
        (["submit", "--dr"], ["--dry-run"]),
        (["train", "configs/cnn-d"], ["configs/cnn-digits.yaml", "configs/cnn-dna.yaml"]),
        (["train", "./configs/cnn-dn"], ["./configs/cnn-dna.yaml"]),
        (["train", "o"], ["own.yaml"]),
        (["train", "c"], ["configs/cnn-digits.yaml", "configs/cnn-dna.yaml"]),
        (["status", "cnn"], ["cnn-b-2f", "cnn-a-1f"]),
        (["cancel", "cnn-a-1f", "l"], ["latest"]),
        (["results", "--runs", "none", "c"], []),
        (["models", "mlp"], ["mlp"]),
        (["data", "make", "fashion"], ["fashion_mnist"]),
        (["data", "inspect", "digit"], ["digits"]),
    ],
    ids=" ".join,
)
def test_completions(folder: Path, words: list[str], expected: list[str]) -> None:
    assert completions(folder, *words) == expected


def test_all_models_are_completed(folder: Path) -> None:
    assert completions(folder, "models", "") == models.names()


@pytest.mark.slow
def test_invalid_site_completes_nothing(folder: Path) -> None:
    environment = os.environ | {
        "PYTHONPATH": str(PROJECT), "HPC_DL_SITE": "no-such-site", "_HPC_DL_COMPLETE": "complete_bash",
        "COMP_WORDS": "hpc-dl status c", "COMP_CWORD": "2",
    }  # fmt: skip
    code = "import sys; sys.argv = ['hpc-dl']; from hpc_dl.cli.main import main; main()"
    completed = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert (completed.stdout.strip(), completed.stderr) == ("", "")
