"""The Apptainer definition and its build script, without Apptainer, and the image if one exists."""

import importlib.util
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "containers"
DEFINITION = FOLDER / "hpc_dl.def"
BUILD = FOLDER / "build"


def sections() -> dict[str, list[str]]:
    """Return the lines of each section, without comments and blank lines.

    The lines before the first section are the section ``header``.
    """
    found: dict[str, list[str]] = {"header": []}
    name = "header"
    for line in DEFINITION.read_text().splitlines():
        if line.startswith("%"):
            name = line[1:].strip()
            assert name not in found, f"%{name} exists twice"
            found[name] = []
        elif line.strip() and not line.strip().startswith("#"):
            found[name].append(line.strip())
    return found


def constraints() -> dict[str, str]:
    lines = [line.partition("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines()]
    return {canonicalize_name(line.partition("==")[0]): line.partition("==")[2] for line in lines if line}


def check_image():
    spec = importlib.util.spec_from_file_location("check_image", FOLDER / "check_image.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# The definition


def test_known_sections_only():
    known = {"header", "arguments", "files", "post", "environment", "runscript", "test", "labels", "help"}
    assert set(sections()) == known


def test_base_is_pinned_by_digest():
    found = sections()
    assert found["header"] == ["Bootstrap: docker", "From: {{ FROM }}"]
    (argument,) = found["arguments"]
    assert re.fullmatch(r"FROM=[a-z0-9./-]+@sha256:[0-9a-f]{64}", argument)


def test_every_argument_is_used_and_defined():
    # Apptainer refuses undefined and unused ones, but only after it has fetched the base.
    used = set(re.findall(r"{{\s*(\w+)\s*}}", DEFINITION.read_text()))
    assert used == {line.partition("=")[0] for line in sections()["arguments"]}


def test_only_the_base_has_a_version():
    for name, lines in sections().items():
        if name != "arguments":
            assert not [line for line in lines if "==" in line or re.search(r"\d\.\d", line)], f"%{name}"


def test_files_exist_and_suffice_for_pip():
    sources = [line.split()[0] for line in sections()["files"]]
    assert [source for source in sources if not (ROOT / source).exists()] == []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = {"pyproject.toml", "constraints.txt", "hpc_dl", project["readme"], *project["license-files"]}
    assert required <= set(sources)


def test_packages_come_from_the_constraints():
    post = " ".join(sections()["post"]).replace("\\ ", "")
    (install,) = re.findall(r"pip install[^;&|]*?/src\b", post)
    (target,) = [line.split()[1] for line in sections()["files"] if line.split()[0] == "constraints.txt"]
    assert f"-c {target}" in install
    assert post.startswith("set -eu")


def test_arguments_are_passed_on_unchanged():
    assert sections()["runscript"] == ['exec hpc-dl "$@"']


def test_no_eval_and_no_secret():
    for path in (DEFINITION, BUILD, FOLDER / "get-apptainer"):
        text = path.read_text()
        assert not re.search(r"(?m)^[^#]*\beval\b", text), path.name
        assert not re.search(r"(?i)api_?key|password|token|://[^/\s]*:[^/\s]*@", text), path.name


def test_image_test_can_fail():
    test = " ".join(sections()["test"]).replace("\\ ", "")
    (target,) = [line.split()[1] for line in sections()["files"] if line.split()[0].endswith("check_image.py")]
    assert test.startswith("exec env -i ")
    assert f"python {target}" in test
    assert not re.search(r"\|\||;|&|set \+e", test)


def test_python_ignores_the_home_folder_of_the_host():
    assert "export PYTHONNOUSERSITE=1" in sections()["environment"]


@pytest.mark.parametrize("name", ["post", "environment", "runscript", "test"])
def test_shell_sections_parse(name):
    done = subprocess.run(["sh", "-n"], input="\n".join(sections()[name]), text=True, capture_output=True)
    assert done.returncode == 0, done.stderr


def test_every_requirement_is_pinned_within_its_range():
    pins = constraints()
    for line in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]:
        requirement = Requirement(line)
        version = pins.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not in constraints.txt"
        assert requirement.specifier.contains(version, prereleases=True), f"{line}, but {version} is pinned"


# The comparison of %test


def test_pinned_packages_have_no_problems(monkeypatch):
    module = check_image()
    monkeypatch.setattr(module, "REQUIRED", ("torch",))
    installed(monkeypatch, {"torch": "2.13.0+cpu", "Ruamel.Yaml": "1.0", "nvidia-nccl-cu13": "2.3", "hpc_dl": "0.1"})
    assert module.package_problems("torch==2.13.0\nruamel_yaml==1.0 # a comment\nnever==1\n") == []


@pytest.mark.parametrize(
    ("versions", "problem"),
    [
        ({"torch": "2.12.0+cpu"}, "torch 2.12.0 is installed, but 2.13.0 is pinned"),
        ({"torch": "2.13.0", "piper": "1"}, "piper 1 is installed, but not pinned"),
        ({}, "torch is not installed"),
    ],
)
def test_deviation_from_the_pins_is_reported(monkeypatch, versions, problem):
    module = check_image()
    monkeypatch.setattr(module, "REQUIRED", ("torch",))
    installed(monkeypatch, versions)
    assert module.package_problems("torch==2.13.0") == [problem]


def installed(monkeypatch, versions: dict[str, str]) -> None:
    class Package:
        def __init__(self, name: str, version: str) -> None:
            self.metadata = {"Name": name}
            self.version = version

    monkeypatch.setattr("importlib.metadata.distributions", lambda: [Package(*pair) for pair in versions.items()])


def test_missing_module_is_reported(monkeypatch):
    module = check_image()
    monkeypatch.setattr(module, "REQUIRED", ("json", "no_such_module_of_hpc_dl"))
    (problem,) = module.import_problems()
    assert problem.startswith("import no_such_module_of_hpc_dl: ModuleNotFoundError")


# containers/build, with a fake Apptainer


@pytest.fixture
def fake_apptainer(tmp_path):
    """A folder with an ``apptainer`` that notes its arguments, writes an image, and may fail."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "apptainer"
    program.write_text(
        "#!/bin/sh\n"
        'if [ "$1" = --version ]; then echo apptainer version 0; exit; fi\n'
        f'printf "%s\\n" "$@" >{tmp_path}/arguments\n'
        'for argument; do case $argument in *.part) echo new >"$argument" ;; esac; done\n'
        "echo the reason it failed\n"
        'exit "${FAKE_STATUS:-0}"\n'
    )
    program.chmod(0o755)
    return folder


def build(*arguments: str, path: Path, scratch: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    scratch.mkdir(exist_ok=True)
    environment = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}", "TMPDIR": str(scratch), **variables}
    return subprocess.run([str(BUILD), *arguments], env=environment, capture_output=True, text=True, timeout=60)


def test_build_writes_the_image(fake_apptainer, tmp_path):
    image = tmp_path / "x.sif"
    done = build("--output", str(image), "--", "--notest", path=fake_apptainer, scratch=tmp_path / "scratch")
    assert done.returncode == 0, done.stderr
    assert image.read_text() == "new\n"
    arguments = (tmp_path / "arguments").read_text().split()
    assert arguments == ["build", "--force", "--notest", f"{image}.part", "containers/hpc_dl.def"]
    assert list((tmp_path / "scratch").iterdir()) == []


def test_failed_build_shows_the_reason_and_keeps_the_old_image(fake_apptainer, tmp_path):
    image = tmp_path / "x.sif"
    image.write_text("old\n")
    done = build("--output", str(image), path=fake_apptainer, scratch=tmp_path / "scratch", FAKE_STATUS="255")
    assert done.returncode == 1
    assert "the reason it failed" in done.stderr
    assert "--base-from-debootstrap" in done.stderr
    assert image.read_text() == "old\n"
    assert not Path(f"{image}.part").exists()
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"), [(["--frm"], "unknown option --frm"), (["--output"], "needs a file")]
)
def test_build_rejects_wrong_arguments(fake_apptainer, tmp_path, arguments, message):
    done = build(*arguments, path=fake_apptainer, scratch=tmp_path / "scratch")
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "arguments").exists()


def test_build_shows_its_help(fake_apptainer, tmp_path):
    done = build("--help", path=fake_apptainer, scratch=tmp_path / "scratch")
    assert done.returncode == 0
    assert "--base-from-debootstrap" in done.stdout
    assert "set -" not in done.stdout


def test_get_apptainer_uses_an_unpacked_one(tmp_path, fake_apptainer):
    prefix = tmp_path / "prefix"
    shutil.copytree(fake_apptainer, prefix / "bin")
    (prefix / "ready").touch()
    environment = {**os.environ, "HPC_DL_APPTAINER": str(prefix)}
    done = subprocess.run([str(FOLDER / "get-apptainer")], env=environment, capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout) == (0, f"{prefix}/bin/apptainer\n"), done.stderr


# The image itself


def apptainer() -> str | None:
    """Return the program: this machine's, or the one that containers/get-apptainer has unpacked."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    prefix = Path(os.environ.get("HPC_DL_APPTAINER") or cache / "hpc_dl" / "apptainer")
    unpacked = prefix / "bin" / "apptainer"
    return shutil.which("apptainer") or (str(unpacked) if (prefix / "ready").exists() else None)


@pytest.mark.container
@pytest.mark.slow
@pytest.mark.timeout(7500)
def test_built_image(tmp_path):
    """It passes its own test, and passes arguments on.

    HPC_DL_CONTAINER=1 builds it first, HPC_DL_CONTAINER=debootstrap with the base from debootstrap;
    otherwise containers/hpc_dl.sif is tested, if it exists.
    """
    image = FOLDER / "hpc_dl.sif"
    base_to_build = os.environ.get("HPC_DL_CONTAINER", "")
    if base_to_build not in ("", "0"):
        image = tmp_path / "hpc_dl.sif"
        base = ["--base-from-debootstrap"] if base_to_build == "debootstrap" else []
        subprocess.run([str(BUILD), "--output", str(image), *base, "--", "--notest"], check=True)
    elif not (apptainer() and image.exists()):
        pytest.skip("no containers/hpc_dl.sif with an Apptainer: HPC_DL_CONTAINER=1 builds it")
    program = apptainer()
    assert program is not None

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([program, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=300)

    passed = run("test", str(image))
    assert passed.returncode == 0, passed.stdout + passed.stderr
    assert "%test: passed" in passed.stdout

    other = tmp_path / "constraints.txt"
    other.write_text(re.sub(r"(?m)^h5py==.*", "h5py==0.0.1", (ROOT / "constraints.txt").read_text()))
    broken = run("test", "--bind", f"{other}:/opt/hpc_dl/constraints.txt", str(image))
    assert broken.returncode != 0
    assert "but 0.0.1 is pinned" in broken.stderr

    version = run("run", str(image), "--version")
    assert (version.returncode, version.stdout.split()[0]) == (0, "hpc_dl"), version.stderr
    shell_syntax = run("run", str(image), "validate", "$(touch harm); touch harm")
    assert shell_syntax.returncode == 2
    assert not (tmp_path / "harm").exists()
