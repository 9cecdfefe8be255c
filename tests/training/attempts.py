"""Attempts of a run that real signals stop at chosen points, in this process or in one per rank."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from hpc_dl.cluster.rendezvous_port import free_port
from hpc_dl.config import yaml
from hpc_dl.errors import Stopped
from hpc_dl.runs.checkpoints import listed
from hpc_dl.runs.folder import RunFolder
from hpc_dl.training.callbacks import PlainProgress
from hpc_dl.training.stopping import signals
from hpc_dl.training.train import train
from tests.conftest import PROJECT

WAIT_S = 120.0
_SIGNALS = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGINT, signal.SIGCONT)


@dataclass(frozen=True)
class Stop:
    """Signals that a rank sends to itself.

    Attributes:
        step: number of optimizer steps after which they are sent …
        hook: … in this hook …
        batch: … of the batch with this index; ``None`` for any.
        numbers: the signals, one after the other.
        rank: the rank that gets them.
    """

    step: int
    hook: str = "on_train_batch_end"
    batch: int | None = None
    numbers: tuple[int, ...] = (signal.SIGUSR2,)
    rank: int = 0


class _ProgressWithStops(PlainProgress):
    """The progress lines of a job, and the signals of the stops."""

    pending: list[Stop] = []

    def _send_signals(self, hook: str, trainer: pl.Trainer, batch: int | None = None) -> None:
        for stop in list(self.pending):
            reached = stop.hook == hook and trainer.global_step >= stop.step and stop.batch in (None, batch)
            if reached and trainer.global_rank == stop.rank:
                self.pending.remove(stop)
                for number in stop.numbers:
                    os.kill(os.getpid(), number)


def _hook(name: str, batch_argument: int | None = None) -> Callable[..., None]:
    def hook(self: _ProgressWithStops, trainer: pl.Trainer, module: pl.LightningModule, *arguments: Any) -> None:
        if (own := getattr(PlainProgress, name, None)) is not None:
            own(self, trainer, module, *arguments)
        self._send_signals(name, trainer, None if batch_argument is None else arguments[batch_argument])

    return hook


for _name in ("fit_start", "sanity_check_start", "train_start", "train_epoch_start", "train_epoch_end", "train_end",
              "validation_start", "validation_end", "test_start"):  # fmt: skip
    setattr(_ProgressWithStops, f"on_{_name}", _hook(f"on_{_name}"))
for _name in ("train", "validation", "test"):
    setattr(_ProgressWithStops, f"on_{_name}_batch_start", _hook(f"on_{_name}_batch_start", 1))
    setattr(_ProgressWithStops, f"on_{_name}_batch_end", _hook(f"on_{_name}_batch_end", 2))


@contextmanager
def signals_of_this_process() -> Iterator[None]:
    """A context that restores the signal handlers of the test process."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def attempt(run: RunFolder, *stops: Stop) -> int:
    """Start or resume a run in this process.

    Returns:
        0 when it finished, 75 when it stopped.
    """
    with pytest.MonkeyPatch.context() as patch, signals_of_this_process():
        patch.setattr("hpc_dl.training.trainer.PlainProgress", _ProgressWithStops)
        patch.setattr("hpc_dl.training.trainer.on_terminal", lambda: False)
        patch.setattr(_ProgressWithStops, "pending", list(stops))
        patch.setenv("SLURM_CPUS_PER_TASK", "1")  # one thread: several would only wait for each other
        signals.install()
        signals.clear_request()  # the request of an earlier attempt in this process
        try:
            train(run)
        except Stopped as stopped:
            return stopped.exit_status
    assert not torch.distributed.is_initialized(), (
        "a process group that still exists at the interpreter's exit may abort"
    )
    return 0


def finish(run: RunFolder, *stops: Stop) -> RunFolder:
    """Train a run to its end in this process, stopped at each of the points in turn.

    Points that the newest checkpoint has passed already are skipped.
    """
    for stop in stops:
        if stop.step >= done(run):
            assert attempt(run, stop) == Stopped.exit_status, f"was not stopped by {stop}"
    assert attempt(run) == 0
    return run


def done(run: RunFolder) -> int:
    """The number of optimizer steps in the newest checkpoint."""
    return max((checkpoint.step for checkpoint in listed(run.checkpoints, "step")), default=0)


# --- one process per rank -----------------------------------------------------------------------


def _forkserver() -> Any:
    """Return a context that forks processes which have imported torch already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(PROJECT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep))
        forkserver.ensure_running()  # it imports by PYTHONPATH, not by our sys.path
    return context


def _in_process(run: Path, stops: tuple[Stop, ...], environment: dict[str, str], before: Any, folder: str) -> None:
    os.setsid()  # so that the data loader's workers can be killed together with this process
    # A shell that starts the tests in the background makes their processes ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    multiprocessing.set_start_method("fork", force=True)  # for the data loader's workers, as in a job
    os.environ.clear()  # what the fork server was started with belongs to another test
    os.environ.update(environment)
    os.chdir(folder)
    output = os.open(_output_file(run, environment.get("RANK", "0")), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    faulthandler.dump_traceback_later(0.9 * WAIT_S, file=sys.__stderr__)
    status = 1
    try:
        if before is not None:
            before()
        status = attempt(RunFolder(run), *stops)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def start(run: RunFolder, *stops: Stop, before: Callable[[], None] | None = None) -> list[Any]:
    """Start an attempt of a run, each of its ranks in a separate process.

    Args:
        run: the run; its configuration contains the number of ranks.
        stops: the signals that the ranks send to themselves.
        before: called in each process before the training.
    """
    resources = yaml.load(run.config)["resources"]
    per_node = max(1, resources["gpus_per_node"])
    ranks = resources["nodes"] * per_node
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    processes = []
    for rank in range(ranks):
        own = {"RANK": str(rank), "LOCAL_RANK": str(rank % per_node), "NODE_RANK": str(rank // per_node)}
        own |= {"WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(per_node)}
        environment = dict(os.environ) | (shared | own if ranks > 1 else {})
        process = _forkserver().Process(target=_in_process, args=(run.path, stops, environment, before, os.getcwd()))
        process.name = str(_output_file(run.path, str(rank)))
        process.start()
        processes.append(process)
    return processes


def wait(processes: list[Any]) -> int:
    """Return the highest exit status of the ranks; ranks that do not end in time are killed."""
    try:
        for process in processes:
            process.join(WAIT_S)
        late = [Path(process.name).read_text()[-5000:] for process in processes if process.exitcode is None]
        assert not late, "\n".join(["ranks did not end:", *late])
        return max(int(process.exitcode) for process in processes)
    finally:
        kill(processes)


def kill(processes: list[Any]) -> None:
    """Send SIGKILL to each process and to its loader workers."""
    for process in processes:
        if process.exitcode is None:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:  # it has no process group yet
                process.kill()
            process.join(WAIT_S)


def finish_in_processes(run: RunFolder, *stops: Stop) -> RunFolder:
    """Do as :func:`finish`, with each rank of each attempt in a separate process."""
    for stop in stops:
        if stop.step < done(run):
            continue
        assert wait(start(run, stop)) == Stopped.exit_status, f"{stop}: {output(run)}"
    assert wait(start(run)) == 0, output(run)
    return run


def weights_of_each_rank(run: RunFolder) -> list[dict[str, Any]]:
    """Train a run and return the weights of each rank."""
    ranks = start(run, before=_keep_weights)
    assert wait(ranks) == 0, output(run)
    return [torch.load(run.path / f"weights-{rank}") for rank in range(len(ranks))]


def _keep_weights() -> None:
    def on_train_end(self: pl.LightningModule) -> None:
        torch.save(self.state_dict(), Path(self.trainer.default_root_dir) / f"weights-{self.global_rank}")

    pl.LightningModule.on_train_end = on_train_end  # type: ignore[method-assign]


def _output_file(run: Path, rank: str) -> Path:
    return run / f"output-{rank}"


def output(run: RunFolder) -> str:
    """All that the processes have printed."""
    return "".join(path.read_text() for path in sorted(run.path.glob("output-*")))
