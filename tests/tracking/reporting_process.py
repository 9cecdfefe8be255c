"""A script that reports to W&B, run by wandb_process.py.

It is a separate process because wandb keeps state, and because its output is tested. Standard input
has the task as JSON. The last line of standard error is JSON with the messages for the user and the
seconds that each phase took.
"""

import json
import signal
import sys
import time
from itertools import pairwise
from pathlib import Path

from hpc_dl.tracking.journal_logger import JournalLogger
from hpc_dl.tracking.wandb_config import WandbConfig
from hpc_dl.tracking.wandb_tracker import WandbTracker


def main() -> None:
    task = json.load(sys.stdin)
    signal.signal(signal.SIGTERM, lambda *_: None)  # a rank only notes the signal
    messages: list[str] = []
    folder = Path(task["folder"])
    from_step = task.get("from_step", 0)
    tracker = WandbTracker(
        WandbConfig(**task["config"]),
        run_id="abc123",
        name="a run",
        folder=folder,
        run_config={"model": {"name": "mlp", "width": 64}},
        metadata={"slurm_job_id": "4711"},
        say=messages.append,
        journal=folder / "journal" if "attempt" in task else None,
        from_step=from_step,
    )
    loggers = [JournalLogger(folder / "journal", task["attempt"], from_step)] if "attempt" in task else []
    loggers.append(tracker)

    def log(metrics: dict[str, float], step: int) -> None:
        for logger in loggers:
            logger.log_metrics({**metrics, "epoch": 0}, step)

    def validate(step: int) -> None:
        if (step + 1) % 5 == 0 and "attempt" in task:
            log({"val/loss": 2.0 / (step + 1)}, step)

    times = [time.monotonic()]
    for logger in loggers:
        _ = logger.experiment  # as Lightning does before it restores or trains anything
    times.append(time.monotonic())
    if task.get("from_validation"):
        validate(from_step - 1)
    for step in range(from_step, task["num_rows"]):
        if step in task.get("pauses_at", []):
            pause = folder / f"pause-{step}"
            pause.touch()
            while pause.exists():
                time.sleep(0.02)
        log({"train/loss": 1.0 / (step + 1)}, step)
        if not (task.get("to_validation") and step + 1 == task["num_rows"]):
            validate(step)
    times.append(time.monotonic())
    summary = {"test/accuracy": 0.5}
    tracker.finish(exit_code=task.get("exit_code", 0), summary=summary, preempted=task.get("preempted", False))
    times.append(time.monotonic())
    seconds = dict(zip(("start", "log", "finish"), (b - a for a, b in pairwise(times)), strict=True))
    print(json.dumps({"messages": messages, "seconds": seconds, "imported": "wandb" in sys.modules}), file=sys.stderr)


if __name__ == "__main__":
    main()
