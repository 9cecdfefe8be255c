"""Submitting members of a sweep again: those that failed, were lost, or stopped."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpc_dl.atomic_files import write_text
from hpc_dl.cluster import requeue
from hpc_dl.config import yaml
from hpc_dl.config.experiment import Experiment
from hpc_dl.data.open_spec import open_spec
from hpc_dl.errors import RunError
from hpc_dl.runs import attempts, snapshot
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.provenance import redact
from hpc_dl.runs.run_files import read_provenance
from hpc_dl.runs.state import write_state
from hpc_dl.schema import parse
from hpc_dl.sweeps.config import SweepConfig
from hpc_dl.sweeps.folder import SweepFolder
from hpc_dl.sweeps.submission import submit_members

if TYPE_CHECKING:
    from hpc_dl.cluster.site import SiteProfile


def resume_members(
    sweep: SweepFolder, runs: Sequence[RunFolder], site: SiteProfile, command: list[str]
) -> list[dict[str, Any]]:
    """Submit members again; each continues from its newest checkpoint.

    Args:
        sweep: the sweep.
        runs: members that are not queued or running.
        site: the site profile.
        command: the command line, for the history.

    Returns:
        As :func:`submit_members`, for each group of members with the same resources and code.

    Raises:
        HpcDlError: data or code of a member changed, or Slurm refuses; the members keep their
            state then.
    """
    config = parse(SweepConfig, yaml.load(sweep.config).get("sweep"), "sweep")
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
    submissions = []
    for group in groups.values():
        members = [run for run, _ in group]
        before = {run: run.state.read_text(encoding="utf-8") if run.state.exists() else None for run in members}
        left_over = [
            file for run in members for file in (run.cancelled, run.requeue, requeue.refusal_file(run)) if file.exists()
        ]
        contents = {file: file.read_text(encoding="utf-8") for file in left_over}
        for file in left_over:  # before the job, which would end because of them
            file.unlink()
        for run in members:
            write_state(run, "created")
        try:
            submissions += submit_members(sweep, members, config, group[0][1], site, None)
        except BaseException:
            for run, text in before.items():
                if text is not None:
                    write_text(run.state, text)
            for file, text in contents.items():
                write_text(file, text)
            raise
        for run in members:
            attempts.record(run, "resumed", command=[redact(argument) for argument in command], changes={})
    return submissions


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
