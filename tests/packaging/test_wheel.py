"""The wheel alone, without a clone, creates a project that trains and passes its test."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import PROJECT

pytestmark = pytest.mark.slow

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel built from the working tree."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, PROJECT],
        check=True,
        timeout=120,
    )
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def run(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs a command of a new environment that holds the wheel and nothing of the clone.

    Dependencies come from the environment of the tests: installing torch again would take minutes.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", folder, "install", "-q", "--no-deps", "--no-index", wheel],
        check=True,
        timeout=120,
    )
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    # A folder named in a .pth file is searched last, and its own .pth files (such as that of an
    # editable install) are not read.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "WANDB_MODE": "disabled"}

    def command(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, f"{words}:\n{done.stdout}{done.stderr}"
        return done

    return command


def test_wheel_carries_what_a_clone_has_next_to_the_package(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    shipped = {name.removeprefix("hpc_dl/shipped_files/") for name in names if "/shipped_files/" in name}
    expected = {str(path.relative_to(PROJECT)) for path in (PROJECT / "configs").rglob("*.yaml")}
    expected |= {f"slurm/sites/{name}.yaml" for name in ("example", "local", "dev")} | {"slurm/train.sbatch"}
    assert shipped == expected
    assert {"hpc_dl/py.typed", "hpc_dl/data/sources/digits.csv.gz"} <= set(names)
    page = ("page.html", "style.css", "report.js", "echarts.min.js", "LICENSE-echarts")
    assert {f"hpc_dl/report/page/{name}" for name in page} <= set(names)
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/"))]


def test_new_project_trains_and_passes_its_test(run: Run, tmp_path: Path) -> None:
    run("hpc-dl", "init", "project", cwd=tmp_path)
    project = tmp_path / "project"
    location = run("python", "-c", "import hpc_dl; print(hpc_dl.__file__)", cwd=project).stdout
    assert not location.startswith(str(PROJECT))
    short = ("trainer.max_epochs=2", "trainer.figures=false")
    trained = run("hpc-dl", "train", "experiment.yaml", *short, cwd=project)
    assert "Finished after 32 steps" in trained.stdout + trained.stderr
    run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=project)
    script = run("hpc-dl", "submit", "experiment.yaml", "--site", "site.yaml", "--dry-run", cwd=project).stdout
    assert script.startswith("#!")


def test_shipped_experiments_are_found_by_name(run: Run, tmp_path: Path) -> None:
    run("hpc-dl", "validate", "mlp-digits", cwd=tmp_path)
