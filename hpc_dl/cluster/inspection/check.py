"""What in a site profile no longer agrees with the cluster."""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

from hpc_dl.cluster.inspection.choice import LargestJob, combinations, largest_job
from hpc_dl.cluster.inspection.facts import Partition
from hpc_dl.cluster.inspection.queries import ClusterFacts, module_command
from hpc_dl.cluster.inspection.storage import existing_folder, in_time
from hpc_dl.cluster.reservation import Reservation, listed, moment
from hpc_dl.cluster.site import SiteProfile, expand
from hpc_dl.config.resources import parse_gib, parse_minutes
from hpc_dl.errors import ConfigError, Fault


@dataclass(frozen=True)
class Findings:
    """What was found.

    Attributes:
        faults: what does not agree, each with its remedy.
        unchecked: what could not be checked, and why.
    """

    faults: list[Fault]
    unchecked: list[str]


def check(profile: SiteProfile, facts: ClusterFacts, now: datetime.datetime | None = None) -> Findings:
    """Compare a profile with today's cluster.

    Args:
        profile: the profile.
        facts: what the cluster offers.
        now: local time; by default the present.
    """
    found = [*_of_slurm(profile, facts, now or datetime.datetime.now()), *paths_and_modules(profile)]
    if profile.container is not None and not facts.containers:
        found.append("container: neither apptainer nor singularity is on this machine; compute nodes may have it")
    return Findings(
        [each for each in found if isinstance(each, Fault)], [each for each in found if isinstance(each, str)]
    )


def _of_slurm(profile: SiteProfile, facts: ClusterFacts, now: datetime.datetime) -> Iterator[Fault | str]:
    if profile.scheduler == "local":
        return
    if profile.sbatch.get("clusters"):
        yield f"what Slurm offers: jobs go to {profile.sbatch['clusters']}, and this machine asks {facts.cluster}"
        return
    known = {partition.name: partition for partition in facts.partitions or []}
    partition = _option(profile, "partition")
    names = partition.split(",") if partition else [each.name for each in known.values() if each.default]
    partitions = [known[name] for name in names if name in known]
    for name in names:
        if name not in known:
            yield Fault("partition", "does not exist, or is not open to you", name, ", ".join(known))
        elif not known[name].up:
            yield Fault("partition", "takes no jobs at present", name, remedy="choose another, or ask your site")
    yield from _account_and_qos(profile, facts, partitions)
    yield from _reservations(profile, facts, now)
    yield from _nodes(profile, partitions)
    yield from _limits(profile, facts, partitions)


def _account_and_qos(profile: SiteProfile, facts: ClusterFacts, partitions: list[Partition]) -> Iterator[Fault | str]:
    account, qos = _option(profile, "account"), _option(profile, "qos")
    if not facts.associations:
        yield f"account and qos: Slurm's accounting lists none for {facts.user}, or does not respond"
        return
    accounts = sorted({association.account for association in facts.associations})
    if account and account not in accounts:
        yield Fault("account", f"is none of the accounts of {facts.user}", account, ", ".join(accounts))
        return
    if qos and facts.qos is not None and qos not in facts.qos:
        yield Fault("qos", "does not exist", qos, ", ".join(facts.qos))
        return
    account = account or facts.default_account
    for partition in (each for each in partitions if each.up):
        here = [each for each in combinations(facts) if each.partition is partition]
        own = [each for each in here if each.account == account]
        if account and not own:
            allowed = ", ".join(dict.fromkeys(each.account for each in here))
            yield Fault("account", f"may not use the partition {partition.name}", account, allowed)
        for each in own:
            if qos and each.qos and qos not in each.qos:
                problem = f"may not be used by the account {account} on the partition {partition.name}"
                yield Fault("qos", problem, qos, ", ".join(each.qos))
            elif not qos and each.qos and not each.default_qos:
                problem = f"is required: Slurm's default is not allowed on the partition {partition.name}"
                yield Fault("qos", problem, allowed=", ".join(each.qos))


def _reservations(profile: SiteProfile, facts: ClusterFacts, now: datetime.datetime) -> Iterator[Fault | str]:
    reservations: list[Reservation] = listed(profile.reservation)
    if reservations and facts.reservations is None:
        yield "reservation: scontrol does not respond"
        return
    known = {each.name: each for each in facts.reservations or []}
    for each in reservations:
        if each.state(now) == "over":
            yield Fault("reservation", f"{each.name} ended on {each.until}", remedy="remove it from the profile")
        elif each.name not in known:
            names = ", ".join(known) or "there are none"
            yield Fault("reservation", "does not exist", each.name, names, remedy="remove it, or ask its organizer")
        elif each.until and moment(known[each.name].end) < moment(each.until, end_of_day=True):
            end = known[each.name].end
            yield Fault("reservation", f"{each.name} ends on {end}", each.until, remedy=f"set `until: {end}`")


def _nodes(profile: SiteProfile, partitions: list[Partition]) -> Iterator[Fault | str]:
    kinds = [kind for partition in partitions for kind in partition.nodes]
    constraint = _option(profile, "constraint")
    if (constraint or profile.gpu_type) and not kinds:
        yield "constraint and gpu_type: the nodes of the partition are unknown"
        return
    features = sorted({feature for kind in kinds for feature in kind.features})
    for name in re.split(r"[&|,()\[\]]", constraint or ""):
        if (name := name.partition("*")[0].strip()) and name not in features:
            yield Fault("constraint", "no node of the partition has this feature", name, ", ".join(features))
    models = sorted({model for kind in kinds for model in kind.gpus if model})
    if profile.gpu_type and profile.gpu_type not in models:
        yield Fault(
            "gpu_type", "no node of the partition has such GPUs", profile.gpu_type, ", ".join(models) or "none is named"
        )


def _limits(profile: SiteProfile, facts: ClusterFacts, partitions: list[Partition]) -> Iterator[Fault]:
    """What the profile allows although the cluster does not; a smaller limit may be intended."""
    limits, qos = profile.limits, _option(profile, "qos")
    jobs = [largest_job(partition, facts.qos or {}, qos or "") for partition in partitions]
    if not jobs:
        return

    def most(key: str) -> float:
        return max(getattr(job, key) if getattr(job, key) is not None else float("inf") for job in jobs)

    given = {
        "nodes": limits.nodes,
        "gpus_per_node": limits.gpus_per_node,
        "cpus_per_node": limits.cpus_per_node,
        "memory_mib": None if limits.memory is None else parse_gib(limits.memory) * 1024,
        "minutes": None if limits.time is None else parse_minutes(str(limits.time)),
    }
    for key, value in given.items():
        if value is not None and value > most(key):
            name = {"memory_mib": "memory", "minutes": "time"}.get(key, key)
            allowed = LargestJob(**{key: most(key)}).texts()[name]  # type: ignore[arg-type]
            yield Fault(
                f"limits.{name}",
                "is more than the cluster allows",
                getattr(limits, name),
                f"at most {allowed}",
                remedy=f"set `{name}: {allowed}`",
            )


def paths_and_modules(profile: SiteProfile) -> Iterator[Fault | str]:
    """Yield what is missing on this machine: folders, the image, what it binds, modules.

    Args:
        profile: the profile.

    Yields:
        A fault, or what could not be checked and why.
    """
    for key in ("runs_dir", "data_dir"):
        if text := getattr(profile, key):
            yield from _folder(key, text)
    if profile.container is not None:
        for text in (profile.container.image, *(bind.partition(":")[0] for bind in profile.container.binds)):
            key = "container.image" if text == profile.container.image else "container.binds"
            yield from _existing(key, text)
    if profile.modules:
        done = module_command("load", *profile.modules)
        if done is None:
            yield "modules: this machine has none, or `module` does not respond"
        elif done.returncode or "error" in done.stderr.lower():
            problem = " ".join(done.stderr.split()) or "no reason was given"
            yield Fault("modules", f"cannot be loaded: {problem}", profile.modules, remedy="see `module avail`")


def _folder(key: str, text: str) -> Iterator[Fault | str]:
    """Whether a folder can be used: data may be read-only, runs and missing folders are written."""
    try:
        path = expand(key, text)
    except ConfigError as error:
        yield from error.faults
        return

    def usable() -> bool:
        if key == "data_dir" and path.is_dir():
            return os.access(path, os.R_OK | os.X_OK)
        existing = existing_folder(path)
        return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)

    answer = in_time(usable)
    if answer is None:
        yield Fault(key, "its file system does not respond", str(path), remedy="try again, or ask your site")
    elif not answer:
        yield Fault(key, "cannot be used or created", str(path), remedy="choose another folder, or ask for access")


def _existing(key: str, text: str) -> Iterator[Fault | str]:
    try:
        path = expand(key, text)
    except ConfigError as error:
        yield from error.faults
        return
    if not in_time(path.exists):
        yield Fault(key, "does not exist", str(path), remedy="correct the path, or create it")


def _option(profile: SiteProfile, key: str) -> str | None:
    """An option of the job: ``sbatch`` replaces the key of the same name."""
    value = profile.sbatch[key] if key in profile.sbatch else getattr(profile, key)
    return None if value is None else str(value)
