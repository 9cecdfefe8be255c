"""A cluster: its settings, the files in its state folder, and the environment of its programs."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import re

from dev_cluster.errors import Fault, command
from dev_cluster.processes import SYSTEM_PATH

DEFAULT_STATE_FOLDER = "/var/lib/hpc_dl-dev-cluster"


@dataclasses.dataclass
class Settings:
    """The options of `up`, kept in cluster.json so that a later `up` needs none.

    Attributes:
        nodes: number of nodes.
        gpus: fake GPUs of each node.
        cpus: CPUs that each node claims, however many the machine has.
        prefix: nodes are called PREFIX1, PREFIX2, and so on.
        requeue_delay: least seconds before a requeued job starts again.
        grace_time: GraceTime, in seconds, of the partition preemptible-grace.
        set: further lines of slurm.conf.
        base_port: the first of the cluster's consecutive ports.
        token: marks the processes of this cluster in their environment.
    """

    nodes: int = 2
    gpus: int = 4
    cpus: int = 16
    prefix: str = "n"
    requeue_delay: int = 10
    grace_time: int = 20
    set: dict[str, str] = dataclasses.field(default_factory=dict)
    base_port: int = 0
    token: str = ""


class Cluster:
    """One cluster, identified by its state folder.

    Attributes:
        folder: the state folder.
        settings: as the last `up` recorded them, else the defaults.
        environment: of every daemon and client: none of the caller's SLURM_*, SINFO_* or SQUEUE_*.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.slurm_conf = folder / "slurm.conf"
        self.munge_socket = folder / "munge" / "socket"
        self.database_socket = folder / "run" / "db.sock"
        self.settings_file = folder / "cluster.json"
        self.lock_file = folder / "lock"
        self.settings = Settings()
        if self.settings_file.exists():
            recorded = json.loads(self.settings_file.read_text())
            fields = {field.name for field in dataclasses.fields(Settings)}
            self.settings = Settings(**{key: value for key, value in recorded.items() if key in fields})
        self.environment = {
            "PATH": SYSTEM_PATH,
            "LANG": "C.UTF-8",
            "HOME": "/root",
            "SLURM_CONF": str(self.slurm_conf),
        }

    @property
    def exists(self) -> bool:
        """Whether `up` has ever run here."""
        return self.settings_file.exists()

    @property
    def nodes(self) -> list[str]:
        """The names of the nodes."""
        return [f"{self.settings.prefix}{number}" for number in range(1, self.settings.nodes + 1)]

    @property
    def node_range(self) -> str:
        """The names of the nodes in Slurm's notation."""
        return f"{self.settings.prefix}[1-{self.settings.nodes}]"

    def power_loss(self, node: str) -> pathlib.Path:
        """The mark that `node NAME down` sets until the node's slurmd runs again."""
        return self.folder / "run" / f"power-loss-{node}"

    def log(self, name: str) -> pathlib.Path:
        """The log of a daemon."""
        return self.folder / "log" / f"{name}.log"

    def output(self, name: str) -> pathlib.Path:
        """The file for stdout and stderr of a daemon; Slurm's daemons also write their own logs."""
        return self.log(name) if name in ("munged", "mariadbd") else self.log(name).with_suffix(".out")


def state_folder() -> pathlib.Path:
    """Return the state folder that the environment names.

    Raises:
        Fault: slurm.conf or a socket cannot have such a path.
    """
    text = os.environ.get("HPC_DL_DEV_CLUSTER") or DEFAULT_STATE_FOLDER
    if not re.fullmatch(r"/[A-Za-z0-9._/+-]*[A-Za-z0-9._+-]", text) or len(text) > 70:
        raise Fault(
            f"HPC_DL_DEV_CLUSTER={text!r}: it must be an absolute path of at most 70 characters (it holds sockets), "
            "made of letters, digits and ._+-/ (slurm.conf has no quoting)"
        )
    return pathlib.Path(os.path.normpath(text))


def prepare_state_folder(path: pathlib.Path) -> None:
    """Create the state folder; refuse one that holds something else or belongs to another user."""
    if path.is_dir():
        if path.stat().st_uid != 0:
            raise Fault(f"{path} belongs to user {path.stat().st_uid}, not root: choose another HPC_DL_DEV_CLUSTER")
        entries = {entry.name for entry in path.iterdir()}
        if entries - {"lock", "apt.log"} and "cluster.json" not in entries:
            raise Fault(f"{path} is not empty and not a cluster's state folder: choose another HPC_DL_DEV_CLUSTER")
    elif path.exists():
        raise Fault(f"{path} is not a folder: choose another HPC_DL_DEV_CLUSTER")
    else:
        path.mkdir(parents=True, mode=0o755)


def require_cluster(cluster: Cluster) -> None:
    """Check that `up` has run.

    Raises:
        Fault: it never has.
    """
    if not cluster.exists:
        raise Fault(f"no cluster in {cluster.folder}: `{command()} up` creates one")
