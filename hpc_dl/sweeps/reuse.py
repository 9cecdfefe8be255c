"""Finished runs outside of a sweep that equal its new members, and may take their place."""

from __future__ import annotations

import functools
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpc_dl.atomic_files import write_json
from hpc_dl.cluster.overview import overview
from hpc_dl.cluster.prepare import own_code
from hpc_dl.errors import HpcDlError
from hpc_dl.runs import snapshot
from hpc_dl.runs.folder import CODE_STORE, RunFolder
from hpc_dl.runs.run_files import read_provenance, read_result
from hpc_dl.runs.search import all_runs
from hpc_dl.runs.settings import settings_in
from hpc_dl.sweeps.members import is_signed
from hpc_dl.sweeps.search import all_sweeps, members_of

if TYPE_CHECKING:
    from hpc_dl.sweeps.preparation import Plan

_OF_A_PROCESS = ("lock", "heartbeats", "wandb.lock")
_LARGE = (".ckpt", ".h5")  # never changed in place, only replaced


def reusable(plan: Plan, runs: Path) -> dict[str, RunFolder]:
    """Return the user's finished runs with the settings, data and code of new members.

    Args:
        plan: the sweep; the points of an adaptive one are not known yet.
        runs: folder of all runs.

    Returns:
        The run for each such member, by the name of the member.
    """
    if plan.study or not plan.new:
        return {}
    outside = [
        *all_runs(runs),
        *(run for sweep in all_sweeps(runs) if sweep != plan.sweep for run in members_of(sweep)),
    ]
    by_settings: dict[str, list[RunFolder]] = {}
    for run, seen in zip(outside, overview(outside), strict=True):
        if seen.facts["state"] == "finished" and seen.settings:
            by_settings.setdefault(_signed(seen.settings), []).append(run)
    code_of = functools.cache(snapshot.own_code_digest)
    code_in = functools.cache(snapshot.own_code_in)
    found: dict[str, RunFolder] = {}
    for new in plan.new:
        experiment = new.member.experiment
        for run in by_settings.get(_signed(settings_in(experiment.to_dict())), []):
            with suppress(HpcDlError, OSError):  # it is damaged, or was removed meanwhile
                same_data = (read_provenance(run).get("data") or {}).get("checksum") == new.data.checksum
                own = run.path.stat().st_uid == os.geteuid()
                if same_data and own and code_in(run.code.resolve()) == code_of(*own_code(experiment)):
                    found[new.name] = run
                    break
    return found


def copy(origin: RunFolder, run: RunFolder) -> None:
    """Make a run folder a copy of another; their checkpoints are the same files on the disk.

    Args:
        origin: a finished run.
        run: need not exist; its code goes to the snapshots next to it.

    Raises:
        OSError: it cannot be copied.
    """
    code = origin.code.resolve()
    stored = run.path.parent / CODE_STORE / code.name
    for source, target, ignored in ((code, stored, ()), (origin.path, run.path, (*_OF_A_PROCESS, "code"))):
        if target.exists():
            continue
        draft = target.with_name(f".{target.name}-copy")
        shutil.rmtree(draft, ignore_errors=True)
        shutil.copytree(source, draft, symlinks=True, ignore=shutil.ignore_patterns(*ignored), copy_function=_copy_file)
        if source == origin.path:
            copied = RunFolder(draft)
            snapshot.link(copied, stored)
            write_json(copied.result, read_result(copied) | {"run": run.name, "dir": str(run.path)})
        draft.rename(target)


def _copy_file(source: str, target: str) -> None:
    if source.endswith(_LARGE):
        with suppress(OSError):  # another file system, or one without hard links
            os.link(source, target)
            return
    shutil.copy2(source, target)


def _signed(settings: Mapping[str, Any]) -> str:
    return json.dumps({key: value for key, value in settings.items() if is_signed(key)}, sort_keys=True, default=str)
