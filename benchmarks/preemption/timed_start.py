"""A training that notes the times of each part of its start.

``python -m benchmarks.preemption.timed_start RUN_FOLDER TIMES_FILE``. Everything but the standard
library is imported late, because the imports are one of the parts.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any


def train_and_note_times(folder: Path, times_file: Path) -> int:
    """Train as one rank that Slurm started; write when each part started and ended.

    Args:
        folder: the run folder.
        times_file: receives the times in seconds since the epoch after the first step.
    """
    times: dict[str, float] = {"program": time.time()}

    def note_times_of(owner: Any, name: str) -> None:
        function = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            times[f"start of {name}"] = time.time()
            result = function(*args, **kwargs)
            times[f"end of {name}"] = time.time()
            return result

        setattr(owner, name, timed)

    from hpc_dl.cluster.rank_process import run_rank
    from hpc_dl.runs.folder import RunFolder
    from hpc_dl.training.stopping import signals

    signals.install()
    from benchmarks.preemption.timed_module import TimedModule
    from hpc_dl.runs import checkpoints
    from hpc_dl.training import attempt, train

    times["imports"] = time.time()
    note_times_of(attempt, "open_spec")
    note_times_of(train, "examine")
    note_times_of(checkpoints, "newest_intact")
    on_train_batch_start = TimedModule.on_train_batch_start

    def on_first_batch_start(self: TimedModule, batch: Any, batch_idx: int) -> None:
        on_train_batch_start(self, batch, batch_idx)
        TimedModule.on_train_batch_start = on_train_batch_start  # type: ignore[method-assign]
        times["first batch"] = time.time()

    def on_train_batch_end(self: TimedModule, *_: Any) -> None:
        if "first step" not in times:
            times["first step"] = time.time()
            new = times_file.with_suffix(".new")
            new.write_text(json.dumps(times))
            new.replace(times_file)

    TimedModule.on_train_batch_start = on_first_batch_start  # type: ignore[method-assign]
    TimedModule.on_train_batch_end = on_train_batch_end  # type: ignore[assignment,method-assign]
    return run_rank(RunFolder(folder), redirect=True)


if __name__ == "__main__":
    exit_status = train_and_note_times(Path(sys.argv[1]), Path(sys.argv[2]))
    sys.stdout.flush()
    os._exit(exit_status)  # the exit handlers of torch take long
