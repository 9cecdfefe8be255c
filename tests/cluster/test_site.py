"""Site profiles: found by name, validated, checked against an experiment."""

import dataclasses
from pathlib import Path

import pytest

from hpc_dl.cluster import site
from hpc_dl.cluster.reservation import Reservation
from hpc_dl.cluster.submit import report_site
from hpc_dl.config.experiment import Experiment
from hpc_dl.errors import ConfigError
from hpc_dl.schema import field_names
from tests.conftest import PROJECT

EXPERIMENT = {"name": "x", "data": {"source": "digits"}, "model": {"name": "linear"}}


@pytest.fixture
def sites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HPC_DL_SITES", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("HPC_DL_SITE", raising=False)
    return tmp_path


def test_keys_never_overlap_those_of_an_experiment() -> None:
    assert not set(site.SiteProfile.model_fields) & {field.name for field in dataclasses.fields(Experiment)}


@pytest.mark.parametrize("path", sorted((PROJECT / "slurm" / "sites").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_profiles_are_valid(path: Path) -> None:
    assert site.load(str(path)).description


def test_example_explains_every_key() -> None:
    text = (PROJECT / "slurm" / "sites" / "example.yaml").read_text()
    for section in (site.SiteProfile, site.Limits, site.Container, Reservation):
        for key in field_names(section):
            assert f"{key}:" in text, key


def test_sites_folder_of_the_environment_comes_first(sites: Path) -> None:
    (sites / "local.yaml").write_text("partition: private\n")
    assert site.load("local").partition == "private"


def test_environment_names_the_default(sites: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert site.load(None) == site.SiteProfile()
    (sites / "home.yaml").write_text("account: me\n")
    monkeypatch.setenv("HPC_DL_SITE", "home")
    assert site.load(None).account == "me"


@pytest.fixture
def own_sites(sites: Path) -> Path:
    """The folder of the user's own profiles."""
    folder = sites / "config" / "hpc_dl" / "sites"
    folder.mkdir(parents=True)
    return folder


def test_option_then_environment_then_host_choose(own_sites: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "login2.alpha.example")
    (own_sites / "alpha.yaml").write_text("hosts: ['login*.alpha.example']\naccount: of_host\n")
    (own_sites / "beta.yaml").write_text("hosts: [login.beta.example]\naccount: of_beta\n")
    (own_sites / "broken.yaml").write_text("hosts: [\n")  # perhaps of another cluster
    assert site.load(None).account == "of_host"
    monkeypatch.setenv("HPC_DL_SITE", "beta")
    assert site.load(None).account == "of_beta"
    assert site.load("alpha").account == "of_host"
    monkeypatch.delenv("HPC_DL_SITE")
    monkeypatch.setattr("socket.gethostname", lambda: "laptop")
    assert site.load(None) == site.SiteProfile()


def test_faults_of_the_profile_of_this_host_are_reported(own_sites: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "login2")
    (own_sites / "alpha.yaml").write_text("hosts: [login2]\npartitoin: gpu\n")
    with pytest.raises(ConfigError, match=r"alpha.yaml: partitoin: unknown key"):
        site.load(None)


def test_two_profiles_of_one_host_are_refused(own_sites: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "login2")
    for name in ("a", "b"):
        (own_sites / f"{name}.yaml").write_text("hosts: ['login?']\n")
    with pytest.raises(ConfigError, match=r"several profiles name this host, login2: .*a.yaml, .*b.yaml"):
        site.load(None)


def test_unknown_name_suggests_the_nearest(sites: Path) -> None:
    (sites / "juwels.yaml").write_text("{}\n")
    with pytest.raises(
        ConfigError, match=r"site: is unknown \(got 'juwel'; allowed: .*juwels.*\). Did you mean 'juwels'"
    ):
        site.load("juwel")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("partitoin: gpu", "partitoin: unknown key"),
        ("partition: 'a b'", "partition: "),
        ('account: "x\\nrm -rf /"', "account: "),
        ("environment: {A-B: '1'}", "'A-B' is not the name of an environment variable"),
        ("environment: {WANDB_API_KEY: '1'}", "WANDB_API_KEY looks like a secret"),
        ("scratch_dir: '/a b'", "scratch_dir: must begin with / or a $VARIABLE"),
        ("scratch_dir: $(rm -rf /)", "scratch_dir: must begin with / or a $VARIABLE"),
        ("limits: {memory: much}", "limits.memory: must be a size"),
        ("limits: {time: soon}", "limits.time: must be a Slurm time"),
        ("container: {}", "container.image: is required"),
        ("scheduler: pbs", "scheduler: is not one of the allowed values"),
    ],
)
def test_faults_name_file_and_key(sites: Path, text: str, message: str) -> None:
    path = sites / "bad.yaml"
    path.write_text(text + "\n")
    with pytest.raises(ConfigError) as caught:
        site.load("bad")
    assert str(path) in str(caught.value)
    assert message in str(caught.value)


def test_submission_without_a_profile_names_site_init(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setenv("PATH", str(tmp_path))
    report_site(site.SiteProfile(), lines.append)
    assert lines == [], "without Slurm there is nothing to inspect"
    (tmp_path / "sbatch").write_text("")
    (tmp_path / "sbatch").chmod(0o755)
    report_site(site.SiteProfile(partition="gpu"), lines.append)
    assert not any("site init" in line for line in lines)
    report_site(site.SiteProfile(), lines.append)
    assert any("`hpc-dl site init` writes one" in line for line in lines)


def test_folders_are_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRATCH", "/scratch/me")
    monkeypatch.setenv("HOME", "/home/me")
    profile = site.SiteProfile(runs_dir="$SCRATCH/runs", data_dir="~/data")
    assert (profile.runs(), profile.data()) == (Path("/scratch/me/runs"), Path("/home/me/data"))
    monkeypatch.delenv("SCRATCH")
    with pytest.raises(ConfigError, match="contains a variable that is not set here"):
        profile.runs()


def test_all_exceeded_limits_are_reported() -> None:
    limits = {"nodes": 2, "gpus_per_node": 4, "cpus_per_node": 8, "memory": "8G", "time": "01:00:00"}
    profile = site.SiteProfile.model_validate({"limits": limits})
    resources = {"nodes": 3, "gpus_per_node": 5, "cpus_per_gpu": 2, "memory": "9G", "time": 61}
    with pytest.raises(ConfigError) as caught:
        profile.check(Experiment.from_dict({**EXPERIMENT, "resources": resources}))
    keys = [fault.where for fault in caught.value.faults]
    assert keys == [f"resources.{key}" for key in ("nodes", "gpus_per_node", "cpus_per_gpu", "memory", "time")]
    profile.check(Experiment.from_dict({**EXPERIMENT, "resources": {"nodes": 2, "cpus_per_gpu": 8, "memory": "8G"}}))
