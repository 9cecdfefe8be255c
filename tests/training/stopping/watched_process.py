"""A process with a watchdog, without a Trainer: a script.

Arguments: RUN WORLD_SIZE STEPS STEP_S PATIENCE.
"""

import signal
import sys
import time
from pathlib import Path

from hpc_dl.compatibility.deferred_imports import defer_rarely_used

defer_rarely_used()  # as a rank does

from hpc_dl.runs.folder import RunFolder  # noqa: E402
from hpc_dl.training.stopping.watchdog import Watchdog  # noqa: E402

TIMEOUT_S = 2.0


def main(run_dir: str, world_size: str, steps: str, step_s: str, patience: str) -> None:
    # A shell that starts the tests in the background makes their processes ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with Watchdog(RunFolder(Path(run_dir)), 0, int(world_size), TIMEOUT_S) as watchdog:
        print("watching", flush=True)
        for _ in range(int(steps)):
            with watchdog.phase("working", patience=float(patience)):
                time.sleep(float(step_s))


if __name__ == "__main__":
    main(*sys.argv[1:])
