"""Starting a run again that stopped, was cancelled, or failed: in its own folder, from its newest
checkpoint.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hpc_dl.atomic_files import read_json, write_text
from hpc_dl.cluster import requeue
from hpc_dl.cluster.prepare import check, take_code
from hpc_dl.cluster.site import SiteProfile
from hpc_dl.cluster.status import status
from hpc_dl.cluster.submit import submit_run
from hpc_dl.config import overrides, yaml
from hpc_dl.config.experiment import Experiment
from hpc_dl.errors import ClusterError, ConfigError, Fault, RunError
from hpc_dl.runs import attempts, checkpoints
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.lock import holder_of
from hpc_dl.runs.provenance import redact
from hpc_dl.runs.state import read_state, write_state
from hpc_dl.tracking.journal import read_journal

# What may change between two attempts of one run, because it does not change what is learned, or
# only how long.
_CHANGEABLE = (
    "resources.",
    "checkpoint.every",
    "data.device_resident",
    "trainer.max_epochs",
    "trainer.max_steps",
    "trainer.accelerator",
    "trainer.strategy",
    "trainer.stall_timeout",
    "trainer.log_every_n_steps",
    "trainer.num_sanity_val_steps",
    "trainer.limit_test_batches",
    "trainer.benchmark",
    "trainer.detect_anomaly",
    "trainer.deterministic",
    "wandb.mode",
    "wandb.tags",
    "wandb.group",
)
# Follow from others: the same number of samples in a batch over all ranks, however many there are.
_ADJUSTED = ("data.batch_size", "data.global_batch_size")


def check_resumable(run: RunFolder) -> dict[str, Any]:
    """Whether a run can be started again.

    Returns:
        Its status.

    Raises:
        RunError: it is at work, or nobody can tell whether it is.
    """
    facts = status(run)
    state = facts["state"]
    if state not in ("pending", "running") and (holder := holder_of(run)) is not None:
        raise RunError.at(run.name, f"is still at work in {holder}", remedy="wait for it, or end that process")
    if state in ("pending", "running"):
        unsure = "; nobody can tell whether it still is" if "did not answer" in facts.get("reason", "") else ""
        raise RunError.at(
            run.name, f"is {state} ({facts['job']}){unsure}", remedy=f"stop it first: hpc-dl cancel {run.word}"
        )
    return facts


def changed(run: RunFolder, words: list[str]) -> Experiment:
    """The run's experiment with a user's changes.

    Args:
        run: the run.
        words: ``key=value`` overrides.

    Raises:
        ConfigError: a change is wrong in itself, or would make it another experiment; with all
            faults found.
    """
    old = Experiment.from_dict(yaml.load(run.config))
    raw = overrides.apply(yaml.load(run.config), words)
    whole = old.batch_size_per_device * old.resources.world_size
    new = Experiment.from_dict(raw)
    if new.resources.world_size != old.resources.world_size and new.data.batch_size == old.data.batch_size:
        raw["data"] |= {"batch_size": None, "global_batch_size": whole}
        new = Experiment.from_dict(raw)
    faults = [
        Fault(
            key,
            "cannot change within a run: the result would be neither the old experiment's nor the new one's",
            value=value,
            allowed=f"{before}; what may change: {', '.join(_CHANGEABLE)}",
            remedy="begin a new run with `hpc-dl train` or `submit`",
        )
        for key, before, value in _differences(old.to_dict(), new.to_dict())
        if not key.startswith(_CHANGEABLE) and key not in _ADJUSTED
    ]
    if new.batch_size_per_device * new.resources.world_size != whole:
        size = new.data.global_batch_size or new.data.batch_size
        faults.append(
            Fault("data.batch_size", f"changes the {whole} samples of a batch over all ranks", value=size,
                  remedy="leave it out: each rank's part follows from the number of ranks")
        )  # fmt: skip
    reached = checkpoints.listed(run.checkpoints, "step")
    if reached and new.trainer.max_steps is not None and new.trainer.max_steps < reached[-1].step:
        faults.append(
            Fault("trainer.max_steps", f"the run has done {reached[-1].step} steps", value=new.trainer.max_steps)
        )
    if new.trainer.max_epochs is not None and new.trainer.max_epochs < (begun := _epochs_begun(run)):
        faults.append(
            Fault("trainer.max_epochs", f"the run is in epoch {begun + 1} already", value=new.trainer.max_epochs)
        )
    if faults:
        raise ConfigError(*faults)
    return new


def prepare_again(
    run: RunFolder,
    experiment: Experiment,
    facts: Mapping[str, Any],
    *,
    update_code: bool,
    command: list[str],
    say: Callable[[str], None],
) -> None:
    """Check all that can be checked, then make the folder ready for another attempt.

    Args:
        run: the run.
        experiment: what :func:`changed` gave.
        facts: what :func:`check_resumable` gave.
        update_code: whether the code of now replaces that of the run's first start.
        command: the command line, for the history.
        say: tells the user one line.

    Raises:
        HpcDlError: with all faults found; nothing was changed then.
    """
    old = yaml.load(run.config)
    new = experiment.to_dict()
    differences = _differences(old, new)
    if facts["state"] == "finished" and not any(key.startswith("trainer.max_") for key, _, _ in differences):
        raise RunError.at(
            run.name, "has finished", remedy="to train on, raise trainer.max_epochs=… or trainer.max_steps=…"
        )
    checked = experiment
    if checkpoints.listed(run.checkpoints, "step"):  # the weights that it began with may be gone by now
        checked = replace(experiment, model=experiment.model.model_copy(update={"init_from": None}))
    _, data, _ = check(checked, data_dir=None, say=say)
    known = (read_json(run.provenance) or {}).get("data", {}).get("checksum")
    if known is not None and known != data.checksum:
        raise RunError.at(
            data.file,
            "has another content than when the run began",
            value=data.checksum,
            allowed=known,
            remedy="bring the old file back, or begin a new run",
        )
    if update_code:
        _keep(run.code, f"code-until-{time.strftime('%Y%m%d-%H%M%S')}")
        take_code(run, experiment)
    if run.result.exists():
        _keep(run.result, f"result-until-{time.strftime('%Y%m%d-%H%M%S')}.json")
    attempts.record(
        run,
        "resumed",
        command=[redact(word) for word in command],
        changes={key: [before, value] for key, before, value in differences},
        code_updated=update_code,
    )
    if differences:
        write_text(run.config, yaml.dumps(new))
    for left_over in (run.cancelled, run.requeue, requeue.refusal(run)):
        left_over.unlink(missing_ok=True)
    newest = checkpoints.listed(run.checkpoints, "step")
    where = f"step {newest[-1].step}" if newest else "the beginning: it has no checkpoint"
    say(f"{run.name} ({facts['state']}) goes on from {where}")
    for key, before, value in differences:
        if key not in _ADJUSTED:
            say(f"  {key}: {before} → {value}")
    longer = any(key.startswith("trainer.max_") for key, _, _ in differences)
    if longer and experiment.schedule.name != "constant":
        say(
            f"  The {experiment.schedule.name} schedule now ends with the new last step: the learning rate moves there."
        )


def submit_again(run: RunFolder, experiment: Experiment, site: SiteProfile) -> dict[str, Any]:
    """Submit a run that was made ready by :func:`prepare_again`; a run that Slurm refuses keeps its
    state.

    Returns:
        As :func:`hpc_dl.cluster.submit.submit_run`.

    Raises:
        ClusterError: Slurm refuses the job.
    """
    before = run.state.read_text(encoding="utf-8") if run.state.exists() else None
    write_state(run, "created")  # what it was no longer counts, as soon as it waits in the queue
    try:
        return submit_run(run, experiment, site)
    except ClusterError:
        if before is not None:
            write_text(run.state, before)
        raise


def _epochs_begun(run: RunFolder) -> int:
    """Whole epochs before the checkpoint that the run goes on from, as far as the journal tells."""
    newest = checkpoints.listed(run.checkpoints, "step")
    rows = [row for row in read_journal(run.journal) if newest and row["step"] <= newest[-1].step]
    epochs = [int(row["epoch"]) for row in rows if row.get("epoch") is not None]
    return int(max(epochs, default=0) + (read_state(run)["state"] == "finished"))


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], where: str = "") -> list[tuple[str, Any, Any]]:
    """Dotted key, old and new value of all that differs."""
    found: list[tuple[str, Any, Any]] = []
    for key in [*old, *(key for key in new if key not in old)]:
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += _differences(before, after, f"{where}{key}.")
        elif before != after:
            found.append((f"{where}{key}", before, after))
    return found


def _keep(path: Path, name: str) -> None:
    os.replace(path, path.with_name(name))
