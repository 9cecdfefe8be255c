"""What the cluster refuses, as real sites do: accounts, limits of QOS and partitions, --mem."""

from __future__ import annotations

import os

from dev_cluster.cluster import Cluster
from dev_cluster.errors import Fault
from dev_cluster.slurm import run_client

ACCOUNT = "dev"
#: Accounts without any limit, and one that no user may use.
_ACCOUNTS = (ACCOUNT, "other")
_LIMITS = "MaxWall=00:10:00 MaxSubmitJobsPerUser=2 MinTRES=gres/gpu=1 MaxTRESPerJob=gres/gpu=2"
# DenyOnLimit refuses a job at once; without it the job waits and gives the limit as its reason.
_QOS = {"limited": f"{_LIMITS} Flags=DenyOnLimit", "limited-later": _LIMITS}

#: Lines of slurm.conf. A job of "small" that exceeds a limit waits with a reason.
PARTITIONS = (
    "PartitionName=small MaxTime=00:05:00 MaxNodes=1 MaxMemPerNode=400 PreemptMode=OFF PriorityTier=10",
    "PartitionName=other-account AllowAccounts=other PreemptMode=OFF PriorityTier=10",
    "PartitionName=no-mem PreemptMode=OFF PriorityTier=10",
)

#: The site's own rules. `Unspecified error` is what Slurm makes of a refusal here.
JOB_SUBMIT = """\
function slurm_job_submit(job, partitions, submit_uid)
    if job.partition == "no-mem" and job.min_mem_per_node ~= nil then
        slurm.log_user("--mem is not allowed on this partition: use --mem-per-cpu")
        return slurm.ERROR
    end
    return slurm.SUCCESS
end

function slurm_job_modify(job, old, partitions, submit_uid)
    return slurm.SUCCESS
end
"""


def create(cluster: Cluster) -> None:
    """Create the accounts, users and QOS in the accounting database, unless they exist.

    Raises:
        Fault: slurmdbd refuses.
    """
    users = [name for name in ("root", os.environ.get("SUDO_USER", "")) if name]
    existing = run_client(cluster, "sacctmgr", "-nP", "list", "associations", "format=account,user").stdout.split()
    for account in _ACCOUNTS:
        if f"{account}|" not in existing:
            _change(cluster, "add", "account", account, "Description=test", "Organization=test")
    qos = run_client(cluster, "sacctmgr", "-nP", "list", "qos", "format=name").stdout.split()
    for name, limits in _QOS.items():
        if name not in qos:
            _change(cluster, "add", "qos", name, *limits.split())
    for user in users:
        if f"{ACCOUNT}|{user}" not in existing:
            _change(cluster, "add", "user", user, f"Account={ACCOUNT}", f"DefaultAccount={ACCOUNT}")
            _change(cluster, "modify", "user", user, "set", f"qos=normal,{','.join(_QOS)}")


def _change(cluster: Cluster, *argv: str) -> None:
    result = run_client(cluster, "sacctmgr", "-i", *argv)
    if result.returncode:
        raise Fault(f"`sacctmgr {' '.join(argv)}` failed: {' '.join((result.stdout + result.stderr).split())}", 1)
