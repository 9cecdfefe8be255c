"""Resuming a stopped, cancelled or failed run in its folder, from its newest checkpoint."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from hpc_dl.atomic_files import write_text
from hpc_dl.cluster import requeue
from hpc_dl.cluster.prepare import check, take_code, user_module
from hpc_dl.cluster.right_sizing import memory_for
from hpc_dl.cluster.site import SiteProfile
from hpc_dl.cluster.submit import MaybeQueued, submit_run
from hpc_dl.config import overrides, yaml
from hpc_dl.config.experiment import Experiment
from hpc_dl.data.own_data_config import OwnLoadersConfig
from hpc_dl.errors import ConfigError, Fault, HpcDlError, RunError
from hpc_dl.models.construction import importing_from
from hpc_dl.runs import attempts, checkpoints, snapshot
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.import_folders import import_folders
from hpc_dl.runs.provenance import commits, redact
from hpc_dl.runs.run_files import read_provenance
from hpc_dl.runs.state import read_state, write_state
from hpc_dl.tracking.journal import read_journal

# Keys that may change between attempts, because they do not affect what is learned, or only how
# long.
_CHANGEABLE = (
    "resources.",
    "checkpoint.every",
    "data.device_resident",
    "data.stage",
    "trainer.max_epochs",
    "trainer.max_steps",
    "trainer.accelerator",
    "trainer.strategy",
    "trainer.stall_timeout",
    "trainer.log_every_n_steps",
    "trainer.step_times",
    "trainer.num_sanity_val_steps",
    "trainer.on_nan",
    "trainer.limit_test_batches",
    "trainer.benchmark",
    "trainer.detect_anomaly",
    "trainer.deterministic",
    "wandb.mode",
    "wandb.tags",
    "wandb.group",
)
# Keys on which only the choice of the best weights depends; they may change until there are any.
_OF_BEST_WEIGHTS = ("checkpoint.monitor", "checkpoint.mode")
# Keys that follow from others, because the batch over all ranks always has the same size.
_ADJUSTED = ("data.batch_size", "data.global_batch_size")


def apply_changes(run: RunFolder, changes: list[str]) -> Experiment:
    """Return the run's experiment with a user's changes.

    Args:
        run: the run.
        changes: ``key=value`` overrides.

    Raises:
        ConfigError: a change is invalid, or would make it a different experiment; with all faults.
    """
    old = Experiment.from_dict(yaml.load(run.config))
    raw = overrides.apply(yaml.load(run.config), changes)
    global_batch_size = old.batch_size_per_device * old.resources.world_size
    new = Experiment.from_dict(raw)
    resources, _ = memory_for(new.resources, [run.path.parent], new.name)
    raw["resources"]["memory"], new = resources.memory, replace(new, resources=resources)
    if new.resources.world_size != old.resources.world_size and isinstance(new.data, OwnLoadersConfig):
        raise ConfigError.at(
            "resources",
            "changes the number of ranks, and with it the batch over all ranks, whose size your own loaders set",
            value=new.resources.world_size,
            allowed=str(old.resources.world_size),
        )
    if new.resources.world_size != old.resources.world_size and new.data.batch_size == old.data.batch_size:
        raw["data"] |= {"batch_size": None, "global_batch_size": global_batch_size}
        new = Experiment.from_dict(raw)
    changeable: tuple[str, ...] = _CHANGEABLE
    if not checkpoints.listed(run.checkpoints, "best"):
        changeable += _OF_BEST_WEIGHTS
    faults = [
        Fault(
            key,
            "cannot change within a run: the result would belong to neither experiment",
            value=value,
            allowed=f"{before}; keys that may change: {', '.join(changeable)}",
            remedy="start a new run with `hpc-dl train` or `hpc-dl submit`",
        )
        for key, before, value in _differences(old.to_dict(), new.to_dict())
        if not key.startswith(changeable) and key not in _ADJUSTED
    ]
    if new.batch_size_per_device * new.resources.world_size != global_batch_size:
        size = new.data.global_batch_size or new.data.batch_size
        faults.append(
            Fault("data.batch_size", f"changes the size {global_batch_size} of the batch over all ranks", value=size,
                  remedy="omit it: the batch size of each rank follows from the number of ranks")
        )  # fmt: skip
    saved = checkpoints.listed(run.checkpoints, "step")
    if saved and new.trainer.max_steps is not None and new.trainer.max_steps < saved[-1].step:
        faults.append(
            Fault("trainer.max_steps", f"the run has already done {saved[-1].step} steps", value=new.trainer.max_steps)
        )
    if new.trainer.max_epochs is not None and new.trainer.max_epochs < (complete := _complete_epochs(run)):
        faults.append(
            Fault("trainer.max_epochs", f"the run is already in epoch {complete + 1}", value=new.trainer.max_epochs)
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
    """Check everything that can be checked, then prepare the folder for another attempt.

    Args:
        run: the run.
        experiment: as returned by :func:`apply_changes`.
        facts: as returned by :func:`hpc_dl.cluster.resumable.check_resumable`.
        update_code: whether to replace the run's snapshot by the current code.
        command: the command line, for the history.
        say: prints one line for the user.

    Raises:
        HpcDlError: with all faults; nothing has been changed then.
    """
    old = yaml.load(run.config)
    new = experiment.to_dict()
    differences = _differences(old, new)
    extended = any(key.startswith("trainer.max_") for key, _, _ in differences)
    if facts["state"] == "finished" and not extended:
        raise RunError.at(
            run.name, "has finished", remedy="to continue training, increase trainer.max_epochs or trainer.max_steps"
        )
    checked = experiment
    if checkpoints.listed(run.checkpoints, "step"):  # the initial weights are not needed, and may be deleted
        checked = replace(experiment, model=experiment.model.model_copy(update={"init_from": None}))
    if not update_code:
        snapshot.check(run)
    # What is checked is the code that will run, wherever this command was started.
    with nullcontext() if update_code else importing_from(*import_folders(run, experiment)):
        _, data, _ = check(checked, data_dir=None, say=say)
    original_checksum = (read_provenance(run).get("data") or {}).get("checksum")
    if original_checksum is not None and original_checksum != data.checksum:
        raise RunError.at(
            data.file,
            "has changed since the run started",
            value=data.checksum,
            allowed=original_checksum,
            remedy="restore the original file, or start a new run",
        )
    if update_code:
        _rename(run.code, f"code-until-{time.strftime('%Y%m%d-%H%M%S')}")
        take_code(run, experiment)
    if run.result.exists():
        _rename(run.result, f"result-until-{time.strftime('%Y%m%d-%H%M%S')}.json")
    attempts.record(
        run,
        "resumed",
        command=[redact(argument) for argument in command],
        changes={key: [before, value] for key, before, value in differences},
        code_updated=update_code,
        **({"git": commits(user_module(experiment)), "folder": str(Path.cwd())} if update_code else {}),
    )
    if differences:
        write_text(run.config, yaml.dumps(new))
    for left_over in (run.cancelled, run.requeue, requeue.refusal_file(run)):
        left_over.unlink(missing_ok=True)
    saved = checkpoints.listed(run.checkpoints, "step")
    start = f"resumes at step {saved[-1].step}" if saved else "starts over: it has no checkpoint"
    say(f"{run.name} ({facts['state']}) {start}")
    for key, before, value in differences:
        if key not in _ADJUSTED:
            say(f"  {key}: {before} → {value}")
    if extended and experiment.schedule.name != "constant":
        say(
            f"  The {experiment.schedule.name} schedule now ends at the new last step, so the learning rate differs "
            "from now on."
        )


def submit_again(run: RunFolder, experiment: Experiment, site: SiteProfile) -> dict[str, Any]:
    """Submit a run that :func:`prepare_again` has prepared; if Slurm refuses, it keeps its state.

    Returns:
        As :func:`hpc_dl.cluster.submit.submit_run`.

    Raises:
        ClusterError: Slurm refuses the job.
        MaybeQueued: it is unknown whether it does; the run is marked as failed.
        RunError: a predecessor has ended without a result.
    """
    previous_state = run.state.read_text(encoding="utf-8") if run.state.exists() else None
    write_state(run, "created")  # the old state is out of date as soon as the job is queued
    try:
        return submit_run(run, experiment, site)
    except MaybeQueued:
        raise
    except HpcDlError:
        if previous_state is not None:
            write_text(run.state, previous_state)
        raise


def _complete_epochs(run: RunFolder) -> int:
    """The number of complete epochs before the newest checkpoint, according to the journal."""
    saved = checkpoints.listed(run.checkpoints, "step")
    rows = [row for row in read_journal(run.journal) if saved and row["step"] <= saved[-1].step]
    epochs = [int(row["epoch"]) for row in rows if row.get("epoch") is not None]
    return int(max(epochs, default=0) + (read_state(run)["state"] == "finished"))


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any, Any]]:
    """The dotted key, the old value and the new value of everything that differs."""
    result: list[tuple[str, Any, Any]] = []
    for key in [*old, *(key for key in new if key not in old)]:
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            result += _differences(before, after, f"{prefix}{key}.")
        elif before != after:
            result.append((f"{prefix}{key}", before, after))
    return result


def _rename(path: Path, name: str) -> None:
    os.replace(path, path.with_name(name))
