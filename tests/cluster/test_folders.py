"""The folders of runs and data are the same for every command."""

import re
from pathlib import Path

import pytest

from hpc_dl.cluster.folders import cli_name, data_folder, runs_folder
from hpc_dl.cluster.site import SiteProfile
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import write_state
from tests.cli.conftest import HpcDl, hpc_dl  # noqa: F401


@pytest.fixture
def site_run(hpc_dl: HpcDl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:  # noqa: F811
    """The newest run of the default site; a newer one is in ./runs."""
    profile = tmp_path / "site.yaml"
    profile.write_text(f"runs_dir: {tmp_path}/scratch runs\ndata_dir: {tmp_path}/scratch data\n")
    monkeypatch.setenv("HPC_DL_SITE", str(profile))
    runs = [RunFolder.create(folder, name) for folder, name in ((runs_folder(), "site"), (Path("runs"), "here"))]
    for run in runs:
        run.config.write_text("data: {file: /nowhere.h5}\n")
        write_state(run, "failed", reason="no luck")
    return runs[0]


def test_option_then_profile_then_variable_then_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HPC_DL_SITE", "HPC_DL_RUNS", "HPC_DL_DATA"):
        monkeypatch.delenv(name, raising=False)
    assert (runs_folder(), data_folder()) == (Path("runs"), Path("data"))
    monkeypatch.setenv("HPC_DL_RUNS", "/env/runs")
    monkeypatch.setenv("HPC_DL_DATA", "/env/data")
    assert (runs_folder(), data_folder()) == (Path("/env/runs"), Path("/env/data"))
    (tmp_path / "site.yaml").write_text("runs_dir: /site/runs\ndata_dir: /site/data\n")
    monkeypatch.setenv("HPC_DL_SITE", str(tmp_path / "site.yaml"))
    assert (runs_folder(), data_folder()) == (Path("/site/runs"), Path("/site/data"))
    other = SiteProfile(runs_dir="/other/runs")
    assert (runs_folder(None, other), data_folder(None, other)) == (Path("/other/runs"), Path("/env/data"))
    assert (runs_folder(Path("x"), other), data_folder(Path("y"), other)) == (Path("x"), Path("y"))


@pytest.mark.parametrize(
    "command",
    [
        ["status", "latest"], ["results", "latest"], ["logs", "latest"], ["cancel", "latest"],
        ["evaluate", "latest"], ["predict", "latest", "x.h5", "--out", "y.h5"], ["export", "latest", "--out", "y.onnx"],
        ["resume", "latest", "--here"],
    ],
    ids=lambda command: command[0],
)  # fmt: skip
def test_latest_is_the_same_run_for_every_command(
    hpc_dl: HpcDl,  # noqa: F811
    site_run: RunFolder,
    command: list[str],
) -> None:
    answer = hpc_dl(*command)
    assert set(re.findall(r"(?:site|here)-[2-9b-z]{3}\b", answer.out + answer.err)) == {site_run.name}


def test_data_commands_use_the_folder_of_the_site(
    hpc_dl: HpcDl,  # noqa: F811
    site_run: RunFolder,
    tmp_path: Path,
) -> None:
    made = tmp_path / "scratch data" / "xor.h5"
    assert hpc_dl("data", "make", "xor", "--json").json["file"] == str(made) and made.exists()
    files = {row["name"]: row["file"] for row in hpc_dl("data", "list", "--json").json}
    assert files["xor"] == str(made)
    assert hpc_dl("data", "inspect", "xor", "--json").json["file"] == str(made)


def test_name_of_a_run_for_a_command(site_run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli_name(site_run) == site_run.name
    monkeypatch.delenv("HPC_DL_SITE")
    assert cli_name(site_run) == f"'{site_run.path}'"  # its folder has a space
    monkeypatch.setenv("HPC_DL_SITE", str(tmp_path / "invalid.yaml"))
    assert cli_name(site_run) == f"'{site_run.path}'"
