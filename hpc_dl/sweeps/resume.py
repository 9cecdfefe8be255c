"""Submitting members of a sweep again: those that failed, were lost, or stopped."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpc_dl.atomic_files import write_text
from hpc_dl.cluster import requeue
from hpc_dl.config import yaml
from hpc_dl.config.experiment import Experiment
from hpc_dl.data.open_spec import open_spec
from hpc_dl.errors import RunError
from hpc_dl.regular_files import read_json
from hpc_dl.runs import attempts, snapshot
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.provenance import redact
from hpc_dl.runs.run_files import read_provenance
from hpc_dl.runs.state import write_state
from hpc_dl.schema import parse
from hpc_dl.sweeps.config import SweepConfig
from hpc_dl.sweeps.folder import SweepFolder
from hpc_dl.sweeps.submission import Submitted, submit_members

if TYPE_CHECKING:
    from hpc_dl.cluster.site import SiteProfile


def resume_members(sweep: SweepFolder, runs: Sequence[RunFolder], site: SiteProfile, command: list[str]) -> Submitted:
    """Submit members again; each continues from its newest checkpoint.

    Args:
        sweep: the sweep.
        runs: members that are not queued or running.
        site: the site profile.
        command: the command line, for the history.

    Returns:
        As :func:`submit_members`, for all groups of members with the same resources and code.

    Raises:
        HpcDlError: data or code of a member changed, or Slurm refuses; the members keep their
            state then.
    """
    config = parse(SweepConfig, sweep.section(), "sweep")
    groups: dict[str, list[tuple[RunFolder, Experiment]]] = {}
    checksums: dict[str, str] = {}
    snapshots: set[Path] = set()
    for run in runs:
        experiment = Experiment.from_dict(yaml.load(run.config))
        _check_data(run, experiment, checksums)
        if run.code.resolve() not in snapshots:
            snapshot.check(run)
            snapshots.add(run.code.resolve())
        key = json.dumps([experiment.resources.model_dump(mode="json"), str(run.code.resolve())])
        groups.setdefault(key, []).append((run, experiment))
    submissions: list[dict[str, Any]] = []
    left: list[RunFolder] = []
    limit = ""
    for group in groups.values():
        members = [run for run, _ in group]
        if limit:
            left += members
            continue
        # Before the job, which would end because of these files.
        jobs = {run: read_json(run.job) for run in members}
        cleared = {run: _cleared(run) for run in members}
        try:
            submitted = submit_members(sweep, members, config, group[0][1], site, None)
        except BaseException:
            # Slurm may have accepted an array before it refused the next.
            _restore(contents for run, contents in cleared.items() if read_json(run.job) == jobs[run])
            raise
        _restore(cleared.pop(run) for run in submitted.left)
        submissions += submitted.submissions
        left, limit = submitted.left, submitted.limit
        for run in cleared:
            attempts.record(run, "resumed", command=[redact(argument) for argument in command], changes={})
    return Submitted(submissions, left, limit)


def _cleared(run: RunFolder) -> dict[Path, str]:
    """Make a run look as if it had not started; return the content of the changed files."""
    files = (run.state, run.cancelled, run.requeue, requeue.refusal_file(run))
    contents = {file: file.read_text(encoding="utf-8") for file in files if file.exists()}
    for file in contents.keys() - {run.state}:
        file.unlink()
    write_state(run, "created")
    return contents


def _restore(contents_of_runs: Iterable[dict[Path, str]]) -> None:
    for contents in contents_of_runs:
        for file, text in contents.items():
            write_text(file, text)


def _check_data(run: RunFolder, experiment: Experiment, checksums: dict[str, str]) -> None:
    """Check that the data of a run are those with which it started.

    Args:
        run: the run.
        experiment: its experiment.
        checksums: of the data sets that were opened before, by their section; extended.

    Raises:
        RunError: they changed.
    """
    key = experiment.data.model_dump_json()
    if key not in checksums:
        checksums[key] = open_spec(experiment.data).checksum
    original = (read_provenance(run).get("data") or {}).get("checksum")
    if original is not None and original != checksums[key]:
        raise RunError.at(
            experiment.data.file or run.name,
            f"has changed since {run.name} started",
            value=checksums[key],
            allowed=original,
            remedy="restore the original file, or start a new sweep",
        )
