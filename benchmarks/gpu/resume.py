"""Whether a training that is stopped and resumed on the GPU ends with the same bits.

``python -m benchmarks.gpu.resume RUN_FOLDER`` is one attempt of the training.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import experiments
from benchmarks.gpu.setting import Setting
from hpc_dl.errors import Stopped
from hpc_dl.runs.comparison import differences
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import read_state
from hpc_dl.tracking.journal import read_journal

SIZES = {"train": 512, "val": 64, "test": 64}
BATCH = 16
TIMEOUT_S = 120.0


def measure(setting: Setting, precision: str) -> dict[str, Any]:
    """Compare an undisturbed run with one that is stopped by SIGUSR2 and resumed.

    Args:
        setting: of the part.
        precision: Lightning's name of the number format.

    Returns:
        The step of the stop, and the differences: none if the resume is exact.

    Raises:
        RuntimeError: a training failed, or finished before it could be stopped.
    """
    epochs = setting.choose(60, 6)
    file = setting.folder / "gray.h5"
    if not file.exists():
        experiments.write_gray_images(file, SIZES)
    content = experiments.configuration(
        file,
        data={"batch_size": BATCH},
        model={"name": "cnn", "channels": [16, 32], "hidden": 128, "dropout": 0.5},
        optimizer={"name": "adam", "lr": 3e-3},
        schedule={"name": "cosine", "warmup_steps": 5},
        **setting.overrides(max_epochs=epochs, precision=precision, deterministic=True, log_every_n_steps=4),
    )
    undisturbed, stopped = (experiments.prepare_run(setting.folder, content) for _ in range(2))
    stop_step = epochs * SIZES["train"] // BATCH // 3
    with _attempt(undisturbed) as reference, _attempt(stopped) as attempt:  # at once, to save time
        deadline = time.monotonic() + TIMEOUT_S
        while attempt.poll() is None and time.monotonic() < deadline and _last_step(stopped) < stop_step:
            time.sleep(0.01)
        attempt.send_signal(signal.SIGUSR2)
        _check_end(stopped, attempt, Stopped.exit_status)
        stopped_at = int(read_state(stopped)["step"])
        _check_end(undisturbed, reference, 0)
    with _attempt(stopped) as attempt:
        _check_end(stopped, attempt, 0)
    return {
        "steps": int(read_state(undisturbed)["step"]),
        "stopped_at": stopped_at,
        "differences": [str(difference) for difference in differences(undisturbed, stopped)],
    }


@contextmanager
def _attempt(run: RunFolder) -> Iterator[subprocess.Popen[bytes]]:
    """Run an attempt in its own process, which does not outlive the context."""
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.gpu.resume", str(run.path)])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _check_end(run: RunFolder, attempt: subprocess.Popen[bytes], expected: int) -> None:
    """Wait for the end of an attempt, and check its exit status."""
    status = attempt.wait(TIMEOUT_S)
    if status != expected:
        state = read_state(run)
        reason = state.get("reason") or f"the state is {state['state']}"
        raise RuntimeError(f"the training ended with status {status} instead of {expected}: {reason}")


def _last_step(run: RunFolder) -> int:
    if not run.journal.exists():
        return 0
    return max((int(row.get("step", 0)) for row in read_journal(run.journal)), default=0)


if __name__ == "__main__":
    from hpc_dl.cluster.rank_process import run_rank

    sys.exit(run_rank(RunFolder(Path(sys.argv[1])), redirect=True))
