"""Shell completion, as bash requests it."""

import json
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


COMPLETIONS: list[tuple[list[str], list[str]]] = [
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
    (["models", ""], models.names()),
]

#: Completes each of several lines of words, as bash requests it, and prints what was imported.
_COMPLETE = """
import contextlib, io, json, os, sys
from hpc_dl.cli.main import main
sys.argv = ["hpc-dl"]
os.environ["_HPC_DL_COMPLETE"] = "complete_bash"
completions = []
for words in json.loads(sys.stdin.read()):
    os.environ |= {"COMP_WORDS": " ".join(["hpc-dl", *words]), "COMP_CWORD": str(len(words))}
    with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.suppress(SystemExit):
        main()
    completions.append(printed.getvalue().split())
print(json.dumps([completions, [*sys.modules]]))
"""


def test_completions(folder: Path) -> None:
    """All in one process, because Python's start takes longer than a completion."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HPC_DL_")}
    words = [words for words, _ in COMPLETIONS]
    completed = subprocess.run(
        [sys.executable, "-c", _COMPLETE], cwd=folder, env=environment | {"PYTHONPATH": str(PROJECT)},
        input=json.dumps(words), capture_output=True, text=True,
    )  # fmt: skip
    assert completed.stderr == ""
    found, imported = json.loads(completed.stdout)
    assert list(zip(words, found, strict=True)) == COMPLETIONS
    assert not set(imported) & {"torch", "pytorch_lightning", "h5py", "numpy"}


def test_bash_gets_one_line_for_each_completion(folder: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HPC_DL_")} | {
        "PYTHONPATH": str(PROJECT), "_HPC_DL_COMPLETE": "complete_bash",
        "COMP_WORDS": "hpc-dl status cnn", "COMP_CWORD": "2",
    }  # fmt: skip
    code = "import sys; sys.argv = ['hpc-dl']; from hpc_dl.cli.main import main; main()"
    completed = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert (completed.stdout.splitlines(), completed.stderr) == (["cnn-b-2f", "cnn-a-1f"], "")


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
