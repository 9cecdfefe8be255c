"""Preparation of a sweep: check every member, find those that are new, create their run folders."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpc_dl.atomic_files import write_json, write_text
from hpc_dl.cluster.prepare import own_code, user_module, with_data
from hpc_dl.cluster.right_sizing import memory_for
from hpc_dl.config import yaml
from hpc_dl.config.experiment import Experiment
from hpc_dl.config.resources import AUTO
from hpc_dl.data.spec import DataSpec
from hpc_dl.errors import ConfigError, RunError
from hpc_dl.runs import provenance, snapshot
from hpc_dl.runs.folder import RunFolder
from hpc_dl.sweeps import adaptive, reuse
from hpc_dl.sweeps.checks import Say, check_objective, checked
from hpc_dl.sweeps.config import SweepConfig
from hpc_dl.sweeps.folder import SweepFolder, member_name
from hpc_dl.sweeps.members import Member, members_of
from hpc_dl.sweeps.versions import other_version

if TYPE_CHECKING:
    from hpc_dl.cluster.site import SiteProfile


@dataclass(frozen=True)
class NewMember:
    """A member that has no run yet.

    Attributes:
        name: of its run.
        signature: see :meth:`Member.signature`.
        member: point, seed and experiment, with data and initial weights resolved.
        data: its data set.
    """

    name: str
    signature: str
    member: Member
    data: DataSpec

    def facts(self) -> dict[str, Any]:
        """The entry in the list of members."""
        facts: dict[str, Any] = {"signature": self.signature, "point": self.member.point, "seed": self.member.seed}
        return facts if self.member.trial is None else facts | {"trial": self.member.trial}


@dataclass(frozen=True)
class Plan:
    """What a sweep would run.

    Attributes:
        sweep: its folder; need not exist.
        config: the section.
        content: the experiment with its section, for ``sweep.yaml``.
        new: the members without a run.
        existing: names of the runs of the other members.
        former: names of runs in the folder that are no longer members.
        num_models: how many different models were checked.
        study: name of the study that chooses the points; "" where they are known.
        reused: finished runs outside of the sweep that take the place of new members, by the names
            of these.
    """

    sweep: SweepFolder
    config: SweepConfig
    content: dict[str, Any]
    new: list[NewMember]
    existing: list[str]
    former: list[str]
    num_models: int
    study: str = ""
    reused: Mapping[str, RunFolder] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """The number of members."""
        return len(self.new) + len(self.existing)


def plan(
    raw: dict[str, Any],
    name: str,
    config: SweepConfig,
    *,
    runs: Path,
    data_dir: Path | None,
    say: Say,
    try_batches: bool = False,
    force: bool = False,
) -> Plan:
    """Check all members of a sweep and compare them with those that exist; writes nothing but data.

    Args:
        raw: the parsed YAML of the experiment, without its section ``sweep``.
        name: the name of an experiment that does not give one.
        config: the section.
        runs: folder of all runs.
        data_dir: folder of the shipped data sources; ``None`` for the default.
        say: prints one line for the user.
        try_batches: whether to run batches through a user's own module, once for each model.
        force: whether members that have a run get another one.

    Raises:
        HpcDlError: with all faults.
    """
    fixed = config
    if config.adaptive:
        adaptive.check_installed(config.method)
        points = adaptive.probes(config.parameters, Experiment.from_dict(raw, default_name=name).to_dict())
        fixed = config.model_copy(update={"method": "list", "points": points, "repeats": 1})
    if (raw.get("resources") or {}).get("memory") == AUTO:
        first = Experiment.from_dict(raw, default_name=name)
        folders = [runs, SweepFolder.of(runs, first.name).path]
        resources, explanation = memory_for(first.resources, folders, first.name)
        say(explanation)
        raw = {**raw, "resources": {**raw["resources"], "memory": resources.memory}}
    members = members_of(raw, name, fixed)
    if config.side_by_side and (ranks := members[0].experiment.resources.world_size) > 1:
        raise ConfigError.at(
            "sweep.side_by_side",
            "runs of several ranks cannot share a GPU",
            value=f"{ranks} ranks",
            remedy="set resources.nodes=1 and resources.gpus_per_node=1, or remove side_by_side",
        )
    resolved_members, num_models = checked(members, runs=runs, data_dir=data_dir, say=say, try_batches=try_batches)
    check_objective(config.objective, *resolved_members[0])
    if config.adaptive:
        if force:
            raise ConfigError.at("--force", f"repeats no members of {config.method}", remedy="increase sweep.trials")
        base = with_data(
            Experiment.from_dict(raw, default_name=name), data_dir=data_dir, say=lambda line: None, runs=runs
        )
        members = adaptive.members_of_study(base[0], config)
        resolved_members = [(member.experiment, base[1]) for member in members]
    folder = SweepFolder.of(runs, members[0].experiment.name)
    known = folder.members() if folder.exists else {}
    by_signature = {facts["signature"]: run for run, facts in known.items()}
    taken = set(known)
    new, existing = [], []
    digests = {paths: snapshot.own_code_digest(*paths) for paths in {own_code(member.experiment) for member in members}}
    study = ""
    if config.adaptive:
        study = adaptive.study_name(members[0].signature(base[1].checksum, digests[own_code(base[0])]), config)
    for member, (resolved, data) in zip(members, resolved_members, strict=True):
        signature = member.signature(data.checksum, digests[own_code(member.experiment)], study)
        if signature in by_signature and not force:
            existing.append(by_signature[signature])
            continue
        run = member_name(resolved.name, signature, taken)
        taken.add(run)
        new.append(NewMember(run, signature, replace(member, experiment=resolved), data))
    former = [run for run in known if run not in existing]
    if line := other_version(folder, existing):
        say(line)
    content = {
        **raw,
        "name": members[0].experiment.name,
        "sweep": config.model_dump(mode="json", by_alias=True, exclude_defaults=True),
    }
    return Plan(folder, config, content, new, existing, former, num_models, study)


def create(plan: Plan, site: SiteProfile) -> list[RunFolder]:
    """Create the run folders of the new members; after a failure none of them is left.

    Returns:
        Those that have to run.

    Args:
        plan: the sweep.
        site: the site profile, saved in each run folder.

    Raises:
        HpcDlError: a folder cannot be created, or another command has created the same members
            since the sweep was planned.
    """
    sweep, runs = plan.sweep, []
    if twice := sweep.members().keys() & {new.name for new in plan.new}:
        raise RunError.at(
            sweep.name,
            f"another command has just created {len(twice)} of these members",
            remedy="run the command again; it runs only what is still new",
        )
    for new in plan.new:
        unlisted = RunFolder(sweep.path / new.name)
        if unlisted.job.exists() or unlisted.state.exists():
            raise RunError.at(
                unlisted.path,
                f"has run, but {sweep.path.name} does not list it as a member",
                remedy="restore the sweep's members.json, or remove this folder",
            )
    facts: dict[str, dict[str, Any]] = {}
    profile = site.dumps()
    # One snapshot for all members: a job array imports from one folder.
    paths = sorted({path for new in plan.new for path in own_code(new.member.experiment)})
    try:
        code = snapshot.stored(sweep.path, *paths)
        for new in plan.new:
            run = RunFolder(sweep.path / new.name)
            if run.path.exists():  # by a command that was killed before it could list the member
                shutil.rmtree(run.path)
            if (origin := plan.reused.get(new.name)) is not None:
                reuse.copy(origin, run)
                continue
            runs.append(RunFolder.create_at(run.path))
            snapshot.link(run, code)
            write_text(run.config, yaml.dumps(new.member.experiment.to_dict()))
            write_text(run.site, profile)
            key = new.data.checksum
            if key not in facts:
                facts[key] = provenance.collect(sys.argv, new.data, user_module(new.member.experiment))
            write_json(run.provenance, facts[key])
            if plan.study:
                adaptive.trial_of(new.member, plan.study, plan.config).write(run)
        if plan.study:
            sweep.study(plan.study).parent.mkdir(exist_ok=True)
            write_text(sweep.study(plan.study), yaml.dumps(plan.content))
        record(plan)
    except BaseException:
        discard(plan)
        raise
    return runs


def record(plan: Plan) -> None:
    """Write what was asked for last, and which members belong to it."""
    members = plan.sweep.members() | {new.name: new.facts() for new in plan.new}
    for name, origin in plan.reused.items():
        members[name]["reused"] = origin.name
    for name, facts in members.items():
        facts.pop("former", None)
        if name in plan.former:
            facts["former"] = True
    write_text(plan.sweep.config, yaml.dumps(plan.content))
    plan.sweep.write_members(members)


def discard(plan: Plan) -> None:
    """Delete the run folders of the new members, and a sweep that has no others."""
    for new in plan.new:
        shutil.rmtree(plan.sweep.path / new.name, ignore_errors=True)
    remaining = {name: facts for name, facts in plan.sweep.members().items() if name not in {n.name for n in plan.new}}
    if remaining:
        plan.sweep.write_members(remaining)
    else:
        plan.sweep.remove()
