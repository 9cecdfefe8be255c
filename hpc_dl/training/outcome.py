"""How a training ended, written down for those who look at the run folder; rank 0's business."""

from __future__ import annotations

import math
from typing import Any

import pytorch_lightning as pl

from hpc_dl.atomic_files import write_json, write_text
from hpc_dl.baselines.compare import facts_of
from hpc_dl.baselines.simple import KNOWN
from hpc_dl.config.resources import Resources
from hpc_dl.data.spec import DataSpec
from hpc_dl.errors import Stopped
from hpc_dl.runs import attempts, baselines
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import State, end_state
from hpc_dl.training.console import duration, say
from hpc_dl.training.preflight import num_parameters
from hpc_dl.training.stopping.signals import TrainingStopped


def finished(
    run: RunFolder,
    model: pl.LightningModule,
    trainer: pl.Trainer,
    metrics: dict[str, float],
    attempt: int,
    seconds: float,
    seed: int,
    data: DataSpec,
    diagnosis: dict[str, Any] | None = None,
) -> None:
    """Write the result, then the state: who reads ``finished`` finds the result there.

    Args:
        run: the run.
        model: what was trained.
        trainer: after its test.
        metrics: final metrics by name.
        attempt: number of the attempt, from 0.
        seconds: duration of this attempt.
        seed: the experiment's.
        data: what it was trained on, for the comparison with simple models.
        diagnosis: what :func:`hpc_dl.training.diagnosis.diagnose` found.
    """
    simple = baselines.of_run(run, facts_of(data))
    for sentence in (diagnosis or {}).get("words", ()):
        say(sentence)
    if sentence := _beside(simple, data, metrics):
        say(sentence)
    write_json(
        run.result,
        {
            "run": run.name,
            "dir": str(run.path),
            "state": "finished",
            "metrics": {name: value if math.isfinite(value) else str(value) for name, value in metrics.items()},
            "epochs": trainer.current_epoch,
            "steps": trainer.global_step,
            "seconds": round(seconds + attempts.seconds(run), 3),
            "parameters": num_parameters(model),
            "world_size": trainer.world_size,
            "device": trainer.strategy.root_device.type,
            "seed": seed,
            **({} if diagnosis is None else {"diagnosis": diagnosis}),
            **({} if simple is None else {"baseline": {"metric": simple["metric"], **simple["best"]}}),
        },
    )
    attempts.record(
        run, "ended", attempt=attempt, state="finished", step=trainer.global_step, seconds=round(seconds, 3)
    )
    end_state(run, "finished", step=trainer.global_step)
    whole = attempts.seconds(run)
    in_all = f", {duration(whole)} with the attempts before" if whole > seconds + 1 else ""
    say(f"Finished after {trainer.global_step} steps in {duration(seconds)}{in_all}.")


def _beside(simple: dict[str, Any] | None, data: DataSpec, metrics: dict[str, float]) -> str:
    """What the best simple model reached on these splits, beside the network."""
    if simple is None:
        known = data.task in KNOWN
        return "Is a network needed? `hpc-dl baseline CONFIG` fits simple models on the same splits." if known else ""
    best, metric = simple["best"], simple["metric"]
    own = f"{metrics[metric]:.4g}" if metric in metrics else "was not measured"
    return f"{metric}: this network {own}, the best simple model ({best['name']}) {best['mean']:.4g}."


def stopped_early(
    run: RunFolder, resources: Resources, stopped: TrainingStopped, attempt: int, from_step: int, seconds: float
) -> Stopped:
    """Write down that the run stopped, and leave word for the batch script whether to put it back
    into the queue.

    Args:
        run: the run.
        resources: for the limit of requeues.
        stopped: why and where the training stopped.
        attempt: number of the attempt, from 0.
        from_step: where it began.
        seconds: duration of this attempt.

    Returns:
        What to raise.
    """
    reason = {
        "limit": "warned of its time limit",
        "interrupt": "interrupted by Ctrl-C",
        "term": "asked to end (SIGTERM): cancelled, preempted, or its node shuts down",
    }[stopped.cause]
    cancelled = run.cancelled.exists()
    requeue = stopped.cause == "limit" and not cancelled
    if requeue and stopped.step <= from_step:
        requeue = False
        reason += "; it made no step since it was started, so starting it again would not help"
    elif requeue and (done := attempts.requeues(run)) >= resources.max_requeues:
        requeue = False
        reason += f"; it was put back into the queue {done} times (resources.max_requeues)"
    state: State = "cancelled" if cancelled else "stopped"
    ended = {
        "state": state,
        "step": stopped.step,
        "cause": stopped.cause,
        "requeue": requeue,
        "seconds": round(seconds, 3),
    }
    attempts.record(run, "ended", attempt=attempt, **ended)
    end_state(run, state, reason=reason, step=stopped.step, cause=stopped.cause)
    # What SIGTERM meant, Slurm knows: a preempted job goes on whatever it has done, a cancelled one
    # does not.
    if requeue or (stopped.cause == "term" and not cancelled):
        write_text(run.requeue, f"{stopped.cause}\n")
    return Stopped.at("training", f"stopped after step {stopped.step}: {reason}")
