"""The benchmark of the GPU: its rehearsal on CPUs, its parts, and what it needs installed."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu.report import section
from benchmarks.gpu.setting import Setting
from benchmarks.gpu.wheels import PACKAGES
from tests.conftest import PROJECT

# Packages that the machine with the GPU may lack.
OPTIONAL = ("wandb", "submitit", "hdf5plugin", "isal", "matplotlib")
PRESENT = ("torch", "pytorch-lightning", "torchmetrics", "h5py", "numpy", "jinja2")  # torch requires jinja2
HIDE = """
import importlib.machinery as machinery
import importlib.metadata as metadata

find_spec = machinery.PathFinder.find_spec.__func__
from_name = metadata.Distribution.from_name.__func__


def find_spec_unless_hidden(cls, name, path=None, target=None):
    return None if name.partition(".")[0] in {hidden} else find_spec(cls, name, path, target)


def from_name_unless_hidden(cls, name):
    if name in {hidden}:
        raise metadata.PackageNotFoundError(name)
    return from_name(cls, name)


machinery.PathFinder.find_spec = classmethod(find_spec_unless_hidden)
metadata.Distribution.from_name = classmethod(from_name_unless_hidden)
"""


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(torch.device("cpu"), tmp_path, rehearse=True)


def use_parts(monkeypatch: pytest.MonkeyPatch, measured: list[str], *names: str, failing: str = "") -> None:
    """Replace the parts by ones that note their name in ``measured``."""

    def part(name: str) -> gpu.Part:
        def measure(setting: Setting) -> dict[str, Any]:
            measured.append(name)
            if name == failing:
                raise RuntimeError("out of memory")
            return {"value": 1}

        return gpu.Part(measure, seconds=10)

    monkeypatch.setattr(gpu, "all_parts", lambda: {name: part(name) for name in names})


@pytest.mark.own_target
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_rehearsal_runs_every_part_without_optional_packages(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(HIDE.format(hidden=OPTIONAL))
    file = tmp_path / "gpu.json"
    command = [sys.executable, "-m", "benchmarks.gpu", "--rehearse", "--json", str(file)]
    done = subprocess.run(
        command,
        cwd=PROJECT,
        env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{PROJECT}", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=580,
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(file.read_text())
    assert list(results["parts"]) == list(gpu.all_parts())
    for name in ("resume-fp32", "resume-bf16", "resume-fp16"):
        resume = results["parts"][name]
        assert resume["differences"] == []
        assert 0 < resume["stopped_at"] < resume["steps"]
    for name in ("reading-small", "reading-large"):
        assert all(figures["images_per_s"] > 0 for figures in results["parts"][name]["images_per_s"].values())
    assert "\n".join(section(results)) in done.stdout


def test_recorded_part_is_not_measured_again(setting: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, measured = tmp_path / "gpu.json", []
    use_parts(monkeypatch, measured, "one", "two")
    assert gpu.measure_parts(file, setting, 100, again=False) == []
    use_parts(monkeypatch, measured, "one", "two", "three")
    assert gpu.measure_parts(file, setting, 100, again=False) == []
    assert measured == ["one", "two", "three"]
    gpu.measure_parts(file, setting, 100, again=True)
    assert measured == ["one", "two", "three"] * 2
    assert json.loads(file.read_text())["parts"] == {name: {"value": 1} for name in ("one", "two", "three")}


def test_failed_part_does_not_stop_the_others(
    setting: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, measured = tmp_path / "gpu.json", []
    use_parts(monkeypatch, measured, "one", "two", "three", failing="two")
    assert gpu.measure_parts(file, setting, 100, again=False) == ["two"]
    assert list(json.loads(file.read_text())["parts"]) == ["one", "three"]
    assert "out of memory" in capsys.readouterr().err


def test_part_that_would_exceed_the_time_does_not_start(
    setting: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[str] = []
    use_parts(monkeypatch, measured, "one")
    assert gpu.measure_parts(tmp_path / "gpu.json", setting, 5, again=False) == ["one"]
    assert measured == []


def test_wheels_bring_all_other_packages() -> None:
    requirements = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {requirement: re.split(r"[<>=;]", requirement)[0] for requirement in requirements}
    assert sorted(PACKAGES) == sorted(text for text, name in names.items() if name not in (*OPTIONAL, *PRESENT))


def test_all_parts_fit_into_eight_minutes() -> None:
    assert sum(part.seconds for part in gpu.all_parts().values()) <= gpu.BUDGET_S == 480


@pytest.mark.slow
def test_benchmark_is_refused_without_a_gpu() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu"],
        cwd=PROJECT,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "No GPU" in done.stderr
