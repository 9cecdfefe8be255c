"""Run the quick tests with the oldest and with the newest allowed versions of every dependency.

``make compat`` builds one environment for each in ``.compat/`` and writes the outcome, with its
date, to docs/reference/compatibility.md.
"""

from __future__ import annotations

import datetime
import os
import re
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

from packaging.requirements import Requirement

PROJECT = Path(__file__).parents[1]
FOLDER = PROJECT / ".compat"
PAGE = PROJECT / "docs" / "reference" / "compatibility.md"
# Tools of the tests, in any version.
TOOLS = ["pytest<9.2", "pytest-timeout", "pytest-xdist", "hatchling", "mkdocs-material", "mkdocstrings[python]"]
MARKS = "not slurm and not container and not slow"
# The generated page of the commands has the words of the pinned typer.
PAGE_OF_COMMANDS = "tests/docs/test_pages.py::test_generated_page_matches_the_code[commands_page.py]"
# Ends the page, whatever the outcome.
NOTES = """
Skipped tests name their reasons: HDF5 1.14 cannot read its own scale-offset chunks of all 256
values, and torch 2.11 draws other numbers in `trunc_normal_`.

Older versions do not work: hdf5plugin before 7.1 crashes on a damaged Blosc2 chunk, submitit before
1.5.4 has no teardown, which requeues jobs, and onnxscript before 0.6 does not know torch 2.11. The
allowed ranges and their reasons are in [decision 042](../decisions/042-private-names.md).
"""
# Newer CPU builds of torch are not available everywhere; the other environment takes the newest.
TORCH = os.environ.get("HPC_DL_COMPAT_TORCH", "")


def requirements() -> list[Requirement]:
    """The requirements in pyproject.toml, with the extras that the tests use."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    listed = [
        *project["dependencies"],
        *extras["pack"],
        *extras["zarr"],
        *extras["baseline"],
        *extras["pandas"],
        *extras["onnx"],
        *extras["sweep"],
    ]
    return [
        requirement
        for requirement in map(Requirement, listed)
        if not requirement.marker or requirement.marker.evaluate()
    ]


def oldest(requirement: Requirement) -> str:
    """The requirement at its lower bound, ``h5py==3.12.1``."""
    (bound,) = (specifier for specifier in requirement.specifier if specifier.operator == ">=")
    return f"{requirement.name}=={bound.version}"


def install(name: str, packages: list[str]) -> Path:
    """An environment with these packages, made or brought up to date; the path of its Python."""
    python = FOLDER / name / "bin" / "python"
    if not python.exists():
        venv.create(FOLDER / name, with_pip=True)
    pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--upgrade"]
    subprocess.run([*pip, *packages, *TOOLS], check=True)
    return python


def versions(python: Path, names: list[str]) -> dict[str, str]:
    """The installed version of each package."""
    code = "import importlib.metadata as m, sys; print(*[m.version(n) for n in sys.argv[1:]], sep='\\n')"
    found = subprocess.run([python, "-c", code, *names], capture_output=True, text=True, check=True)
    return dict(zip(names, found.stdout.split(), strict=True))


def quick_tests(python: Path) -> str:
    """The last line of pytest: how many passed and failed."""
    environment = os.environ | {"PYTHONPATH": str(PROJECT), "OMP_WAIT_POLICY": "PASSIVE"}
    environment["PATH"] = f"{python.parent}:{environment['PATH']}"
    done = subprocess.run(
        [python, "-m", "pytest", "-q", "-n", "2", "--dist", "loadgroup", "-p", "no:cacheprovider", "-m", MARKS,
         f"--deselect={PAGE_OF_COMMANDS}"],
        cwd=PROJECT, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    print(done.stdout[-3000:])
    return re.sub(r"[= ]+$|^[= ]+", "", done.stdout.rstrip().splitlines()[-1])


def main() -> int:
    """Both environments; status 1 when a test fails in one of them."""
    needed = requirements()
    names = [requirement.name for requirement in needed]
    torch = [f"torch=={TORCH}"] if TORCH else []
    plans = {
        "oldest": [*[pin for pin in map(oldest, needed) if not (TORCH and pin.startswith("torch=="))], *torch],
        "newest": [*[str(requirement) for requirement in needed], *torch],
    }
    outcomes, versions_by_plan = {}, {}
    for name, packages in plans.items():
        print(f"Building the environment with the {name} versions …", flush=True)
        python = install(name, packages)
        versions_by_plan[name] = versions(python, names)
        outcomes[name] = quick_tests(python)
        print(f"{name}: {outcomes[name]}", flush=True)
    write_page(versions_by_plan, outcomes)
    return any("failed" in outcome or "error" in outcome for outcome in outcomes.values())


def write_page(versions_by_plan: dict[str, dict[str, str]], outcomes: dict[str, str]) -> None:
    """Record versions and outcomes."""
    lines = [
        "# Compatibility",
        "",
        f"*Written by `make compat` on {datetime.date.today()}, Python {sys.version.split()[0]}.*",
        "",
        "The quick tests, run with the oldest and with the newest allowed version of every dependency.",
        "",
        "| | oldest | newest |",
        "| --- | --- | --- |",
        f"| outcome | {outcomes['oldest']} | {outcomes['newest']} |",
    ]
    lines += [
        f"| {name} | {versions_by_plan['oldest'][name]} | {versions_by_plan['newest'][name]} |"
        for name in versions_by_plan["oldest"]
    ]
    PAGE.write_text("\n".join(lines) + "\n" + NOTES, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
