"""Job arrays, and the rules of unusual sites, on a real Slurm.

Most submissions are made in this process and held: what matters is Slurm's answer.
"""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hpc_dl.cluster.site import SiteProfile
from hpc_dl.cluster.status import cancel, status
from hpc_dl.cluster.submit import submit_run
from hpc_dl.config.experiment import Experiment
from hpc_dl.errors import ClusterError
from hpc_dl.regular_files import read_json
from hpc_dl.runs import attempts
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.search import all_runs
from hpc_dl.runs.state import read_state
from tests.cluster.conftest import Desk, wait_until
from tests.conftest import PROJECT

pytestmark = pytest.mark.slurm

EXPERIMENT = {"name": "x", "data": {"source": "digits"}, "model": {"name": "linear"}, "wandb": {"mode": "disabled"}}
RESOURCES = {"gpus_per_node": 0, "cpus_per_gpu": 1, "memory": "300M", "time": 5}
Submit = Callable[..., RunFolder]


def slurm(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def facts_of(run: RunFolder) -> str:
    return slurm("scontrol", "--oneliner", "show", "job", read_json(run.job)["job_id"])


@pytest.fixture
def submitted(tmp_path: Path, slurm_cluster: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Submit]:
    """A function that submits a run, held by default; all jobs are cancelled at the end."""
    for name, value in slurm_cluster.items():
        monkeypatch.setenv(name, value)
    runs: list[RunFolder] = []

    def send(
        sbatch: dict[str, object] | None = None, *, resources: dict[str, object] | None = None, **site: object
    ) -> RunFolder:
        run = RunFolder.create(tmp_path / "runs", "x")
        experiment = Experiment.from_dict({**EXPERIMENT, "resources": RESOURCES | (resources or {})})
        submit_run(run, experiment, SiteProfile.model_validate({"sbatch": {"hold": True, **(sbatch or {})}, **site}))
        runs.append(run)
        return run

    yield send
    for run in runs:
        subprocess.run(["scancel", "--quiet", read_json(run.job)["job_id"]], timeout=60)


@pytest.mark.parametrize(
    ("site", "resources", "messages"),
    [
        ({"account": "nobody"}, {}, ("Invalid account", "Set `account`", "account is 'nobody'")),
        ({"qos": "nothing"}, {}, ("Invalid qos", "Set `qos`", "qos is 'nothing'")),
        ({"qos": "limited"}, {"gpus_per_node": 1, "time": 60}, ("QOSMaxWall", "resources.time is 60", "'limited'")),
        ({"qos": "limited"}, {}, ("QOSMinGRES", "more resources.gpus_per_node")),
        ({"qos": "limited"}, {"gpus_per_node": 3}, ("QOSMaxGRESPerJob", "fewer resources.gpus_per_node")),
        ({"partition": "no-mem"}, {}, ("use --mem-per-cpu", "`sbatch: {OPTION: VALUE}`")),
        ({"sbatch": {"hold": True, "licenses": "no:1"}}, {}, ("Invalid license", "scontrol show licenses")),
        ({"sbatch": {"clusters": "nowhere"}}, {}, ("nowhere", "sacctmgr show clusters")),
    ],
)  # fmt: skip
def test_refusal_names_the_key(
    submitted: Submit, tmp_path: Path, site: dict[str, object], resources: dict[str, object], messages: tuple[str, ...]
) -> None:
    with pytest.raises(ClusterError) as caught:
        submitted(site.pop("sbatch", None), resources=resources, **site)
    for message in messages:
        assert message in str(caught.value)
    assert list(all_runs(tmp_path / "runs")) == []


def test_limit_of_jobs_in_the_queue(submitted: Submit) -> None:
    for _ in range(2):
        submitted(qos="limited", resources={"gpus_per_node": 1})
    with pytest.raises(ClusterError, match=r"QOSMaxSubmitJobPerUserLimit.*Wait until some of them end"):
        submitted(qos="limited", resources={"gpus_per_node": 1})


def test_job_that_waits_says_whether_it_can_start(submitted: Submit) -> None:
    other = str(read_json(submitted().job)["job_id"])
    cases = {
        "qos": (submitted({"hold": None}, qos="limited-later"), "QOSMinGRES"),
        "time": (submitted({"hold": None}, partition="small", resources={"time": 60}), "PartitionTimeLimit"),
        "nodes": (submitted({"hold": None}, partition="small", resources={"nodes": 2}), "PartitionNodeLimit"),
        "account": (submitted({"hold": None}, partition="other-account"), "account not permitted"),
        "dependency": (submitted({"hold": None, "dependency": f"afterok:{other}"}), "DependencyNeverSatisfied"),
    }
    slurm("scancel", other)
    for run, reason in cases.values():
        wait_until(lambda: reason in status(run).get("reason", ""), reason, 90)  # noqa: B023
        facts = status(run)
        assert facts["state"] == "pending"
        assert "it will never start" in facts["reason"]


def test_profile_and_not_the_shell_decides(submitted: Submit, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PARTITION": "preemptible", "TIMELIMIT": "2", "NO_REQUEUE": "1", "MEM_PER_CPU": "7"}.items():
        monkeypatch.setenv(f"SBATCH_{name}", value)
    facts = facts_of(submitted(partition="main"))
    for expected in ("Partition=main", "TimeLimit=00:05:00", "Requeue=1", "MinMemoryNode=300M"):
        assert expected in facts
    assert "Partition=preemptible" in facts_of(submitted()), "as the dry run shows"
    changed = {"mem": None, "mem-per-cpu": "{memory_per_cpu}M", "gres": "gpu:{gpus_per_node}", "requeue": None,
               "no-requeue": True, "nice": 5}  # fmt: skip
    facts = facts_of(submitted(changed, partition="no-mem", resources={"gpus_per_node": 2}))
    for expected in ("Partition=no-mem", "MinMemoryCPU=150M", "gres:gpu:2", "Requeue=0", "Nice=5"):
        assert expected in facts, facts


def test_cluster_of_a_job_is_recorded_and_asked(submitted: Submit) -> None:
    run = submitted({"clusters": "dev"})
    assert read_json(run.job)["cluster"] == "dev"
    facts = status(run)
    assert (facts["state"], facts["job"]) == ("pending", f"Slurm job {read_json(run.job)['job_id']} on cluster dev")
    assert cancel(run)
    assert status(run)["state"] == "cancelled"


def test_job_that_needs_more_memory_says_so(slurm_desk: Desk) -> None:
    configuration = subprocess.run(["scontrol", "show", "config"], env=slurm_desk.environment, capture_output=True)
    if b"task/cgroup" not in configuration.stdout:
        pytest.skip("this machine does not let the development cluster limit memory with cgroups")
    result = slurm_desk.run("submit", "tiny.yaml", "resources.memory=100M", "--wait", status=1)  # torch needs more
    assert "increase resources.memory" in result.stderr


def test_task_of_an_array_is_requeued_and_cancelled_alone(slurm_desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_CONF", "PATH"):
        monkeypatch.setenv(name, slurm_desk.environment[name])
    options = ["--parsable", "--array=0-1", "--gpus-per-node=1", "--cpus-per-gpu=1", "--mem-per-cpu=1500M", "--time=10"]
    training = ["tiny.yaml", "model={class: own_model.Own}", "optimizer={}", "trainer.max_epochs=1000000"]
    script = str(PROJECT / "slurm" / "train.sbatch")
    result = subprocess.run(
        ["sbatch", *options, script, *training], cwd=slurm_desk.folder, env=slurm_desk.environment, capture_output=True,
        text=True, timeout=60, check=True,
    )  # fmt: skip
    array = result.stdout.strip()
    try:
        wait_until(lambda: len(list(slurm_desk.runs.glob("*/journal/*.jsonl"))) == 2, "both tasks train", 120)
        runs = {read_json(path)["job_id"]: RunFolder(path.parent) for path in slurm_desk.runs.glob("*/job.json")}
        assert runs.keys() == {f"{array}_0", f"{array}_1"}
        # Slurm gives the number of the array to one of its tasks.
        raw = slurm("squeue", "--noheader", f"--jobs={array}", "--format=%A %i").split()
        assert array in raw[::2]
        same = raw[raw.index(array) + 1]
        requeued, other = runs.pop(same), runs.popitem()[1]
        for run in (requeued, other):
            wait_until(lambda: status(run).get("step"), f"{run.name} trains", 60)  # noqa: B023
        slurm("scancel", "--signal=USR2", same)
        wait_until(lambda: status(requeued)["state"] == "pending", "the task is requeued", 90)
        assert status(other)["state"] == "running"
        assert "Restarts=1" in slurm("scontrol", "--oneliner", "show", "job", same)
        assert cancel(requeued)
        wait_until(lambda: status(requeued)["state"] == "cancelled", "the task is cancelled", 90)
        facts = status(other)
        assert facts["state"] == "running"
        assert [event["event"] for event in attempts.history(other)] == ["started"]
        assert cancel(other)
        wait_until(lambda: read_state(other)["state"] != "running", "the other task stops", 60)
        assert status(other)["state"] in ("running", "cancelled")  # its batch script may still be ending
    finally:
        subprocess.run(["scancel", "--quiet", array], env=slurm_desk.environment, timeout=60)
