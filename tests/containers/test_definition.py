"""The Apptainer definition and its build script, checked without Apptainer; and the image itself
where there is one."""

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
    """The definition's sections without comments and blank lines; what stands before the first is
    ``header``."""
    found: dict[str, list[str]] = {"header": []}
    name = "header"
    for line in DEFINITION.read_text().splitlines():
        if line.startswith("%"):
            name = line[1:].strip()
            assert name not in found, f"%{name} is there twice"
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


def test_base_is_pinned_by_digest_in_one_place():
    found = sections()
    assert found["header"] == ["Bootstrap: docker", "From: {{ FROM }}"]
    (argument,) = found["arguments"]
    assert re.fullmatch(r"FROM=[a-z0-9./-]+@sha256:[0-9a-f]{64}", argument)


def test_every_argument_is_used_and_defined():
    """Apptainer refuses both an undefined and an unused one, after the base is fetched."""
    used = set(re.findall(r"{{\s*(\w+)\s*}}", DEFINITION.read_text()))
    assert used == {line.partition("=")[0] for line in sections()["arguments"]}


def test_no_version_is_stated_twice():
    for name, lines in sections().items():
        if name != "arguments":
            assert not [line for line in lines if "==" in line or re.search(r"\d\.\d", line)], f"%{name}"


def test_every_file_exists_and_those_that_pip_needs_are_there():
    sources = [line.split()[0] for line in sections()["files"]]
    assert [source for source in sources if not (ROOT / source).exists()] == []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {"pyproject.toml", "constraints.txt", "hpc_dl", project["readme"], *project["license-files"]}
    assert needed <= set(sources)


def test_packages_come_from_the_constraints():
    post = " ".join(sections()["post"]).replace("\\ ", "")
    (install,) = re.findall(r"pip install[^;&|]*?/src\b", post)
    (target,) = [line.split()[1] for line in sections()["files"] if line.split()[0] == "constraints.txt"]
    assert f"-c {target}" in install
    assert post.startswith("set -eu")


def test_arguments_of_the_user_reach_the_program_unharmed():
    assert sections()["runscript"] == ['exec hpc-dl "$@"']


def test_no_eval_and_no_secret():
    for path in (DEFINITION, BUILD, FOLDER / "get-apptainer"):
        text = path.read_text()
        assert not re.search(r"(?m)^[^#]*\beval\b", text), path.name
        assert not re.search(r"(?i)api_?key|password|token|://[^/\s]*:[^/\s]*@", text), path.name


def test_the_images_own_test_can_fail():
    test = " ".join(sections()["test"]).replace("\\ ", "")
    (target,) = [line.split()[1] for line in sections()["files"] if line.split()[0].endswith("check_image.py")]
    assert test.startswith("exec env -i ")
    assert f"python {target}" in test
    assert not re.search(r"\|\||;|&|set \+e", test)


def test_the_home_folder_of_the_host_is_not_imported_from():
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


# What %test compares


def test_packages_as_pinned_are_fine(monkeypatch):
    module = check_image()
    monkeypatch.setattr(module, "NEEDED", ("torch",))
    installed(monkeypatch, {"torch": "2.13.0+cpu", "Ruamel.Yaml": "1.0", "nvidia-nccl-cu13": "2.3", "hpc_dl": "0.1"})
    assert module.packages("torch==2.13.0\nruamel_yaml==1.0 # a comment\nnever==1\n") == []


@pytest.mark.parametrize(
    ("have", "fault"),
    [
        ({"torch": "2.12.0+cpu"}, "torch 2.12.0 is installed, but 2.13.0 is pinned"),
        ({"torch": "2.13.0", "piper": "1"}, "piper 1 is installed, but not pinned"),
        ({}, "torch is not installed"),
    ],
)
def test_packages_that_differ_are_told(monkeypatch, have, fault):
    module = check_image()
    monkeypatch.setattr(module, "NEEDED", ("torch",))
    installed(monkeypatch, have)
    assert module.packages("torch==2.13.0") == [fault]


def installed(monkeypatch, versions: dict[str, str]) -> None:
    class Found:
        def __init__(self, name: str, version: str) -> None:
            self.metadata = {"Name": name}
            self.version = version

    monkeypatch.setattr("importlib.metadata.distributions", lambda: [Found(*pair) for pair in versions.items()])


def test_a_missing_module_is_told(monkeypatch):
    module = check_image()
    monkeypatch.setattr(module, "NEEDED", ("json", "no_such_module_of_hpc_dl"))
    (fault,) = module.imports()
    assert fault.startswith("import no_such_module_of_hpc_dl: ModuleNotFoundError")


# containers/build, with a stand-in for Apptainer


@pytest.fixture
def stand_in(tmp_path):
    """A folder for PATH with an ``apptainer`` that notes its arguments and writes an image, or
    fails if told so."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "apptainer"
    program.write_text(
        "#!/bin/sh\n"
        'if [ "$1" = --version ]; then echo apptainer version 0; exit; fi\n'
        f'printf "%s\\n" "$@" >{tmp_path}/arguments\n'
        'for word; do case $word in *.part) echo new >"$word" ;; esac; done\n'
        "echo the reason it failed\n"
        'exit "${STAND_IN_STATUS:-0}"\n'
    )
    program.chmod(0o755)
    return folder


def build(*words: str, path: Path, scratch: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    scratch.mkdir(exist_ok=True)
    given = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}", "TMPDIR": str(scratch), **environment}
    return subprocess.run([str(BUILD), *words], env=given, capture_output=True, text=True, timeout=60)


def test_build_makes_the_image(stand_in, tmp_path):
    image = tmp_path / "x.sif"
    done = build("--output", str(image), "--", "--notest", path=stand_in, scratch=tmp_path / "scratch")
    assert done.returncode == 0, done.stderr
    assert image.read_text() == "new\n"
    arguments = (tmp_path / "arguments").read_text().split()
    assert arguments == ["build", "--force", "--notest", f"{image}.part", "containers/hpc_dl.def"]
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_failed_build_says_why_and_leaves_the_old_image(stand_in, tmp_path):
    image = tmp_path / "x.sif"
    image.write_text("old\n")
    done = build("--output", str(image), path=stand_in, scratch=tmp_path / "scratch", STAND_IN_STATUS="255")
    assert done.returncode == 1
    assert "the reason it failed" in done.stderr
    assert "--base-from-debootstrap" in done.stderr
    assert image.read_text() == "old\n"
    assert not Path(f"{image}.part").exists()
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.parametrize(("words", "said"), [(["--frm"], "unknown option --frm"), (["--output"], "wants a file")])
def test_wrong_use_of_build(stand_in, tmp_path, words, said):
    done = build(*words, path=stand_in, scratch=tmp_path / "scratch")
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / "arguments").exists()


def test_build_help(stand_in, tmp_path):
    done = build("--help", path=stand_in, scratch=tmp_path / "scratch")
    assert done.returncode == 0
    assert "--base-from-debootstrap" in done.stdout
    assert "set -" not in done.stdout


def test_get_apptainer_uses_what_is_there(tmp_path, stand_in):
    """Told where an unpacked one is, it fetches nothing."""
    prefix = tmp_path / "prefix"
    shutil.copytree(stand_in, prefix / "bin")
    (prefix / "ready").touch()
    environment = {**os.environ, "HPC_DL_APPTAINER": str(prefix)}
    done = subprocess.run([str(FOLDER / "get-apptainer")], env=environment, capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout) == (0, f"{prefix}/bin/apptainer\n"), done.stderr


# The image itself


def apptainer() -> str | None:
    """The program: this machine's, or the one that containers/get-apptainer unpacked before."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    prefix = Path(os.environ.get("HPC_DL_APPTAINER") or cache / "hpc_dl" / "apptainer")
    unpacked = prefix / "bin" / "apptainer"
    return shutil.which("apptainer") or (str(unpacked) if (prefix / "ready").exists() else None)


@pytest.mark.container
@pytest.mark.slow
@pytest.mark.timeout(7500)
def test_the_image(tmp_path):
    """Built when HPC_DL_CONTAINER says so (1, or debootstrap for that base), else the one that is
    there."""
    image = FOLDER / "hpc_dl.sif"
    wanted = os.environ.get("HPC_DL_CONTAINER", "")
    if wanted not in ("", "0"):
        image = tmp_path / "hpc_dl.sif"
        base = ["--base-from-debootstrap"] if wanted == "debootstrap" else []
        subprocess.run([str(BUILD), "--output", str(image), *base, "--", "--notest"], check=True)
    elif not (apptainer() and image.exists()):
        pytest.skip("no containers/hpc_dl.sif with an Apptainer, and CI builds none yet: HPC_DL_CONTAINER=1 does")
    program = apptainer()
    assert program is not None

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([program, *words], cwd=tmp_path, capture_output=True, text=True, timeout=300)

    fine = run("test", str(image))
    assert fine.returncode == 0, fine.stdout + fine.stderr
    assert "%test: passed" in fine.stdout

    other = tmp_path / "constraints.txt"
    other.write_text(re.sub(r"(?m)^h5py==.*", "h5py==0.0.1", (ROOT / "constraints.txt").read_text()))
    broken = run("test", "--bind", f"{other}:/opt/hpc_dl/constraints.txt", str(image))
    assert broken.returncode != 0
    assert "but 0.0.1 is pinned" in broken.stderr

    version = run("run", str(image), "--version")
    assert (version.returncode, version.stdout.split()[0]) == (0, "hpc_dl"), version.stderr
    words = run("run", str(image), "validate", "$(touch harm); touch harm")
    assert words.returncode == 2
    assert not (tmp_path / "harm").exists()
