"""Everything that one attempt of a run trains with: data, model, Trainer, checkpoints."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.accelerators import CPUAccelerator
from pytorch_lightning.callbacks import Callback

from hpc_dl.atomic_files import write_json
from hpc_dl.config.experiment import Experiment
from hpc_dl.data.datamodule import HDF5DataModule
from hpc_dl.data.open_spec import open_spec, watched_files
from hpc_dl.data.spec import DataSpec
from hpc_dl.data.storage.file_version import WatchedFiles
from hpc_dl.figures.subject import Subject
from hpc_dl.runs import attempts, checkpoints
from hpc_dl.runs.checkpoints import Checkpoint
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.provenance import slurm_facts
from hpc_dl.training.batches import Batches, batches_of
from hpc_dl.training.callbacks import TrainingMetrics
from hpc_dl.training.compiling import compile_forward, use_channels_last
from hpc_dl.training.console import log_only, say
from hpc_dl.training.frames import FrameRecorder
from hpc_dl.training.loggers import Loggers, step_of
from hpc_dl.training.model_building import build_model, num_parameters
from hpc_dl.training.phase_timer import PhaseTimer
from hpc_dl.training.pretrained import load_pretrained
from hpc_dl.training.ranks import Ranks
from hpc_dl.training.staged_data import StagedData, stage
from hpc_dl.training.step_times import StepTimes, step_times_file
from hpc_dl.training.stopping.checkpoint_interval import CheckpointInterval, mean_time_between_kills
from hpc_dl.training.stopping.checkpointing import Checkpointing
from hpc_dl.training.stopping.divergence import Divergence
from hpc_dl.training.stopping.early_stopping import Patience
from hpc_dl.training.stopping.pruning import pruning_of
from hpc_dl.training.stopping.rank_group import RankGroup
from hpc_dl.training.stopping.watchdog import Watchdog
from hpc_dl.training.summary import log_summary
from hpc_dl.training.trainer import build_trainer, stall_timeout_s
from hpc_dl.training.training_length import steps_per_epoch, total_steps


@dataclass(frozen=True)
class Attempt:
    """One attempt of a run, on this rank.

    Attributes:
        run: the run.
        number: number of the attempt, from 0.
        started_at: when it started, by ``time.monotonic()``.
        experiment: the run's configuration.
        data: shapes, classes and split sizes of the data.
        files: the files of the data, which must not change.
        model: the module, with fresh or pretrained weights.
        batches: the data in batches.
        trainer: Lightning's Trainer.
        loggers: the journal and W&B.
        checkpointing: the callback that saves, and stops the training when requested.
        group: for agreement among the ranks.
        watchdog: ends the process if it stalls.
        timer: measures what the attempt spends its time on.
        resumed_from: the checkpoint to resume from; ``None`` for a fresh start.
    """

    run: RunFolder
    number: int
    started_at: float
    experiment: Experiment
    data: DataSpec
    files: WatchedFiles
    model: pl.LightningModule
    batches: Batches
    trainer: pl.Trainer
    loggers: Loggers
    checkpointing: Checkpointing
    group: RankGroup
    watchdog: Watchdog
    timer: PhaseTimer
    resumed_from: Checkpoint | None

    @property
    def from_step(self) -> int:
        """The step that the attempt resumes from; 0 for a fresh start."""
        return self.resumed_from.step if self.resumed_from else 0

    @property
    def seconds(self) -> float:
        """Seconds since the attempt started."""
        return time.monotonic() - self.started_at


def prepare_attempt(
    run: RunFolder,
    experiment: Experiment,
    ranks: Ranks,
    number: int,
    started_at: float,
    watchdog: Watchdog,
    timer: PhaseTimer,
    cleanup: ExitStack,
) -> Attempt:
    """Build everything that the attempt needs; afterward the ranks are connected.

    Args:
        run: the run.
        experiment: its configuration.
        ranks: this process's rank and world size.
        number: number of the attempt, from 0.
        started_at: when it started, by ``time.monotonic()``.
        watchdog: already watching.
        timer: already measuring.
        cleanup: gets what to do at the end of the attempt, however it ends.

    Raises:
        HpcDlError: the data, the model or the hardware does not fit the experiment.
    """
    with watchdog.phase("opening the data"):
        files = watched_files(experiment.data)
        staged = stage(experiment.data, watchdog, stall_timeout_s(experiment))
        cleanup.callback(staged.release)
        files.add(staged.copies)
        cleanup.callback(files.close)
        data = open_spec(staged.config)
    newest = None
    if ranks.rank == 0:
        with watchdog.phase("verifying the newest checkpoint"), timer.spending("restoring"):
            newest = _newest_checkpoint(run)
    loggers = Loggers(run, experiment, ranks, number, newest.step if newest else 0)
    cleanup.callback(loggers.close)
    if ranks.rank == 0 and experiment.model.import_paths:
        loggers.start()  # a user's module may call wandb.init in its __init__
    pl.seed_everything(experiment.seed, workers=True, verbose=False)
    model = build_model(experiment, data)
    if (mode := experiment.trainer.compile) != "off":
        compile_forward(model, mode, lambda: watchdog.phase("compiling", patience=6.0))
    batches = batches_of(experiment, data, model)
    divergence = Divergence(experiment.trainer.on_nan, say if ranks.rank == 0 else log_only)
    # Only rank 0 decides when a checkpoint is due.
    between_kills_s = mean_time_between_kills(run, timer.start) if ranks.rank == 0 else None
    checkpointing = Checkpointing(
        run,
        CheckpointInterval(experiment.checkpoint, between_kills_s),
        divergence=divergence,
        patience=_patience(experiment),
        facts=resume_conditions(experiment, data),
        say=say,
        writing=lambda kind, step: _writing(watchdog, timer, kind, step),
        before_save=loggers.journal.sync,
        check_data=files.check,
        ends_at=_job_end(os.environ),
    )
    callbacks: list[Callback] = [watchdog, TrainingMetrics(divergence.inspect, say), checkpointing]
    if ranks.rank == 0 and experiment.trainer.figures and isinstance(batches, HDF5DataModule):
        callbacks.append(FrameRecorder(Subject(run, data, model, batches), run.frames))
    pruning = pruning_of(run, say, lambda: watchdog.phase("reporting to the sweep"))
    if ranks.rank == 0 and pruning is not None:
        callbacks.append(pruning)
    if experiment.trainer.step_times:
        callbacks.append(StepTimes(step_times_file(run)))
    callbacks.append(timer)  # the last: the work of the others after a step is not waiting for data
    trainer = build_trainer(run, experiment, ranks, loggers.all(), callbacks)
    if experiment.trainer.channels_last and not isinstance(trainer.accelerator, CPUAccelerator):
        use_channels_last(model)
    elif experiment.trainer.channels_last and ranks.rank == 0:
        # torch 2.13 corrupts memory there for some convolutions: Conv2d(4, 8, 1, stride=2).
        say("trainer.channels_last is ignored on the CPU, where some convolutions of torch fail with it.")
    loggers.attach(lambda: step_of(trainer))
    trainer.strategy.setup_environment()  # connects the ranks, which must agree on the checkpoint to resume from
    timeout_s = stall_timeout_s(experiment)
    group = RankGroup(timeout_s=None if timeout_s is None else 2 * timeout_s)
    checkpointing.attach(trainer, group)
    resumed_from: Checkpoint | None = group.from_rank_0(newest)
    if resumed_from is None and experiment.model.init_from is not None:
        load_pretrained(model, Path(experiment.model.init_from), say if group.rank == 0 else log_only)
    attempt = Attempt(
        run, number, started_at, experiment, data, files, model, batches, trainer, loggers, checkpointing, group,
        watchdog, timer, resumed_from,
    )  # fmt: skip
    timer.resumes_from(attempt.from_step)
    if trainer.is_global_zero:
        facts = {
            "from_step": attempt.from_step,
            "world_size": group.size,
            "parameters": num_parameters(model),
            **_length(experiment, data),
            **slurm_facts(),
        }
        attempts.record(run, "started", attempt=number, **facts)
        cleanup.callback(_write_timings, run, checkpointing, staged)
        log_summary(experiment, data, model, batches, trainer, resumed_from)
    return attempt


@contextmanager
def _writing(watchdog: Watchdog, timer: PhaseTimer, kind: str, step: int) -> Iterator[None]:
    with watchdog.phase("writing a checkpoint"), timer.writing(kind, step):
        yield


def _length(experiment: Experiment, data: DataSpec) -> dict[str, int]:
    """The steps of an epoch and of the training, from which `hpc-dl status` knows the time left."""
    steps = {"steps_per_epoch": steps_per_epoch(experiment, data), "total_steps": total_steps(experiment, data)}
    return steps if all(steps.values()) else {}  # not known for a module with its own loaders


def resume_conditions(experiment: Experiment, data: DataSpec) -> dict[str, Any]:
    """The facts that a checkpoint must share with the attempt that resumes from it."""
    return {
        "data": data.checksum,
        "seed": experiment.seed,
        "global_batch_size": experiment.batch_size_per_device * experiment.resources.world_size,
        "max_epochs": experiment.trainer.epochs,
        "max_steps": experiment.trainer.max_steps,
    }


def _newest_checkpoint(run: RunFolder) -> Checkpoint | None:
    """The newest intact checkpoint; what a killed attempt wrote after it is deleted."""
    newest = checkpoints.newest_intact(run.checkpoints, say)
    checkpoints.delete_after(run.checkpoints, newest.step if newest else -1)
    return newest


def _patience(experiment: Experiment) -> Patience | None:
    early_stopping = experiment.trainer.early_stopping
    return None if early_stopping is None else Patience(early_stopping, experiment.checkpoint.direction)


def _job_end(environment: Mapping[str, str]) -> float | None:
    """The job's time limit in seconds since the epoch; ``None`` where Slurm does not provide it."""
    end_time = environment.get("SLURM_JOB_END_TIME", "")
    return float(end_time) if end_time.isdigit() else None


def _write_timings(run: RunFolder, checkpointing: Checkpointing, staged: StagedData) -> None:
    with suppress(OSError):  # the result must not be lost for lack of disk space
        write_json(run.timings, checkpointing.timings() | staged.timings())
