"""The largest and the fastest batch size of a device, found by trying: ``hpc-dl batch-size``."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from hpc_dl.cluster.child_processes import LAUNCHER_PID
from hpc_dl.cluster.job_environment import like_this_process
from hpc_dl.cluster.prepare import check, create
from hpc_dl.data.own_data_config import OwnLoadersConfig
from hpc_dl.errors import ConfigError, RunError
from hpc_dl.regular_files import read_json
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import read_state
from hpc_dl.training.step_times import step_times_file

if TYPE_CHECKING:
    from hpc_dl.config.experiment import Experiment
    from hpc_dl.data.spec import DataSpec

FIRST = 8
STEPS = 30
_POLL_S = 0.05
_TRIAL_S = 120.0  # of one size, with the start of its process
_RESOLUTION = 8  # the largest size is found to one part in so many
_NEARLY_AS_FAST = 0.97
# In the reasons of CUDA, cuBLAS, torch on CPUs, and Python.
_OUT_OF_MEMORY = re.compile(r"out of memory|ALLOC_FAILED|can't allocate memory|^memory: there is not enough")
_ALONE = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}  # also within a step of Slurm


@dataclass(frozen=True)
class Trial:
    """What came of a batch size.

    Attributes:
        size: samples of a batch.
        samples_per_s: median over the steps; ``None`` if it did not train to its end.
        memory: most bytes used on the device: reserved by torch on a GPU, resident on CPUs.
        problem: why it did not train to its end; empty if it did.
    """

    size: int
    samples_per_s: float | None = None
    memory: int | None = None
    problem: str = ""

    def facts(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)


def largest(trials: Mapping[int, Trial]) -> Trial | None:
    """The largest batch size that trained."""
    return max((trial for trial in trials.values() if not trial.problem), key=lambda trial: trial.size, default=None)


def fastest(trials: Mapping[int, Trial]) -> Trial | None:
    """The smallest batch size that trained as fast as the fastest, within 3%."""
    speeds = [(trial, trial.samples_per_s) for trial in trials.values() if trial.samples_per_s is not None]
    most = max((speed for _, speed in speeds), default=0.0)
    good = [trial for trial, speed in speeds if speed >= _NEARLY_AS_FAST * most]
    return min(good, key=lambda trial: trial.size, default=None)


def search(try_size: Callable[[int], Trial], most: int, go_on: Callable[[], bool] = lambda: True) -> dict[int, Trial]:
    """Try powers of two until one fails, then sizes between it and the largest that did not.

    Args:
        try_size: trains with a batch size.
        most: the largest size that makes sense: all samples.
        go_on: whether there is time for another.

    Returns:
        The trials, by their size.
    """
    trials: dict[int, Trial] = {}
    size, fits, fails = min(FIRST, most), 0, most + 1
    while size and go_on():
        trials[size] = try_size(size)
        if trials[size].problem:
            fails = min(fails, size)
        else:
            fits = max(fits, size)
        size = _next(fits, fails, most)
    return trials


def _next(fits: int, fails: int, most: int) -> int:
    """The size to try next; 0 when the largest is known well enough."""
    if fits == most or fails == 1:
        return 0
    if not fits:
        return fails // 2
    if fails > most:  # none has failed
        return min(2 * fits, most)
    if fails - fits <= max(1, fits // _RESOLUTION):
        return 0
    middle = (fits + fails) // 2
    return middle - middle % 8 if middle - middle % 8 > fits else middle


def measure(
    experiment: Experiment,
    *,
    data_dir: Path | None,
    seconds: float,
    say: Callable[[str], None],
    report: Callable[[Trial], None],
) -> dict[int, Trial]:
    """Train a few steps with different batch sizes on one device of this machine.

    Each size trains in a process of its own, which may run out of memory.

    Args:
        experiment: the experiment.
        data_dir: folder of the shipped data sources; ``None`` for the default.
        seconds: after which no other size is tried.
        say: prints one line for the user.
        report: gets each trial when it has ended.

    Returns:
        The trials, by their size.

    Raises:
        HpcDlError: the experiment is invalid, its data come from loaders that set their own batch
            size, or a training fails for another reason than memory.
    """
    if isinstance(experiment.data, OwnLoadersConfig):
        raise ConfigError.at("data", "come from loaders that set their own batch size")
    resources = experiment.resources
    alone = resources.model_copy(update={"nodes": 1, "gpus_per_node": min(1, resources.gpus_per_node)})
    steps_only = experiment.with_steps_only(
        STEPS, "batch-size", step_times=True, on_nan="continue", accumulate_grad_batches=1
    )
    resolved, data, _ = check(replace(steps_only, resources=alone), data_dir=data_dir, say=say)
    deadline = time.monotonic() + seconds
    share = resources.memory_gib / resources.ranks_per_node * 2**30
    limit = min(share, psutil.virtual_memory().available)

    def try_size(size: int) -> Trial:
        section = resolved.data.model_copy(update={"batch_size": size, "global_batch_size": None})
        trial = _try(replace(resolved, data=section), data, size, limit)
        report(trial)
        return trial

    return search(try_size, data.sizes["train"], lambda: time.monotonic() < deadline)


def _try(experiment: Experiment, data: DataSpec, size: int, limit: float) -> Trial:
    with tempfile.TemporaryDirectory(prefix="hpc-dl-batch-size-") as folder:
        run = create(experiment, data, runs=Path(folder), command=sys.argv)
        problem = _train(run, limit)
        state = read_state(run)
        if not problem and state["state"] != "finished":
            reason = str(state.get("reason", "it ended without giving a reason"))
            if not is_about_memory(reason):
                raise RunError.at(f"data.batch_size={size}", f"the training {state['state']}: {reason}")
            problem = "out of memory"
        if problem:
            return Trial(size, problem=problem)
        times, memory = read_json(step_times_file(run)), read_json(memory_file(run))
        if memory["device"] == "cpu" and memory["bytes"] > limit:  # for a moment, between two looks at it
            return Trial(size, problem="out of memory")
        return Trial(size, samples_per_s=size / times["step_s"], memory=memory["bytes"])


def is_about_memory(reason: str) -> bool:
    """Whether a training failed since there was not enough memory on its device or for its process.

    Args:
        reason: as in the state of its run.
    """
    return _OUT_OF_MEMORY.search(reason) is not None


def _train(run: RunFolder, limit: float) -> str:
    """Train in a process of its own; return what ended it, if that was not the training itself."""
    command = [sys.executable, "-m", "hpc_dl.cluster.batch_size_process", str(run.path)]
    environment = like_this_process(os.environ) | _ALONE | {LAUNCHER_PID: str(os.getpid())}
    process = psutil.Popen(command, env=environment, stdin=subprocess.DEVNULL)
    deadline = time.monotonic() + _TRIAL_S
    problem = ""
    try:
        while process.poll() is None:
            with suppress(psutil.Error):  # it has just ended
                if process.memory_info().rss > limit:
                    problem = "out of memory"
            if time.monotonic() > deadline:
                problem = f"{STEPS} steps took more than {_TRIAL_S:.0f} s"
            if problem:
                break
            time.sleep(_POLL_S)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
    return problem or ("out of memory" if process.returncode == -9 else "")  # by the kernel


def memory_file(run: RunFolder) -> Path:
    """The file with the most ``bytes`` that a training has used, and on which ``device``."""
    return run.path / "memory.json"
