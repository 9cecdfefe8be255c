"""How an attempt ended, recorded in the run folder by rank 0."""

from __future__ import annotations

from typing import Any

from hpc_dl.atomic_files import write_json, write_text
from hpc_dl.baselines.compare import data_identity
from hpc_dl.baselines.fitting import TASKS_WITH_BASELINES
from hpc_dl.data.spec import DataSpec
from hpc_dl.errors import Diverged, Stopped
from hpc_dl.formatting import duration
from hpc_dl.runs import attempts, baselines, checkpoints
from hpc_dl.runs.state import State, end_state
from hpc_dl.training.attempt import Attempt
from hpc_dl.training.console import say
from hpc_dl.training.model_building import num_parameters
from hpc_dl.training.stopping.divergence import TrainingDiverged
from hpc_dl.training.stopping.signals import TrainingStopped

# One early preemption is chance; five in a row mean that starting takes longer than it may.
_MOST_IDLE_ATTEMPTS = 5
_REASONS = {
    "limit": "warned of its time limit",
    "interrupt": "interrupted by Ctrl-C",
    "term": "received SIGTERM: cancelled, preempted, or its node is shutting down",
    "wandb": "stopped from W&B",
    "pruned": "ended by its sweep: it lags behind the other runs after as many epochs",
}


def record_result(
    attempt: Attempt,
    metrics: dict[str, float],
    diagnosis: dict[str, Any] | None,
    by_group: dict[str, Any] | None = None,
) -> None:
    """Write the result, then the state, so that the result exists once the state is ``finished``.

    Args:
        attempt: the attempt, after its test.
        metrics: final metrics by name.
        diagnosis: from :func:`hpc_dl.training.diagnosis.diagnose`.
        by_group: from :func:`hpc_dl.training.metrics_by_group.metrics_by_group`.
    """
    run, trainer, data = attempt.run, attempt.trainer, attempt.data
    seconds = attempt.seconds
    baseline = baselines.load(run, data_identity(data))
    for sentence in (diagnosis or {}).get("advice", ()):
        say(sentence)
    if message := _compare_with_baseline(baseline, data, metrics):
        say(message)
    write_json(
        run.result,
        {
            "run": run.name,
            "dir": str(run.path),
            "state": "finished",
            "metrics": metrics,
            "epochs": trainer.current_epoch,
            "steps": trainer.global_step,
            "seconds": round(seconds + attempts.seconds(run), 3),
            "parameters": num_parameters(attempt.model),
            "world_size": trainer.world_size,
            "device": trainer.strategy.root_device.type,
            "seed": attempt.experiment.seed,
            **({} if diagnosis is None else {"diagnosis": diagnosis}),
            **({} if by_group is None else {"by_group": by_group}),
            **({} if baseline is None else {"baseline": {"metric": baseline["metric"], **baseline["best"]}}),
        },
    )
    attempts.record(
        run, "ended", attempt=attempt.number, state="finished", step=trainer.global_step, seconds=round(seconds, 3)
    )
    end_state(run, "finished", step=trainer.global_step)
    total = attempts.seconds(run)
    all_attempts = f" ({duration(total)} over all attempts)" if total > seconds + 1 else ""
    say(f"Finished after {trainer.global_step} steps in {duration(seconds)}{all_attempts}.")


def record_stop(attempt: Attempt, stop: TrainingStopped) -> Stopped:
    """Record that the run stopped, and have the batch script requeue it where that helps.

    Args:
        attempt: the attempt.
        stop: why the training stopped, and at which step.

    Returns:
        The exception to raise.
    """
    run, seconds = attempt.run, attempt.seconds
    reason = _REASONS[stop.cause]
    cancelled = run.cancelled.exists()
    requeue = stop.cause == "limit" and not cancelled
    if requeue and stop.step <= attempt.from_step:
        requeue = False
        reason += "; not requeued, since this attempt completed no step"
    elif requeue and (requeues := attempts.requeues_at_time_limit(run)) >= attempt.experiment.resources.max_requeues:
        requeue = False
        reason += f"; already requeued {requeues} times, the limit (resources.max_requeues)"
    state: State = "cancelled" if cancelled else "pruned" if stop.cause == "pruned" else "stopped"
    # After SIGTERM the batch script queries Slurm, which knows the cause: it requeues a preempted
    # job, but not a cancelled one.
    ask_slurm = stop.cause == "term" and not cancelled
    idle = attempts.attempts_without_progress(run) if stop.step <= attempt.from_step else 0
    if ask_slurm and idle >= _MOST_IDLE_ATTEMPTS:
        ask_slurm = False
        reason += f"; not requeued, since {idle} attempts in a row completed no step"
    facts = {"state": state, "step": stop.step, "cause": stop.cause, "requeue": requeue, "seconds": round(seconds, 3)}
    attempts.record(run, "ended", attempt=attempt.number, **facts)
    end_state(run, state, reason=reason, step=stop.step, cause=stop.cause)
    if requeue or ask_slurm:
        write_text(run.requeue, f"{stop.cause}\n")
    return Stopped.at("training", f"stopped after step {stop.step}: {reason}")


def record_divergence(attempt: Attempt, divergence: TrainingDiverged) -> Diverged:
    """Record that the training has diverged.

    Args:
        attempt: the attempt.
        divergence: what was found, and at which step.

    Returns:
        The exception to raise.
    """
    run, seconds = attempt.run, attempt.seconds
    saved = checkpoints.listed(run.checkpoints, "step")
    kept = f"the last good checkpoint is of step {saved[-1].step}" if saved else "no checkpoint was saved before"
    advice = (
        "lower the learning rate, clip gradients (trainer.gradient_clip_val) or check the data, in a new run; "
        "trainer.detect_anomaly=true finds the operation, trainer.on_nan=continue trains on"
    )
    facts = {"state": "diverged", "step": divergence.step, "seconds": round(seconds, 3)}
    attempts.record(run, "ended", attempt=attempt.number, **facts)
    end_state(run, "diverged", reason=f"{divergence.reason}; {kept}; {advice}", step=divergence.step)
    return Diverged.at("training", f"diverged: {divergence.reason}; {kept}", remedy=advice)


def _compare_with_baseline(baseline: dict[str, Any] | None, data: DataSpec, metrics: dict[str, float]) -> str:
    """The best baseline's metric on the same splits, next to this network's."""
    if baseline is None:
        suggest = bool(data.file) and data.task in TASKS_WITH_BASELINES
        return "To see whether a network is needed, run `hpc-dl baseline CONFIG` on the same splits." if suggest else ""
    best, metric = baseline["best"], baseline["metric"]
    own = f"{metrics[metric]:.4g}" if metric in metrics else "not measured"
    return f"{metric}: this network {own}, best baseline ({best['name']}) {best['mean']:.4g}."
