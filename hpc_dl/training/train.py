"""The training of one rank, from the run folder to the result. Reads top-down: train, fit,
evaluate, conclude.
"""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Mapping
from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.strategies import DDPStrategy
from torch.nn.parameter import UninitializedParameter

from hpc_dl.atomic_files import write_json
from hpc_dl.config import yaml
from hpc_dl.config.experiment import Experiment
from hpc_dl.data.datamodule import HDF5DataModule
from hpc_dl.data.files.data_file import open_spec
from hpc_dl.data.spec import DataSpec
from hpc_dl.errors import ClusterError, Stopped
from hpc_dl.learning.supervised import Supervised
from hpc_dl.models.base import ModelConfig
from hpc_dl.nn.initialization import poor_pairing
from hpc_dl.runs import attempts, checkpoints, lock
from hpc_dl.runs.checkpoints import Checkpoint
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.provenance import slurm_facts
from hpc_dl.runs.state import record_failure, write_state
from hpc_dl.tracking.journal import read_journal
from hpc_dl.tracking.logger import JournalLogger
from hpc_dl.tracking.wandb import WandbTracker
from hpc_dl.training.allocator import keep_freed_memory
from hpc_dl.training.callbacks import PlainProgress, TerminalProgress, TrainingMetrics
from hpc_dl.training.compiling import compile_forward, lay_out
from hpc_dl.training.console import note, on_terminal, say, set_up
from hpc_dl.training.diagnosis import diagnose
from hpc_dl.training.outcome import finished, stopped_early
from hpc_dl.training.preflight import build_model, num_parameters, total_steps
from hpc_dl.training.pretrained import load_pretrained
from hpc_dl.training.ranks import Ranks, cpus_per_rank
from hpc_dl.training.stopping import signals
from hpc_dl.training.stopping.checkpointing import Checkpointing, Left
from hpc_dl.training.stopping.early_stopping import Patience
from hpc_dl.training.stopping.rank_group import RankGroup
from hpc_dl.training.stopping.resume_point import examine
from hpc_dl.training.stopping.watchdog import Watchdog


def train(run: RunFolder) -> None:
    """Train, test and conclude; this process is one of the ranks.

    A run that was begun before goes on from its newest whole checkpoint, exactly.

    Args:
        run: a prepared run folder.

    Raises:
        Stopped: it was asked to stop, and did so with a checkpoint to go on from; the run's state
            says so.
        Exception: whatever ended the training, after it was written to the run's state.
    """
    began = time.monotonic()
    ranks = Ranks.from_environment()
    set_up(run, ranks.rank)
    with lock.held(run) if ranks.rank == 0 else nullcontext():
        _attempt(run, ranks, began)


def _attempt(run: RunFolder, ranks: Ranks, began: float) -> None:
    attempt = len(list(run.journal.glob("attempt-*.jsonl")))
    if ranks.rank == 0:
        write_state(run, "running", attempt=attempt, **slurm_facts())
    try:
        _train(run, ranks, attempt, began)
    except Stopped:
        raise
    except BaseException as error:
        if ranks.rank == 0:
            with suppress(OSError):
                attempts.record(run, "ended", attempt=attempt, state="failed")
        record_failure(run, error, ranks.rank)
        raise


def _train(run: RunFolder, ranks: Ranks, attempt: int, began: float) -> None:
    experiment = Experiment.from_dict(yaml.load(run.config))
    torch.set_num_threads(cpus_per_rank(experiment.resources.ranks_per_node))
    keep_freed_memory()
    torch.set_float32_matmul_precision("high")  # TF32 where the GPU has it; the CPU is not touched
    minutes = experiment.trainer.stall_timeout
    stall_s = None if minutes is None else 60 * minutes
    # W&B may take its time at the end: not under the eyes of the watchdog
    with ExitStack() as afterwards:  # noqa: SIM117
        with Watchdog(run, ranks.rank, ranks.world_size, stall_s) as watchdog:
            with watchdog.phase("opening the data"):
                data = open_spec(experiment.data)
            pl.seed_everything(experiment.seed, workers=True, verbose=False)
            model = build_model(experiment, data)
            if experiment.trainer.channels_last:
                lay_out(model)
            if (mode := experiment.trainer.compile) != "off":
                compile_forward(model, mode, lambda: watchdog.phase("compiling", patience=6.0))
            batches = HDF5DataModule.from_config(experiment.data, data, seed=experiment.seed)
            start = None
            if ranks.rank == 0:
                with watchdog.phase("verifying the newest checkpoint"):
                    start = _newest_checkpoint(run)
            from_step = start.step if start else 0
            journal = JournalLogger(run.journal, attempt, from_step)
            afterwards.callback(_close, journal)
            loggers: list[pl.loggers.Logger] = [journal]
            finish: dict[str, Any] = {"exit_code": 1}
            if experiment.wandb.mode != "disabled":
                tracker = _wandb(run, experiment, data, from_step)
                afterwards.callback(lambda: tracker.finish(**finish))
                loggers.append(tracker)
            checkpointing = Checkpointing(
                run,
                experiment.checkpoint,
                patience=_patience(experiment),
                facts=(facts := _facts(experiment, data)),
                say=say,
                writing=lambda: watchdog.phase("writing a checkpoint"),
                before_save=journal.sync,
                ends_at=_job_end(os.environ),
            )
            trainer = _trainer(run, experiment, ranks, loggers, [watchdog, TrainingMetrics(), checkpointing])
            trainer.strategy.setup_environment()  # the ranks must know each other before they agree on where to begin
            group = RankGroup(timeout_s=None if stall_s is None else 2 * stall_s)
            checkpointing.attach(trainer, group)
            start = group.from_rank_0(start)
            if start is None and experiment.model.init_from is not None:
                load_pretrained(model, Path(experiment.model.init_from), say if group.rank == 0 else note)
            if trainer.is_global_zero:
                began_with = {"from_step": from_step, "world_size": group.size, **slurm_facts()}
                attempts.record(run, "started", attempt=attempt, **began_with)
                afterwards.callback(_keep_timings, run, checkpointing)
            _introduce(experiment, data, model, batches, trainer, start)
            try:
                metrics = _fit_and_test(trainer, model, batches, data, experiment, checkpointing, start, facts)
                if trainer.is_global_zero:
                    diagnosis = _diagnosis(run, model, batches, trainer, watchdog)
                    seconds = time.monotonic() - began
                    finished(run, model, trainer, metrics, attempt, seconds, experiment.seed, data, diagnosis)
                finish |= {"exit_code": 0, "summary": metrics}
                group.disband()
            except Left as left:
                signals.answered()
                told = Stopped.at("training", f"stopped after step {left.step}")
                if trainer.is_global_zero:
                    told = stopped_early(run, experiment.resources, left, attempt, from_step, time.monotonic() - began)
                finish |= {"exit_code": Stopped.exit_status, "preempted": True}
                group.wait_for_all()  # a rank that left earlier could take the others with it
                raise told from None


def _newest_checkpoint(run: RunFolder) -> Checkpoint | None:
    """What to go on from; what a lost attempt wrote after it is gone then."""
    start = checkpoints.newest_intact(run.checkpoints, say)
    checkpoints.delete_after(run.checkpoints, start.step if start else -1)
    return start


def _job_end(environment: Mapping[str, str]) -> float | None:
    """When Slurm ends this job at the latest, in seconds since the epoch; ``None`` where nobody
    says.
    """
    told = environment.get("SLURM_JOB_END_TIME", "")
    return float(told) if told.isdigit() else None


def _close(journal: JournalLogger) -> None:
    with suppress(OSError):
        journal.close()


def _keep_timings(run: RunFolder, checkpointing: Checkpointing) -> None:
    with suppress(OSError):
        write_json(run.timings, checkpointing.timings())


def _patience(experiment: Experiment) -> Patience | None:
    wanted = experiment.trainer.early_stopping
    return None if wanted is None else Patience(wanted, experiment.checkpoint.direction)


def _facts(experiment: Experiment, data: DataSpec) -> dict[str, Any]:
    """What a checkpoint must have in common with the run that goes on from it."""
    return {
        "data": data.checksum,
        "seed": experiment.seed,
        "global_batch_size": experiment.batch_size_per_device * experiment.resources.world_size,
        "max_epochs": experiment.trainer.epochs,
        "max_steps": experiment.trainer.max_steps,
    }


def _fit_and_test(
    trainer: pl.Trainer,
    model: pl.LightningModule,
    batches: HDF5DataModule,
    data: DataSpec,
    experiment: Experiment,
    checkpointing: Checkpointing,
    start: Checkpoint | None,
    facts: dict[str, Any],
) -> dict[str, float]:
    """Fit, then test the best weights; the metrics of both by their full names."""
    # Each rank its own dropout masks; the weights are already drawn, from the same seed on all.
    pl.seed_everything(experiment.seed + trainer.global_rank, workers=True, verbose=False)
    entry = None if start is None else examine(start, facts, model)
    if entry is not None:
        batches.start_at(entry.position.epoch, entry.position.batch)
        trainer.num_sanity_val_steps = 0  # it was done in the first attempt
    if entry is None or not entry.complete:
        trainer.fit(model, batches, ckpt_path=None if start is None else str(start.path), weights_only=False)
    else:
        checkpointing.skip_training(entry)
    best = checkpointing.whole_best()
    metrics: dict[str, float] = torch.load(best.path, weights_only=True, mmap=True)["metrics"]
    if "test" in data.sizes and _has_test(model):
        trainer.test(model, batches, ckpt_path=str(best.path), weights_only=True, verbose=False)
        metrics |= {name: float(value) for name, value in trainer.callback_metrics.items()}
    return dict(sorted(metrics.items()))


def _diagnosis(
    run: RunFolder, model: pl.LightningModule, batches: HDF5DataModule, trainer: pl.Trainer, watchdog: Watchdog
) -> dict[str, Any] | None:
    """What can be said of the training, for one network with one loss."""
    if not isinstance(model, Supervised) or model.learning.task.name == "sequence_to_sequence":
        return None
    with watchdog.phase("looking at the trained model"):
        try:
            validations = [float(row["val/loss"]) for row in read_journal(run.journal) if "val/loss" in row]
            return diagnose(model, batches, trainer.strategy.root_device, validations)
        except Exception as error:  # the training is done, and its result must not be lost for some words about it
            say(f"No diagnosis of the training: {type(error).__name__}: {error}")
            return None


def _trainer(
    run: RunFolder,
    experiment: Experiment,
    ranks: Ranks,
    loggers: list[pl.loggers.Logger],
    callbacks: list[Callback],
) -> pl.Trainer:
    config = experiment.trainer
    resources = experiment.resources
    accelerator = _accelerator(experiment)
    strategy: str | DDPStrategy = config.strategy
    if resources.world_size > 1:
        options_of_ddp: dict[str, Any] = {"find_unused_parameters": strategy == "ddp_find_unused_parameters_true"}
        if config.stall_timeout is not None:  # the watchdog comes first, with a better reason
            options_of_ddp["timeout"] = datetime.timedelta(minutes=2 * config.stall_timeout)
        strategy = DDPStrategy(**options_of_ddp)
    ours = {"max_epochs", "max_steps", "accelerator", "strategy", "stall_timeout", "compile", "channels_last"}
    options: dict[str, Any] = config.model_dump(exclude=ours | {"early_stopping"}, exclude_none=True)
    progress: list[Callback] = [TerminalProgress(), PlainProgress(note)] if on_terminal() else [PlainProgress(say)]
    return pl.Trainer(
        **options,
        max_epochs=config.epochs,
        max_steps=config.max_steps or -1,
        accelerator=accelerator,
        strategy=strategy,
        devices=resources.ranks_per_node,
        num_nodes=resources.nodes,
        plugins=[ranks.lightning_environment()],
        use_distributed_sampler=False,  # our batches already know their rank
        logger=loggers,
        callbacks=[*callbacks, *progress],
        enable_checkpointing=False,  # ours
        default_root_dir=run.path,
        enable_model_summary=False,
        enable_progress_bar=on_terminal(),
    )


def _accelerator(experiment: Experiment) -> str:
    """``gpu`` or ``cpu``; never the CPU in silence where GPUs were asked for.

    Raises:
        ClusterError: a GPU is required and there is none, or fewer than asked for.
    """
    wanted, per_node = experiment.trainer.accelerator, experiment.resources.gpus_per_node
    if wanted == "cpu" or per_node == 0:
        return "cpu"
    visible = torch.cuda.device_count()
    if visible >= per_node:
        return "gpu"
    if visible or wanted == "gpu":
        raise ClusterError.at(
            "resources.gpus_per_node",
            f"torch sees {visible} GPUs here (torch {torch.__version__})",
            value=per_node,
            remedy="ask for fewer, or install a torch that is built for these GPUs",
        )
    say(f"No GPU is visible to torch {torch.__version__}: training on the CPU instead.")
    return "cpu"


def _wandb(run: RunFolder, experiment: Experiment, data: DataSpec, from_step: int) -> WandbTracker:
    return WandbTracker(
        experiment.wandb,
        run_id=run.name,
        name=experiment.name,
        folder=run.path,
        run_config=experiment.to_dict(),
        metadata={**slurm_facts(), "host": os.uname().nodename, "run": str(run.path), "data": data.checksum},
        say=say,
        journal=run.journal,
        from_step=from_step,
    )


def _has_test(model: pl.LightningModule) -> bool:
    return isinstance(model, Supervised) or type(model).test_step is not pl.LightningModule.test_step


def _introduce(
    experiment: Experiment,
    data: DataSpec,
    model: pl.LightningModule,
    batches: HDF5DataModule,
    trainer: pl.Trainer,
    start: Checkpoint | None,
) -> None:
    if not trainer.is_global_zero:
        return
    parameters = num_parameters(model)
    sizes = ", ".join(f"{size:,} {split}" for split, size in data.sizes.items())
    devices = f"{trainer.world_size} × {trainer.strategy.root_device.type}"
    known = [p for p in model.parameters() if not isinstance(p, UninitializedParameter)]
    frozen = sum(p.numel() for p in known if not p.requires_grad)
    name = type(model).__name__ if experiment.model.name == "custom" else experiment.model.name
    network = f"{name} with {parameters:,} parameters" + (f" to learn and {frozen:,} frozen ones" if frozen else "")
    say(f"{network} on {data.name} ({sizes}), {devices}, seed {experiment.seed}")
    device = trainer.strategy.root_device
    if (
        device.type == "cuda"
        and experiment.trainer.precision == "32-true"
        and torch.cuda.get_device_capability(device) >= (8, 0)
    ):
        say("float32 products are computed as TF32, with 10 bits of mantissa; more speed: trainer.precision=bf16-mixed")
    activation = getattr(experiment.model, "activation", "")
    if isinstance(experiment.model, ModelConfig) and (told := poor_pairing(experiment.model.init, activation)):
        say(told)
    warmup, steps = getattr(experiment.schedule, "warmup_steps", 0), total_steps(experiment, data)
    if warmup >= steps > 0:
        say(
            f"schedule.warmup_steps={warmup} in a training of {steps} steps: the learning rate never gets to its height"
        )
    for told in batches.missing_in_words():
        say(told)
    if start is not None:
        say(f"Going on from step {start.step} ({start.path.name})")
