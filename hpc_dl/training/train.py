"""The training of one rank, from the run folder to the result: train, fit, evaluate, conclude."""

from __future__ import annotations

import time
from contextlib import ExitStack, nullcontext, suppress
from typing import Any

import pytorch_lightning as pl
import torch

from hpc_dl.compatibility.checks import check_names
from hpc_dl.config import yaml
from hpc_dl.config.experiment import Experiment
from hpc_dl.data.datamodule import HDF5DataModule
from hpc_dl.errors import ClusterError, Diverged, Stopped
from hpc_dl.learning.metric_names import split_of
from hpc_dl.learning.supervised import Supervised
from hpc_dl.learning.training_module import TrainingModule
from hpc_dl.runs import attempts, lock
from hpc_dl.runs.checkpoints import Checkpoint
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.provenance import slurm_facts
from hpc_dl.runs.state import record_failure, write_state
from hpc_dl.tracking.journal import read_journal
from hpc_dl.training.allocator import keep_freed_memory
from hpc_dl.training.attempt import Attempt, prepare_attempt, resume_conditions
from hpc_dl.training.batches import check_has_batches, has_test_data
from hpc_dl.training.callbacks import TrainingMetrics
from hpc_dl.training.console import say, set_up_logging
from hpc_dl.training.diagnosis import diagnose
from hpc_dl.training.end_figures import draw_end_figures
from hpc_dl.training.metrics_by_group import metrics_by_group
from hpc_dl.training.outcome import record_divergence, record_result, record_stop
from hpc_dl.training.phase_timer import PhaseTimer
from hpc_dl.training.ranks import Ranks, cpus_per_rank
from hpc_dl.training.resource_sampler import ResourceSampler
from hpc_dl.training.stopping import signals
from hpc_dl.training.stopping.divergence import TrainingDiverged
from hpc_dl.training.stopping.resume_point import examine
from hpc_dl.training.stopping.signals import TrainingStopped
from hpc_dl.training.stopping.watchdog import Watchdog
from hpc_dl.training.trainer import stall_timeout_s


def train(run: RunFolder) -> None:
    """Train the run's model, test it and record the result; this process is one of the ranks.

    A run that was trained before resumes from its newest intact checkpoint, bit for bit.

    Args:
        run: a prepared run folder.

    Raises:
        Stopped: the training was stopped, with a checkpoint to resume from; the run's state says
            so.
        Diverged: its loss or its weights are no longer finite; the run's state says so.
        Exception: whatever ended the training, after it was written to the run's state.
    """
    started_at = time.monotonic()
    ranks = Ranks.from_environment()
    set_up_logging(run, ranks.rank)
    with lock.held(run) if ranks.rank == 0 else nullcontext():
        number = len(list(run.journal.glob("attempt-*.jsonl")))
        if ranks.rank == 0:
            write_state(run, "running", attempt=number, **slurm_facts())
        try:
            _train(run, ranks, number, started_at)
        except (Stopped, Diverged):
            raise
        except BaseException as error:
            if ranks.rank == 0:
                with suppress(OSError):
                    attempts.record(run, "ended", attempt=number, state="failed")
            record_failure(run, error, ranks.rank)
            raise


def _train(run: RunFolder, ranks: Ranks, number: int, started_at: float) -> None:
    experiment = Experiment.from_dict(yaml.load(run.config))
    if ranks.rank == 0 and experiment.wandb.mode != "disabled":
        check_names("wandb")
    _check_ranks(ranks, experiment)
    _configure_process(experiment)
    # The cleanup comes after the watchdog has ended, since W&B may take long to finish.
    with ExitStack() as cleanup:
        timer = PhaseTimer(run, number)
        if ranks.rank == 0:
            timer.start_writing()
            cleanup.callback(timer.close)
        cleanup.callback(ResourceSampler(run, ranks.rank, ranks.local_rank, timer.waited_s).stop)
        with Watchdog(run, ranks.rank, ranks.world_size, stall_timeout_s(experiment)) as watchdog:
            attempt = prepare_attempt(run, experiment, ranks, number, started_at, watchdog, timer, cleanup)
            cleanup.callback(timer.finish)
            try:
                best = fit(attempt)
                metrics = evaluate(attempt, best)
                conclude(attempt, metrics, best)
            except TrainingStopped as stop:
                raise conclude_early(attempt, stop) from None
            except TrainingDiverged as divergence:
                raise conclude_divergence(attempt, divergence) from None


def fit(attempt: Attempt) -> Checkpoint:
    """Train to the end, from the start or from where an earlier attempt stopped.

    Returns:
        The checkpoint with the best weights, verified.

    Raises:
        TrainingStopped: the training was stopped.
    """
    trainer, model, batches, resumed_from = attempt.trainer, attempt.model, attempt.batches, attempt.resumed_from
    # Each rank draws its own dropout masks. The weights were drawn before, alike on all ranks.
    pl.seed_everything(attempt.experiment.seed + trainer.global_rank, workers=True, verbose=False)
    if resumed_from is None:
        trainer.fit(model, batches)
    else:
        attempt.timer.enter("restoring")
        entry = examine(resumed_from, resume_conditions(attempt.experiment, attempt.data), model)
        batches.start_at(entry.position.epoch, entry.position.batch)
        trainer.num_sanity_val_steps = 0  # done in the first attempt
        if entry.complete:
            attempt.checkpointing.skip_training(entry)
            attempt.timer.enter("end")
        else:
            trainer.fit(model, batches, ckpt_path=str(resumed_from.path), weights_only=False)
    check_has_batches(attempt.experiment, trainer)
    return attempt.checkpointing.find_best()


def evaluate(attempt: Attempt, best: Checkpoint) -> dict[str, float]:
    """Test the best weights.

    Returns:
        The metrics of the best checkpoint and of the test, by full name, sorted.

    Raises:
        TrainingStopped: the test was stopped.
    """
    # weights_only=False: a user's module may store any object, and the file is our own.
    metrics: dict[str, float] = torch.load(best.path, weights_only=False, mmap=True)["metrics"]
    if has_test(attempt.model) and has_test_data(attempt.batches, attempt.data):
        trainer = attempt.trainer
        trainer.test(attempt.model, attempt.batches, ckpt_path=str(best.path), weights_only=False, verbose=False)
        metrics |= {name: float(value) for name, value in trainer.callback_metrics.items()}
    return dict(sorted(metrics.items()))


def conclude(attempt: Attempt, metrics: dict[str, float], best: Checkpoint) -> None:
    """Diagnose the training and record its result.

    Raises:
        DataError: the data changed during the test.
    """
    attempt.files.check(at_once=True)
    if attempt.trainer.is_global_zero:
        if not isinstance(attempt.model, TrainingModule):
            metrics = dict(sorted((metrics | _logged_at(attempt, best.step)).items()))
        record_result(attempt, metrics, _diagnosis(attempt), _by_group(attempt))
        draw_end_figures(attempt, best)
    attempt.loggers.report_success()
    attempt.group.destroy()


def conclude_early(attempt: Attempt, stop: TrainingStopped) -> Stopped:
    """Record that the attempt stopped before its end, and return the exception to raise."""
    signals.clear_request()
    stopped = Stopped.at("training", f"stopped after step {stop.step}")
    if attempt.trainer.is_global_zero:
        stopped = record_stop(attempt, stop)
    attempt.loggers.report_stop(resumes=attempt.run.requeue.exists())
    attempt.group.wait_for_all()  # if a rank ended earlier, its exit could end the others
    return stopped


def conclude_divergence(attempt: Attempt, divergence: TrainingDiverged) -> Diverged:
    """Record that the training has diverged, and return the exception to raise."""
    diverged = Diverged.at("training", divergence.reason)
    if attempt.trainer.is_global_zero:
        diverged = record_divergence(attempt, divergence)
    attempt.loggers.close()
    attempt.group.wait_for_all()  # the first rank that exits with an error ends the others
    return diverged


def has_test(model: pl.LightningModule) -> bool:
    """Whether the module defines a test."""
    return isinstance(model, Supervised) or type(model).test_step is not pl.LightningModule.test_step


def _check_ranks(ranks: Ranks, experiment: Experiment) -> None:
    """Check that as many ranks were started as the experiment has.

    Raises:
        ClusterError: each would train for itself, or they would wait for others.
    """
    expected = experiment.resources.world_size
    if ranks.world_size != expected:
        raise ClusterError.at(
            "resources",
            f"the job has started {ranks.world_size} ranks, but nodes and gpus_per_node ask for {expected}",
            remedy="remove options for nodes and tasks from `sbatch` in the site profile, or use their placeholders",
        )


def _configure_process(experiment: Experiment) -> None:
    torch.set_num_threads(cpus_per_rank(experiment.resources.ranks_per_node))
    keep_freed_memory()
    torch.set_float32_matmul_precision("high")  # TF32 on GPUs that have it; no effect on the CPU


def _logged_at(attempt: Attempt, step: int) -> dict[str, float]:
    """What the module has logged at a step, apart from the test.

    Values of the epoch that ends with this step are logged after its validation, and so after the
    best weights were saved.
    """
    rows = (row for row in read_journal(attempt.run.journal) if row["step"] == step)
    values = (item for row in rows for item in row.items())
    of_rows = {"step", "epoch", "time", *TrainingMetrics.NAMES}
    return {name: value for name, value in values if name not in of_rows and split_of(name) != "test"}


def _by_group(attempt: Attempt) -> dict[str, Any] | None:
    """The metrics of the test samples by group; ``None`` without ``data.group``, or if it fails."""
    if attempt.experiment.data.group is None or "test" not in attempt.data.sizes:
        return None
    assert isinstance(attempt.model, Supervised)  # see preflight
    assert isinstance(attempt.batches, HDF5DataModule)
    with attempt.watchdog.phase("computing metrics by group", patience=6):
        device = attempt.trainer.strategy.root_device
        try:
            return metrics_by_group(attempt.model, attempt.batches, attempt.experiment.data, "test", device)
        except Exception as error:  # the training has succeeded, and its result must not be lost
            say(f"The metrics by group could not be computed: {type(error).__name__}: {error}")
            return None


def _diagnosis(attempt: Attempt) -> dict[str, Any] | None:
    """The diagnosis of a model with one network and one loss; ``None`` for others."""
    model = attempt.model
    if not isinstance(model, Supervised) or model.recipe.task.name == "sequence_to_sequence":
        return None
    with attempt.watchdog.phase("diagnosing the trained model"):
        try:
            val_losses = [float(row["val/loss"]) for row in read_journal(attempt.run.journal) if "val/loss" in row]
            assert isinstance(attempt.batches, HDF5DataModule)
            return diagnose(model, attempt.batches, attempt.trainer.strategy.root_device, val_losses)
        except Exception as error:  # the training has succeeded, and its result must not be lost
            say(f"The training could not be diagnosed: {type(error).__name__}: {error}")
            return None
