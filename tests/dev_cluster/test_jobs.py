"""Jobs on the development cluster: what they see, how they end, requeue and preemption."""

import subprocess

import pytest

from tests.dev_cluster.conftest import Cluster, wait_until

pytestmark = pytest.mark.slurm


def test_nodes_take_jobs(shared: Cluster) -> None:
    states = dict(line.split() for line in shared.slurm("sinfo", "-h", "-N", "-p", "main", "-o", "%N %T").split("\n"))
    assert len(states) >= 2
    assert set(states.values()) <= {"idle", "mixed", "allocated", "completing"}
    assert "all is up" in shared.run("status")


def test_tasks_of_two_nodes_see_their_gpus(shared: Cluster) -> None:
    command = "echo $SLURM_PROCID $SLURM_LOCALID $SLURMD_NODENAME $CUDA_VISIBLE_DEVICES"
    options = ["--nodes=2", "--ntasks-per-node=2", "--gpus-per-node=2", "--mem=100M"]
    tasks = sorted(line.split() for line in shared.slurm("srun", "-Q", *options, "sh", "-c", command).split("\n"))
    assert [task[0] for task in tasks] == ["0", "1", "2", "3"]
    assert [task[1] for task in tasks] == ["0", "1", "0", "1"]
    first, last = tasks[0][2], tasks[3][2]
    assert first != last
    assert [task[2] for task in tasks] == [first, first, last, last]
    assert all(len(set(task[3].split(","))) == 2 for task in tasks), "each task sees two GPUs"


def test_accounting_records_how_a_job_ended(shared: Cluster) -> None:
    succeeding, failing = shared.submit("exit 0"), shared.submit("exit 3")
    wait_until(lambda: (shared.state(succeeding), shared.state(failing)) == ("COMPLETED", "FAILED"), "both jobs end")
    wait_until(lambda: shared.accounted_states(succeeding) == ["COMPLETED"], "sacct reports the first job", 5)
    wait_until(lambda: shared.accounted_states(failing) == ["FAILED"], "sacct reports the second job", 5)
    assert shared.slurm("sacct", "-X", "-n", "-P", "-j", failing, "-o", "ExitCode") == "3:0"


def test_job_that_exceeds_its_memory_is_killed_by_its_cgroup(shared: Cluster) -> None:
    if "task/cgroup" not in shared.slurm("scontrol", "show", "config"):
        pytest.skip("this machine does not let the cluster create cgroups that limit memory")
    job = shared.submit('python3 -c "bytearray(400 << 20)"')  # with --mem=100M
    wait_until(lambda: shared.state(job) == "OUT_OF_MEMORY", "the job runs out of memory")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--account=nobody"], "Invalid account or account/partition combination specified"),
        (["--qos=nothing"], "Invalid qos specification"),
        (["--qos=limited", "--gpus=1", "--time=60"], "QOSMaxWallDurationPerJobLimit"),
        (["--qos=limited", "--time=5"], "QOSMinGRES"),
        (["--partition=no-mem", "--mem=100M"], "--mem is not allowed on this partition"),
    ],
)
def test_limits_are_enforced(shared: Cluster, options: list[str], message: str) -> None:
    command = ["sbatch", "--output=/dev/null", *options, "--wrap=true"]
    refused = subprocess.run(command, env=shared.environment, capture_output=True, text=True, timeout=60)
    assert refused.returncode != 0
    assert message in refused.stderr


def test_requeued_job_starts_again_soon(second: Cluster) -> None:
    job = second.submit("sleep 600")
    wait_until(lambda: second.state(job) == "RUNNING", "the job runs")
    second.slurm("scontrol", "requeue", job)
    wait_until(lambda: second.state(job) == "PENDING", "the job is requeued")
    wait_until(lambda: second.state(job) == "RUNNING", "the job runs again", 20)
    second.slurm("scancel", job)


@pytest.mark.slow
def test_preempted_job_is_requeued(second: Cluster) -> None:
    low = second.submit("sleep 600", "--partition=preemptible", "--nodes=2", "--exclusive")
    wait_until(lambda: second.state(low) == "RUNNING", "the preemptible job runs")
    high = second.submit("true", "--partition=main", "--nodes=2", "--exclusive")
    wait_until(lambda: second.state(high) == "COMPLETED", "the other job ends on its nodes")
    wait_until(lambda: second.state(low) == "RUNNING", "the preemptible job runs again", 40)
    wait_until(lambda: second.accounted_states(low) == ["PREEMPTED", "RUNNING"], "sacct reports both")
    second.slurm("scancel", low)


@pytest.mark.slow
def test_job_of_a_failed_node_starts_again(second: Cluster) -> None:
    node = second.nodes()[1]
    job = second.submit("srun sleep 611", "--nodes=2")
    wait_until(lambda: second.state(job) == "RUNNING", "the job runs")
    sleepers = ["pgrep", "-f", "^(/[a-z/]+/)?sleep 611$"]
    wait_until(lambda: len(subprocess.run(sleepers, capture_output=True).stdout.split()) == 2, "both tasks run")
    before = second.pids()
    assert "slurmd killed" in second.run("node", node, "down")
    after = second.pids()
    assert before.keys() - after.keys() == {f"slurmd-{node}"}
    assert len(subprocess.run(sleepers, capture_output=True).stdout.split()) <= 1, "the node's task was killed, too"
    second.run("node", node, "up")
    wait_until(lambda: second.accounted_states(job)[0] == "NODE_FAIL", "sacct reports the failure")
    wait_until(lambda: second.state(job) == "RUNNING", "the job runs again", 40)
    second.slurm("scancel", job)
