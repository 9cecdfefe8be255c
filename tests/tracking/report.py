"""A process that reports to W&B, run by test_wandb.py: wandb keeps state in its process, whose output is under test.

Standard input has the task as JSON; what was said to the user, and how long things took in seconds, goes as JSON to
the last line of standard error.
"""

import json
import sys
import time
from itertools import pairwise
from pathlib import Path

from hpc_dl.tracking.config import WandbConfig
from hpc_dl.tracking.wandb import WandbTracker


def main() -> None:
    task = json.load(sys.stdin)
    said: list[str] = []
    tracker = WandbTracker(
        WandbConfig(**task["config"]),
        run_id="abc123",
        name="a run",
        folder=Path(task["folder"]),
        run_config={"model": {"name": "mlp", "width": 64}},
        metadata={"slurm_job_id": "4711"},
        say=said.append,
    )
    half_way = Path(task["folder"], "half-way")
    times = [time.monotonic()]
    _ = tracker.experiment  # as Lightning does before it restores or trains anything
    times.append(time.monotonic())
    for step in range(task["num_rows"]):
        if step == task.get("pause_at"):
            half_way.touch()
            while half_way.exists():
                time.sleep(0.02)
        tracker.log_metrics({"train/loss": 1.0 / (step + 1), "epoch": 0}, step)
    times.append(time.monotonic())
    tracker.finish(exit_code=task.get("exit_code", 0), summary={"test/accuracy": 0.5})
    times.append(time.monotonic())
    seconds = dict(zip(("start", "log", "finish"), (b - a for a, b in pairwise(times)), strict=True))
    print(json.dumps({"said": said, "seconds": seconds, "imported": "wandb" in sys.modules}), file=sys.stderr)


if __name__ == "__main__":
    main()
