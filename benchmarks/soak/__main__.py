"""Run a soak test: ``python -m benchmarks.soak``."""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import soak
from benchmarks.soak import report
from benchmarks.soak.processes import import_everything, run_attempt
from benchmarks.soak.trials import Soak
from hpc_dl.runs.folder import RunFolder


def main() -> int:
    """Run the soak test; return 1 when anything was not as promised."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=soak.__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="duration, without the undisturbed runs")
    parser.add_argument("--runs", type=int, default=None, help="end after so many runs, if there is time for more")
    parser.add_argument("--seed", type=int, default=None, help="determines the faults; random by default")
    parser.add_argument("--json", type=Path, default=None, metavar="PATH", help="write all results to this file")
    parser.add_argument("--attempt", type=Path, default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.attempt is not None:
        return run_attempt(RunFolder(options.attempt))
    # A shell without job control ignores SIGINT in background processes, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    import_everything()
    start = time.monotonic()
    test = Soak(Path(tempfile.mkdtemp(prefix="hpc-dl-soak-")), seed)
    try:
        test.run_for(options.seconds, lambda trial: print(report.describe(trial), flush=True), options.runs)
    finally:
        seconds = time.monotonic() - start
        rows = report.by_kind(test.trials)
        title = f"{len(test.trials)} faults in {test.runs} runs, {seconds:.0f} s, seed {seed}"
        report.show_table(rows, test.trials, title)
        if options.json is not None:
            report.write_json(options.json, test, seconds, rows)
    has_problems = any(row["problems"] for row in rows)
    if has_problems:
        print(f"Kept for inspection: {test.folder}")
    else:
        shutil.rmtree(test.folder)
    return 1 if has_problems or not test.trials else 0


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # a regular exit would wait for threads of torch that an attempt has left
