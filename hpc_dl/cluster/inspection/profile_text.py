"""A site profile as a commented YAML file: what was found on the cluster, and what was not."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from typing import Any

from hpc_dl.cluster import site
from hpc_dl.cluster.inspection.choice import Choice, combinations, described
from hpc_dl.cluster.inspection.facts import Partition, ReservedNodes
from hpc_dl.cluster.inspection.queries import ClusterFacts
from hpc_dl.config import yaml
from hpc_dl.errors import printable
from hpc_dl.schema import parse

_USEFUL_MODULE = re.compile(r"python|conda|cuda|cudnn|nccl|rocm|pytorch|apptainer|singularity", re.IGNORECASE)
_MOST_MODULES, _MOST_LINES = 16, 40
_WIDTH = 118


def profile_text(facts: ClusterFacts, choice: Choice, name: str, today: datetime.date) -> str:
    """Return the text of a profile for jobs with GPUs on this cluster.

    Args:
        facts: what the cluster offers.
        choice: partition, account and QoS.
        name: the name of the profile.
        today: for the first line.

    Raises:
        ConfigError: the cluster has names that a profile cannot contain.
    """
    version = facts.configuration.get("SLURM_VERSION", "of an unknown version")
    lines = [
        *_comment(f"Site profile {name}, written by `hpc-dl site init` on {today} on {facts.host}, Slurm {version}."),
        *_comment("`hpc-dl site check` compares it with the cluster. slurm/sites/example.yaml explains all keys."),
        *_keys(description=f"Slurm cluster {facts.cluster or name}", hosts=[_host_pattern(facts.host)]),
        *_keys(scheduler="slurm"),
        "",
        *_places(facts, choice),
        *_reservation(facts, choice),
        *_gpu_types(choice),
        "",
        *_modules(facts),
        *_containers(facts),
        "",
        *_storage(facts),
        "",
        *_limits(choice),
    ]
    text = "\n".join(lines) + "\n"
    parse(site.SiteProfile, yaml.loads(text, name), "")
    return text


def _places(facts: ClusterFacts, choice: Choice) -> Iterator[str]:
    """Partition, account and QoS, below a table of those that go together."""
    accounts: dict[tuple[Partition, tuple[str, ...]], list[str]] = {}
    for each in combinations(facts):
        accounts.setdefault((each.partition, each.qos), []).append(each.account or "?")
    table = [("partition", "account", "QoS", "nodes")]
    for (partition, qos), names in accounts.items():
        star = "*" if partition.default else ""
        only = "; only in reservations" if partition.only_in_reservations else ""
        table.append((partition.name + star, ",".join(names), ",".join(qos) or "?", described(partition) + only))
    if len(table) > 1:
        yield from _comment(f"What user {facts.user} may combine (* is the default partition, ? is unknown):")
        widths = [max(len(row[column]) for row in table) for column in range(3)]
        for row in table[:_MOST_LINES]:
            yield from _comment("  " + "  ".join([*map(str.ljust, row, widths), row[3]]), wrap=False)
        if len(table) > _MOST_LINES:
            yield from _comment(f"  … and {len(table) - _MOST_LINES} more")
        yield from _comment("Several partitions are also possible: `partition: a,b`.")
    if choice.partition is not None:
        yield from _keys(partition=choice.partition.name)
    else:
        yield from _unknown("partition", "no partition is open to you: see `sinfo`")
    if choice.account is not None:
        yield from _keys(account=choice.account)
    elif facts.associations is None:
        yield from _unknown("account", "sacctmgr does not respond; ask your site whether jobs must name one")
    else:
        yield from _unknown("account", f"Slurm has none for {facts.user}; ask your site whether jobs must name one")
    if choice.qos is not None:
        yield from _keys(qos=choice.qos)
    elif facts.associations is None:
        yield from _unknown("qos", "sacctmgr does not respond")


def _reservation(facts: ClusterFacts, choice: Choice) -> Iterator[str]:
    """Those that name the user or the account are used; the others are named."""
    if facts.reservations is None:
        yield from _unknown("reservation", "scontrol does not respond")
        return
    partition = choice.partition.name if choice.partition else ""
    fitting = [each for each in facts.reservations if each.partition in ("", partition)]
    own = [each for each in fitting if facts.user in each.users or (choice.account and choice.account in each.accounts)]
    if own:
        yield from _comment("Reservations for you; outside of these times jobs go without one.")
        yield from _keys(reservation=[_with_times(each) for each in own])
    if others := ", ".join(each.name for each in facts.reservations if each not in own):
        yield from _comment(f"Reservations of others: {others}")


def _with_times(reservation: ReservedNodes) -> dict[str, str]:
    return {"name": reservation.name, "from": reservation.start, "until": reservation.end}


def _gpu_types(choice: Choice) -> Iterator[str]:
    kinds = choice.partition.nodes if choice.partition else ()
    models = sorted({model for kind in kinds for model in kind.gpus if model})
    if models:
        which = "Name one to get no other:" if len(models) > 1 else "Some sites want its name:"
        yield from _comment(f"GPUs of the partition: {', '.join(models)}. {which}")
        yield from _comment(f"gpu_type: {models[0]}")
    if features := sorted({feature for kind in kinds for feature in kind.features}):
        yield from _comment(f"Features of its nodes, for `constraint`: {', '.join(features)}")


def _modules(facts: ClusterFacts) -> Iterator[str]:
    if facts.loaded_modules:
        yield from _comment("Loaded in your shell; jobs get its variables, but a later shell may have others loaded:")
        yield from _comment(f"modules: [{', '.join(facts.loaded_modules)}]")
    if facts.modules is None:
        yield from _unknown("modules", "there are none on this machine, or `module avail` does not respond")
        return
    useful = [name for name in facts.modules if _USEFUL_MODULE.search(name)]
    more = f", … ({len(useful) - _MOST_MODULES} more)" if len(useful) > _MOST_MODULES else ""
    if useful:
        yield from _comment(f"Modules that may help: {', '.join(useful[:_MOST_MODULES])}{more}")
    if not facts.loaded_modules:
        yield from _comment("modules: []")


def _containers(facts: ClusterFacts) -> Iterator[str]:
    if facts.containers:
        yield from _comment(f"{' and '.join(facts.containers)} found: jobs can run in an image.")
        yield from _comment("container: {image: $HOME/hpc_dl/hpc_dl.sif}")
    else:
        yield from _unknown("container", "neither apptainer nor singularity was found on this machine")


def _storage(facts: ClusterFacts) -> Iterator[str]:
    for each in facts.storage:
        inodes = f", {each.free_inodes:,} inodes" if each.free_inodes else ""
        kind = f"{each.kind or 'unknown'}, {'shared by all nodes' if each.shared else 'perhaps of this machine only'}"
        access = "" if each.writable else "; not writable"
        yield from _comment(f"{each.name}: {kind}; free: {each.free_bytes / 2**30:,.0f} GiB{inodes}{access}")
    place = next((each.name for each in facts.storage if each.shared and each.writable), None)
    if place:
        if place != "$HOME":
            yield from _comment("Many sites delete old files there: keep copies of results elsewhere.")
        yield from _keys(runs_dir=f"{place}/hpc_dl/runs", data_dir=f"{place}/hpc_dl/data")
    else:
        yield from _unknown("runs_dir", "no folder was found that all nodes share; ./runs is used")
        yield from _unknown("data_dir", "likewise; ./data is used")


def _limits(choice: Choice) -> Iterator[str]:
    if choice.partition is None:
        yield from _unknown("limits", "no partition is known")
        return
    yield from _comment(
        f"The largest job on {choice.partition.name}; larger ones are refused before they are submitted."
    )
    yield from _keys(limits=choice.largest.texts())


def _host_pattern(host: str) -> str:
    """The name of all login nodes like this one: ``login2.alpha`` gives ``login*.alpha``."""
    first, dot, rest = host.partition(".")
    return re.sub(r"\d+$", "*", first) + dot + rest


def _keys(**values: Any) -> list[str]:
    return yaml.dumps(values).rstrip("\n").split("\n")


def _unknown(key: str, why: str) -> list[str]:
    return _comment(f"{key}:   # not determined: {why}", wrap=False)


def _comment(text: str, *, wrap: bool = True) -> list[str]:
    text = " ".join(printable(text).split()) if wrap else printable(text).replace("\n", " ").rstrip()
    lines, current = [], ""
    for part in text.split(" ") if wrap else [text]:
        if current and len(current) + len(part) > _WIDTH:
            lines.append(current)
            current = ""
        current = f"{current} {part}" if current else part
    return [f"# {line}" for line in [*lines, current]]
