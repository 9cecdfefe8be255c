"""The configuration files of Slurm's daemons, written from the cluster's settings."""

from __future__ import annotations

import dataclasses
import json
import os
import secrets

from dev_cluster import memory, policies, slurm
from dev_cluster.cluster import Cluster
from dev_cluster.files import write_atomically

#: Keys of slurm.conf, in lower case, that follow from the settings or the state folder: not for
#: --set.
RESERVED_KEYS = {
    "clustername", "slurmctldhost", "slurmctldport", "slurmdport", "authtype", "authinfo", "slurmuser",
    "slurmduser", "statesavelocation", "slurmdspooldir", "slurmctldpidfile", "slurmdpidfile",
    "slurmctldlogfile", "slurmdlogfile", "accountingstoragehost", "accountingstorageport", "grestypes",
    "accountingstoragepass", "accountingstoragetype", "nodename", "partitionname", "include",
}  # fmt: skip


def create_folders(cluster: Cluster) -> None:
    """Create the folders that the daemons expect."""
    spool = (f"spool/{node}" for node in cluster.nodes)
    for name in ("munge", "run", "log", "tmp", "ctld", "spool", "gpu", *spool):
        (cluster.folder / name).mkdir(mode=0o755, exist_ok=True)


def write_configuration(cluster: Cluster) -> None:
    """Write every configuration file, munge's key and the fake GPUs."""
    settings, folder = cluster.settings, cluster.folder
    key = folder / "munge" / "key"
    if not key.exists() or key.stat().st_size < 32:
        key.unlink(missing_ok=True)
        with os.fdopen(os.open(key, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o400), "wb") as stream:
            stream.write(secrets.token_bytes(128))
    for number in range(settings.gpus):
        # slurmd sets CUDA_VISIBLE_DEVICES for character devices only. mknod needs a capability, a
        # link does not.
        gpu = folder / "gpu" / f"nvidia{number}"
        gpu.unlink(missing_ok=True)
        gpu.symlink_to("/dev/null")
    write_atomically(cluster.slurm_conf, slurm_conf(cluster))
    devices = f"{folder}/gpu/nvidia[0-{settings.gpus - 1}]"
    gres = f"NodeName={cluster.node_range} Name=gpu Flags=nvidia_gpu_env File={devices}\n"
    write_atomically(folder / "gres.conf", gres if settings.gpus else "")
    write_atomically(folder / "cgroup.conf", memory.cgroup_conf(slurm.version()))
    write_atomically(folder / "job_submit.lua", policies.JOB_SUBMIT)
    write_atomically(folder / "slurmdbd.conf", slurmdbd_conf(cluster), 0o600)
    write_atomically(cluster.settings_file, json.dumps(dataclasses.asdict(settings), indent=2) + "\n")


def slurmdbd_conf(cluster: Cluster) -> str:
    """Return the text of slurmdbd.conf."""
    entries = {
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={cluster.munge_socket}",
        "DbdHost": "localhost",
        "DbdAddr": "127.0.0.1",
        "DbdPort": cluster.settings.base_port + 1,
        "SlurmUser": "root",
        "LogFile": cluster.log("slurmdbd"),
        "PidFile": cluster.folder / "run" / "slurmdbd.pid",
        "StorageType": "accounting_storage/mysql",
        "StorageHost": "localhost",
        "StorageUser": "root",
        "StorageLoc": "slurm_acct_db",
    }
    return "".join(f"{key}={value}\n" for key, value in entries.items())


def slurm_conf(cluster: Cluster) -> str:
    """Return the text of slurm.conf."""
    settings, folder = cluster.settings, cluster.folder
    entries: dict[str, object] = {
        "ClusterName": "dev",
        "SlurmctldHost": "localhost(127.0.0.1)",
        "SlurmctldPort": settings.base_port,
        "SlurmUser": "root",
        "AuthType": "auth/munge",
        # cred_expire is also how long a requeued job waits before it may start again (120 s by
        # default).
        "AuthInfo": f"socket={cluster.munge_socket},cred_expire={settings.requeue_delay}",
        "StateSaveLocation": folder / "ctld",
        "SlurmdSpoolDir": folder / "spool" / "%n",
        "SlurmctldPidFile": folder / "run" / "slurmctld.pid",
        "SlurmdPidFile": folder / "run" / "slurmd-%n.pid",
        "SlurmctldLogFile": cluster.log("slurmctld"),
        "SlurmdLogFile": cluster.log("slurmd-%n"),
        # Needs no cgroups: containers and sandboxes often have none.
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/cgroup" if memory.is_enforceable() else "task/none",
        "MpiDefault": "none",
        "MailProg": "/bin/true",
        "GresTypes": "gpu",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_Core_Memory",
        "DefMemPerCPU": 1000,
        "SlurmdParameters": "config_overrides",
        # Short delays rather than throughput.
        "SchedulerType": "sched/backfill",
        "SchedulerParameters": "sched_interval=2,bf_interval=2,batch_sched_delay=0",
        "JobRequeue": 1,
        # A node that was silent returns by itself; one that rebooted loses its jobs at once, as at
        # most sites.
        "ReturnToService": 1,
        "OverTimeLimit": 0,
        "KillWait": 30,
        "MinJobAge": 3600,
        # Short enough to notice a dead node soon, long enough for a machine that is busy importing
        # torch.
        "SlurmdTimeout": 30,
        "MessageTimeout": 20,
        "BatchStartTimeout": 60,
        "PreemptType": "preempt/partition_prio",
        "PreemptMode": "REQUEUE",
        "JobAcctGatherType": "jobacct_gather/linux",
        "JobAcctGatherFrequency": "task=5",
        "AccountingStorageType": "accounting_storage/slurmdbd",
        "AccountingStorageHost": "127.0.0.1",
        "AccountingStoragePort": settings.base_port + 1,
        "AccountingStoragePass": cluster.munge_socket,  # slurmdbd's munge socket, which AuthInfo does not set
        "AccountingStorageTRES": "gres/gpu",
        "AccountingStorageEnforce": "associations,limits,qos",
        "JobSubmitPlugins": "lua",
    }
    known_keys = {key.lower(): key for key in entries}
    for key, value in settings.set.items():
        entries[known_keys.get(key.lower(), key)] = value
    ports = f"[{settings.base_port + 2}-{settings.base_port + 1 + settings.nodes}]"
    gres = f" Gres=gpu:{settings.gpus}" if settings.gpus else ""
    lines = [
        "# Written by `cluster up`; changes by hand are lost. See `cluster up --help` for --set.",
        *(f"{key}={value}" for key, value in entries.items()),
        f"NodeName={cluster.node_range} NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports} "
        f"Sockets=1 CoresPerSocket={settings.cpus} ThreadsPerCore=1 RealMemory={settings.cpus * 4000}{gres}",
        "PartitionName=DEFAULT Nodes=ALL DefaultTime=00:10:00 MaxTime=1-00:00:00 State=UP",
        "PartitionName=main Default=YES PriorityTier=10 PreemptMode=OFF",
        # Two, because they behave differently: without a grace time Slurm requeues the job at its
        # SIGTERM; with one it does so only at the end of that time, so that a job that exits
        # earlier is COMPLETED.
        "PartitionName=preemptible PriorityTier=1 PreemptMode=REQUEUE",
        f"PartitionName=preemptible-grace PriorityTier=1 PreemptMode=REQUEUE GraceTime={settings.grace_time}",
        *policies.PARTITIONS,
    ]
    return "\n".join(lines) + "\n"
