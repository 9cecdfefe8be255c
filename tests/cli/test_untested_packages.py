"""Commands refuse untested versions and missing private names of other packages at their start."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import HpcDl
from tests.compatibility.test_checks import MISSING, Remove, names_of, pretend_version


@pytest.mark.parametrize("command", ["validate", "submit", "rehearse", "train"])
def test_untested_version_is_refused(
    hpc_dl: HpcDl, config: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    pretend_version(tmp_path, "pytorch-lightning", "2.7.1")
    monkeypatch.syspath_prepend(tmp_path)
    answer = hpc_dl(command, config())
    assert answer.status == 2 and answer.out == ""
    (line,) = [line for line in answer.err.splitlines() if line.startswith("hpc-dl:")]
    assert line == (
        "hpc-dl: pytorch-lightning: version 2.7.1 is installed, which hpc_dl was not tested with "
        "(allowed: >=2.6,<2.7). Install a tested version: pip install 'pytorch-lightning>=2.6,<2.7'"
    )
    assert "Traceback" not in answer.err
    assert not Path("runs").exists()


@pytest.mark.parametrize("missing", [case for case in MISSING if case[0] != "submitit"], ids=names_of)
def test_train_refuses_a_missing_name_before_it_starts(
    hpc_dl: HpcDl,
    config: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    missing: tuple[str, str, Remove],
) -> None:
    package, name, remove = missing
    written = config(wandb={"mode": "offline" if package == "wandb" else "disabled"})
    remove(monkeypatch)
    answer = hpc_dl("train", written)
    lines = [line for line in answer.err.splitlines() if line.startswith(f"hpc-dl: {package} ")]
    assert answer.status == 2 and len(lines) == 1
    assert name in lines[0]
    assert not Path("runs").exists()


def test_submit_refuses_a_missing_name_of_submitit(
    hpc_dl: HpcDl, config: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (remove,) = [remove for package, _, remove in MISSING if package == "submitit"]
    remove(monkeypatch)
    answer = hpc_dl("submit", config(), "--dry-run")
    assert answer.status == 2
    assert "hpc-dl: submitit " in answer.err and "_make_submission_file_text" in answer.err
