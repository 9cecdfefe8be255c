"""Slurm's commands, replaced by scripts that print what a cluster answered."""

import shutil
import stat
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent


def use_cluster(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the commands of a recorded cluster on the PATH, and no other ones of Slurm.

    Args:
        name: ``slurm-NAME.txt`` next to this file: lines ``$ COMMAND``, each followed by its
            output. A command that is not there fails.
        folder: for the scripts.
        monkeypatch: changes the environment.
    """
    folder.mkdir(exist_ok=True)
    text = (FOLDER / f"slurm-{name}.txt").read_text()
    answers = [section.partition("\n") for section in text.split("\n$ ")[1:]]
    programs: dict[str, list[str]] = {}
    for number, (command, _, output) in enumerate(answers):
        answer = folder / f"answer-{number}"
        answer.write_text(output.rstrip("\n") + "\n" if output else "")
        program, *words = command.split()
        programs.setdefault(program, []).append(f'  *"{" ".join(words)}"*) cat {answer} ;;')
    for program, cases in programs.items():
        write_program(folder / program, "\n".join(['case "$*" in', *cases, "  *) exit 1 ;;", "esac"]))
    isolate(folder, monkeypatch)


def isolate(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave only the programs of a folder, and an environment of a login node with scratch."""
    for tool in ("cat", "sleep", "sh"):
        if not (folder / tool).exists() and (path := shutil.which(tool)):
            (folder / tool).symlink_to(path)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr("socket.gethostname", lambda: "login2.alpha.example")
    monkeypatch.setattr("hpc_dl.cluster.inspection.queries.user", lambda: "me")
    for name in ("LMOD_CMD", "MODULES_CMD", "LOADEDMODULES", "SLURM_CONF"):
        monkeypatch.delenv(name, raising=False)


def write_program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(stat.S_IRWXU)
