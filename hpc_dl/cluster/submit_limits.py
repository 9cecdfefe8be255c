"""How many more jobs a user may have in the queue, after Slurm has refused some for their number.

Each task of a job array counts as a job. Slurm refuses an array as a whole, and its message names
the limit but neither its value nor how much of it is used.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from hpc_dl.cluster import sbatch_options, slurm, slurm_sentences
from hpc_dl.cluster.site import SiteProfile
from hpc_dl.cluster.slurm_sentences import SubmitLimit
from hpc_dl.runs.provenance import user


@dataclass(frozen=True)
class Allowance:
    """How many jobs a limit still allows.

    Attributes:
        jobs: the number, at least 0.
        limit: for people: ``MaxSubmitPU=100 of the QOS normal``.
    """

    jobs: int
    limit: str


def allowance(refusal: str, site: SiteProfile) -> Allowance | None:
    """Ask Slurm how many jobs the limit still allows for which it refused some.

    Args:
        refusal: Slurm's message.
        site: the site profile with which they were to be submitted.

    Returns:
        The number; ``None`` if the refusal has another reason, or Slurm does not say.
    """
    limit = next((limit for name, limit in slurm_sentences.submit_limits().items() if name in refusal), None)
    if limit is None:
        return None
    profile = site.model_dump(include={"account", "partition", "qos"}, exclude_none=True)
    places = {**sbatch_options.places(os.environ), **profile, **site.sbatch}  # as in the batch script
    account = str(places.get("account") or _accounting("user", f"name={user()}", column="DefaultAccount"))
    queued_of = [*(["--me"] if limit.per_user else []), *([f"--account={account}"] if limit.per_account else [])]
    if not limit.of_qos:
        names = ["user=" if not limit.per_user else f"user={user()}", f"account={account}"]
        found = [_allowed(limit, _accounting("assoc", *names, column=limit.column), queued_of, f"account {account}")]
    else:
        found = [
            _allowed(
                limit,
                _accounting("qos", f"name={qos}", column=limit.column),
                [*queued_of, f"--qos={qos}"],
                f"QOS {qos}",
            )
            for qos in _qos_of(str(places.get("qos") or ""), str(places.get("partition") or ""), account)
        ]
    return min(filter(None, found), key=lambda allowed: allowed.jobs, default=None)


def _allowed(limit: SubmitLimit, value: str, queued_of: list[str], whose: str) -> Allowance | None:
    queued = slurm.answer("squeue", "--noheader", "--array", "--format=%i", *queued_of)
    if not value.isdigit() or queued is None:
        return None
    return Allowance(max(0, int(value) - len(queued.split())), f"{limit.column}={value} of the {whose}")


def _qos_of(requested: str, partition: str, account: str) -> list[str]:
    """The QOS whose limits hold for a job: its own, and that of its partition."""
    names = [requested or _accounting("assoc", f"user={user()}", f"account={account}", column="DefaultQOS") or "normal"]
    for facts in slurm.partition_facts():
        if facts.get("PartitionName") == partition or (not partition and facts.get("Default") == "YES"):
            names.append(facts.get("QoS", "N/A"))
    return [name for name in names if name != "N/A"]


def _accounting(kind: str, *where: str, column: str) -> str:
    """A value from Slurm's accounting; empty if it is not set, or accounting does not respond."""
    lines = slurm.answer("sacctmgr", "-nP", "show", kind, "where", *where, f"format={column}") or ""
    return next(filter(None, map(str.strip, lines.splitlines())), "")
