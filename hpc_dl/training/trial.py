"""One batch of each split on the CPU, to find faults in a user's own code before a job is queued.

It runs in a child process that is forked as the workers of a data loader are, so that nothing is
imported again, and that is ended when it takes too long or too much memory.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import resource
import signal
import time
import warnings
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import pytorch_lightning as pl
import torch

from hpc_dl.config.experiment import Experiment
from hpc_dl.data.spec import DataSpec
from hpc_dl.errors import ConfigError, Fault, HpcDlError, raised_at
from hpc_dl.tracking.journal_logger import JournalLogger
from hpc_dl.tracking.wandb_config import WandbConfig
from hpc_dl.tracking.wandb_description import Description
from hpc_dl.tracking.wandb_tracker import WandbTracker
from hpc_dl.training.batches import batches_of, has_test_data
from hpc_dl.training.model_building import build_model
from hpc_dl.training.train import has_test

LIMIT_S = 30.0
LIMIT_BYTES = 800 << 20
_POLL_S = 0.05


def try_batches(experiment: Experiment, data: DataSpec) -> str:
    """Train on one batch, validate and test on one, in a child process.

    Args:
        experiment: with a module or network of the user.
        data: its data.

    Returns:
        Why it could not be tried to the end; empty if it was.

    Raises:
        ConfigError: it failed; the fault has the file, line and statement of the user's code.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    with TemporaryDirectory(prefix="hpc-dl-try-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork with several threads
        child = context.Process(target=_in_child, args=(experiment, data, sender, Path(folder)))
        child.start()
        sender.close()
        try:
            problem = _wait(child, receiver)
        finally:
            assert child.pid is not None
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)  # with the workers of its data loaders
            child.kill()
            child.join()
    if isinstance(problem, str):
        return problem
    if problem:
        raise ConfigError(*problem)
    return ""


def _wait(child: Any, receiver: Connection) -> str | list[Fault]:
    """Wait for the child's faults; return why it was ended, if it was."""
    deadline = time.monotonic() + LIMIT_S
    while not receiver.poll(_POLL_S):
        if time.monotonic() > deadline:
            return f"not tried to the end: one batch of each split takes more than {LIMIT_S:.0f} s on this CPU"
        with suppress(psutil.Error):
            if psutil.Process(child.pid).memory_full_info().uss > LIMIT_BYTES:
                return f"not tried to the end: a batch takes more than {LIMIT_BYTES >> 20} MiB of memory"
    try:
        faults: list[Fault] = receiver.recv()
    except EOFError:  # it was killed
        child.join(1)
        return f"not tried to the end: the trial was ended with status {child.exitcode}"
    return faults


def _in_child(experiment: Experiment, data: DataSpec, sender: Connection, folder: Path) -> None:
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    output = os.open(folder / "output", os.O_WRONLY | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ["WANDB_MODE"] = "disabled"
    torch.set_num_threads(1)  # the threads of the parent do not exist here
    try:
        _run(experiment, data, folder)
        faults = []
    except HpcDlError as error:
        faults = list(error.faults)
    except BaseException as error:  # SystemExit too: a user's code may raise anything
        faults = [_fault(experiment, error)]
    sender.send(faults)
    os._exit(0)


def _run(experiment: Experiment, data: DataSpec, folder: Path) -> None:
    warnings.simplefilter("ignore")
    pl.seed_everything(experiment.seed, verbose=False)
    model = build_model(experiment, data)
    size = {"batch_size": experiment.batch_size_per_device, "global_batch_size": None}  # this is a single device
    single = dataclasses.replace(experiment, data=experiment.data.model_copy(update=size))
    batches = batches_of(single, data, model)
    config = experiment.trainer
    automatic = model.automatic_optimization
    journal = JournalLogger(folder / "journal")
    logger = WandbTracker(
        WandbConfig(mode="disabled"),
        journal,
        folder=folder,
        attempt=0,
        from_step=0,
        describe=lambda: Description(name="trial", project="trial"),
        say=lambda _: None,
        sync_command="",
    )
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=1,
        limit_train_batches=1,
        limit_val_batches=1 if config.limit_val_batches else 0,
        limit_test_batches=1 if config.limit_test_batches else 0,
        num_sanity_val_steps=0,
        gradient_clip_val=config.gradient_clip_val if automatic else None,
        gradient_clip_algorithm=config.gradient_clip_algorithm if automatic else None,
        logger=logger,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    trainer.fit(model, batches)
    logged = trainer.callback_metrics
    monitor = experiment.checkpoint.monitor
    if trainer.fit_loop.epoch_loop.val_loop.batch_progress.total.completed and monitor not in ("auto", *logged):
        raise ConfigError.at(
            "checkpoint.monitor",
            f"is not logged by {type(model).__name__}",
            value=monitor,
            allowed=", ".join(["auto", *sorted(name for name in logged if name not in ("train/loss",))]),
            remedy="choose one of these, or log it with self.log in validation_step",
        )
    if has_test(model) and has_test_data(batches, data, model):
        trainer.test(model, batches, verbose=False)


def _fault(experiment: Experiment, error: BaseException) -> Fault:
    key = "model.network" if experiment.model.name == "network" else "model.class"
    return Fault(
        key,
        f"fails on its first batch: {type(error).__name__}: {error}{raised_at(error, anywhere=True)}",
        value=experiment.model.import_paths[0],
        remedy="--no-try skips this check",
    )
