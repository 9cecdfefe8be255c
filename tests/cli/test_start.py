"""What every command has in common: light help, exit status 2 for a mistake, never a traceback."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import hpc_dl as package
from hpc_dl import models
from tests.cli.conftest import HpcDl

PROJECT = Path(__file__).parents[2]
COMMANDS = (
    *("train", "submit", "rehearse", "status", "logs", "cancel", "resume"),
    *("results", "validate", "models", "data"),
)

_HELP_OF_ALL = """
import contextlib, io, json, sys
from hpc_dl.cli.main import app

COMMANDS, HEAVY = json.loads(sys.argv[1])
statuses, texts, heavy = {}, {}, {}
for words in [[], *[[name] for name in COMMANDS], ["data", "make"], ["data", "list"], ["models"]]:
    sys.argv = ["hpc-dl", *words, "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            app()
        except SystemExit as ended:
            statuses[" ".join(words)] = ended.code
    texts[" ".join(words)] = out.getvalue()
    heavy[" ".join(words)] = [name for name in HEAVY if name in sys.modules]
sys.argv = ["hpc-dl", "models"]
with contextlib.redirect_stdout(io.StringIO()):
    try:
        app()
    except SystemExit:
        pass
heavy["models, the list"] = [name for name in HEAVY if name in sys.modules and name != "rich"]
print(json.dumps([statuses, texts, heavy]))
"""


def test_help_is_light_and_complete() -> None:
    heavy = ["torch", "pytorch_lightning", "h5py", "wandb", "numpy", "submitit", "torchmetrics", "pydantic", "ruamel"]
    done = subprocess.run(
        [sys.executable, "-c", _HELP_OF_ALL, json.dumps([COMMANDS, heavy])],
        capture_output=True, text=True, cwd=PROJECT, check=True,
    )  # fmt: skip
    statuses, texts, imported = json.loads(done.stdout)
    assert set(statuses.values()) == {0}
    assert {words: names for words, names in imported.items() if set(names) - {"pydantic", "ruamel"}} == {}
    assert imported[""] == [], "the first --help of all"
    for name in COMMANDS:
        assert f"\n  {name}" in texts[""]
    for name in ("train", "validate", "status", "results"):
        assert "--json" in texts[name]


def test_version(hpc_dl: HpcDl) -> None:
    assert hpc_dl("--version") == (0, f"hpc_dl {package.__version__}\n", "")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["validate", "none.yaml"], "hpc-dl: none.yaml: no such file\n"),
        (["validate", "."], "hpc-dl: .: is a folder. Name the YAML file in it\n"),
        (["train", "none.yaml"], "hpc-dl: none.yaml: no such file\n"),
        (["submit", "none.yaml"], "hpc-dl: none.yaml: no such file\n"),
        (
            ["models", "nosuch"],
            "hpc-dl: NAME: no such architecture (got 'nosuch'; allowed: {models})\n",
        ),
        (
            ["models", "cnnn"],
            "hpc-dl: NAME: no such architecture (got 'cnnn'; allowed: {models}). Did you mean 'cnn'?\n",
        ),
        (["status", "nosuch"], "hpc-dl: nosuch: no such run in {here}/runs (allowed: a run's name,"),
        (["logs", "latest"], "hpc-dl: latest: no such run in {here}/runs (allowed: a run's name,"),
        (["cancel", "nosuch"], "hpc-dl: nosuch: no such run in {here}/runs (allowed: a run's name,"),
        (
            ["results", "nosuch", "--runs", "other"],
            "hpc-dl: nosuch: no such run in {here}/other (allowed: a run's name,",
        ),
        (["resume", "nosuch"], "hpc-dl: nosuch: no such run in {here}/runs (allowed: a run's name,"),
        (["rehearse", "none.yaml"], "hpc-dl: none.yaml: no such file\n"),
        (["train"], "Missing argument 'CONFIG'"),
        (["nosuch"], "No such command 'nosuch'"),
        (["train", "a.yaml", "--epochs", "3"], "No such option: --epochs"),
        (["logs", "a", "--rank", "-1"], "Invalid value for '--rank'"),
    ],
)
def test_a_mistake_is_one_message_and_status_2(hpc_dl: HpcDl, words: list[str], told: str) -> None:
    status, out, err = hpc_dl(*words)
    assert status == 2
    assert out == ""
    for mark, text in {"{here}": str(Path.cwd()), "{models}": ", ".join(models.names())}.items():
        told = told.replace(mark, text)
    assert told in err
    assert "Traceback" not in err


def test_a_defect_of_our_own_keeps_its_traceback(
    hpc_dl: HpcDl, config: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Only what a user can mend becomes a message: anything else must reach us with its place.
    def broken(*arguments: object, **options: object) -> None:
        raise AttributeError("ours")

    monkeypatch.setattr("hpc_dl.cluster.prepare.preflight", broken)
    with pytest.raises(AttributeError, match="ours"):
        hpc_dl("validate", config())
