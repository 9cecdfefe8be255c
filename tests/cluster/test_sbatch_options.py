"""Options of sbatch: changed by a site profile, and never by variables of the user's shell."""

from pathlib import Path

import pytest

from hpc_dl.cluster import job_environment, site
from hpc_dl.cluster.submit import batch_script
from hpc_dl.config.experiment import Experiment
from hpc_dl.errors import ConfigError

_RESOURCES = {"nodes": 2, "gpus_per_node": 2, "cpus_per_gpu": 4, "memory": "16G"}


def options(profile: site.SiteProfile, **resources: object) -> dict[str, str]:
    """The options of a batch script for an experiment."""
    experiment = {"name": "x", "data": {"source": "digits"}, "model": {"name": "linear"}}
    text = batch_script(
        Path("/runs"), Experiment.from_dict({**experiment, "resources": _RESOURCES | resources}), profile
    )
    lines = [line.removeprefix("#SBATCH --").partition("=") for line in text.splitlines() if line.startswith("#SBATCH")]
    assert len({name for name, _, _ in lines}) == len(lines)
    srun = next(line for line in text.splitlines() if line.startswith("srun"))
    return {name: value for name, _, value in lines} | {"srun": srun}


@pytest.mark.parametrize(
    ("sbatch", "present", "absent"),
    [
        ({"mem": None, "gres": "gpu:a100:1"}, {"gres": "gpu:a100:1"}, {"mem", "gpus-per-node"}),
        ({"mem-per-cpu": "{memory_per_cpu}M"}, {"mem-per-cpu": "2048M"}, {"mem"}),
        ({"gres": "gpu:a100:{gpus_per_node}"}, {"gres": "gpu:a100:2"}, {"gpus-per-node"}),
        ({"gres": "nvme:1"}, {"gres": "nvme:1", "gpus-per-node": "2"}, set()),
        ({"no-requeue": True}, {"no-requeue": ""}, {"requeue"}),
        ({"signal": None, "requeue": None}, {}, {"signal", "requeue", "no-requeue"}),
        ({"time": "2-00:00:00", "nodes": 3}, {"time": "2-00:00:00", "nodes": "3"}, set()),
        ({"clusters": "alpha", "exclude": "n[1-2]"}, {"clusters": "alpha", "exclude": "'n[1-2]'"}, {"array"}),
        ({"comment": "two words"}, {"comment": "'two words'"}, set()),
        ({"cpus-per-gpu": 8}, {"cpus-per-gpu": "8"}, {"cpus-per-task"}),
        ({"gpus": "{gpus}"}, {"gpus": "4"}, {"gpus-per-node"}),
        ({"requeue": False}, {"no-requeue": ""}, {"requeue"}),
        ({"hold": True, "nice": True}, {"hold": "", "nice": ""}, set()),
    ],
)  # fmt: skip
def test_profile_sets_replaces_and_omits(sbatch: dict[str, object], present: dict[str, str], absent: set[str]) -> None:
    written = options(site.SiteProfile.model_validate({"sbatch": sbatch}))
    assert present.items() <= written.items()
    assert not absent & written.keys()
    assert ("--cpus-per-task=4" in written["srun"]) == ("cpus-per-gpu" not in sbatch)


def test_job_without_gpus_requests_none_in_the_way_of_the_site() -> None:
    written = options(site.SiteProfile(sbatch={"gres": "gpu:a100:{gpus_per_node}"}), gpus_per_node=0)
    assert not {"gres", "gpus-per-node"} & written.keys()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sbatch: {memory: 1G}", "memory is not an option of sbatch"),
        ("sbatch: {mem-per-cpus: 1G}", "Did you mean 'mem-per-cpu'"),
        ("sbatch: {array: 0-3}", "array cannot be set: a run is a single job"),
        ('sbatch: {comment: "it\'s"}', "comment must not contain"),
        ('sbatch: {comment: "a\\nrm -rf /"}', "comment must not contain"),
        ("sbatch: {gres: 'gpu:{gpu}'}", "unknown placeholder {gpu}"),
        ("sbatch: {gres: 'gpu:{'}", "brace"),
        ("sbatch: {mem: 1G, mem-per-cpu: 1G}", "exclude each other"),
        ("sbatch: {mail-user: ''}", "mail-user needs a value; null omits the option"),
        ("sbatch: {mail-user: true}", "mail-user needs a value; null omits the option"),
        ("sbatch: [mem]", "sbatch"),
    ],
)
def test_fault_in_the_section_is_reported(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(text + "\n")
    with pytest.raises(ConfigError) as caught:
        site.load(str(path))
    assert message.lower() in str(caught.value).lower()
    assert len(str(caught.value).splitlines()) == 1


def test_shell_never_changes_what_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ACCOUNT", "PARTITION", "TIMELIMIT", "NO_REQUEUE", "MEM_PER_CPU", "EXPORT", "GPUS_PER_NODE"):
        monkeypatch.setenv(f"SBATCH_{name}", "1")
    monkeypatch.setenv("SLURM_CLUSTERS", "alpha")
    written = options(site.SiteProfile(partition="main"))
    assert (written["partition"], written["time"], written["gpus-per-node"]) == ("main", "60", "2")
    # Where the profile says nothing: where the job runs, and who pays. The dry run shows it.
    assert (written["account"], written["clusters"]) == ("1", "alpha")
    assert "requeue" in written and not {"no-requeue", "mem-per-cpu", "export"} & written.keys()
    assert "account" not in options(site.SiteProfile(sbatch={"account": None}))
    environment = job_environment.outside_of_jobs(
        {"SBATCH_TIMELIMIT": "2", "SLURM_CLUSTERS": "a", "SRUN_X": "1", "A": "1"}
    )
    assert environment == {"A": "1"}


def test_rank_variables_of_another_job_are_cleared() -> None:
    left_over = {"MASTER_ADDR": "elsewhere", "RANK": "3", "TORCHELASTIC_RUN_ID": "x", "SLURM_HINT": "nomultithread"}
    job = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n[1-2]", "PATH": "/bin"}
    assert job_environment.for_srun(left_over | {"SRUN_CPUS_PER_TASK": "9"} | job) == job
