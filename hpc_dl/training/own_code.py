"""The checks of an experiment with a user's own code, in a child process.

Such code may hang, end the process, crash it or take too much memory, already while it is imported.
The child is forked as the workers of a data loader are, so that nothing is imported again.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import resource
import signal
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import torch

from hpc_dl.config.experiment import Experiment
from hpc_dl.data.spec import DataSpec
from hpc_dl.errors import ConfigError, Fault, HpcDlError, describe, statement_in_stack
from hpc_dl.tracking.wandb_environment import wandb_mode
from hpc_dl.training.batches import unused_loaders
from hpc_dl.training.preflight import preflight
from hpc_dl.training.trial import run_batches

LIMIT_S = 30.0
LIMIT_BYTES = 800 << 20
_POLL_S = 0.05
_STACK_S = 2.0  # for a child to write its stack
_SKIP = "--no-try skips this check"


@dataclass
class _Findings:
    """What the child has found so far.

    Attributes:
        parameters: the number of trainable parameters; ``None`` before the model is built.
        remarks: for the user, one line each.
        faults: mistakes in the experiment or in the user's code.
    """

    parameters: int | None = None
    remarks: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


def check_own_code(
    experiment: Experiment, data: DataSpec, *, try_batches: bool, say: Callable[[str], None]
) -> int | None:
    """Import and build a user's module or network, and do all checks of the preflight.

    Args:
        experiment: with a module or network of the user.
        data: its data.
        try_batches: whether to train on one batch, and to validate and test on one.
        say: prints one line for the user, such as why something could not be checked.

    Returns:
        The number of trainable parameters; ``None`` if it could not be determined in time.

    Raises:
        ConfigError: with all faults; those of the user's code have its file, line and statement.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    with TemporaryDirectory(prefix="hpc-dl-try-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork with several threads
        child = context.Process(target=_in_child, args=(experiment, data, try_batches, sender, Path(folder)))
        child.start()
        sender.close()
        try:
            findings = _wait(child, receiver, Path(folder) / "stack", experiment, try_batches)
        finally:
            assert child.pid is not None
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)  # with the workers of its data loaders
            child.kill()
            child.join()
    if findings.faults:
        raise ConfigError(*findings.faults)
    for remark in findings.remarks:
        say(remark)
    return findings.parameters


def _wait(child: Any, receiver: Connection, stack: Path, experiment: Experiment, try_batches: bool) -> _Findings:
    """Wait for what the child finds; end it where it takes too long or too much memory."""
    path, findings = experiment.model.import_paths[0], _Findings()
    deadline = time.monotonic() + LIMIT_S
    try:
        while True:
            if receiver.poll(_POLL_S):
                message: tuple[_Findings, bool] = receiver.recv()
                findings, is_done = message
                if is_done:
                    return findings
            elif time.monotonic() > deadline:
                where = _present_statement(child.pid, stack)
                if findings.parameters is None:
                    problem = f"takes more than {LIMIT_S:.0f} s to import and build{where}"
                    if try_batches:
                        findings.faults.append(Fault(_key(experiment), problem, value=path, remedy=_SKIP))
                    else:
                        findings.remarks.append(f"{path}: not checked, since it {problem}")
                else:
                    problem = f"one batch of each split takes more than {LIMIT_S:.0f} s on this CPU{where}"
                    findings.remarks.append(f"{path}: the trial was stopped: {problem}")
                return findings
            elif findings.parameters is not None and _memory(child.pid) > LIMIT_BYTES:
                problem = f"a batch takes more than {LIMIT_BYTES >> 20} MiB of memory"
                findings.remarks.append(f"{path}: the trial was stopped: {problem}")
                return findings
    except EOFError:  # it has ended without a result
        child.join(1)
    if child.exitcode == -signal.SIGKILL:
        findings.remarks.append(f"{path}: the trial was killed, perhaps for lack of memory")
        return findings
    when = "while it is imported and built" if findings.parameters is None else "on its first batch"
    how = f"ends the process with status {child.exitcode}"
    if child.exitcode < 0:
        how = f"crashes ({signal.Signals(-child.exitcode).name})"
    problem = f"{how} {when}{statement_in_stack(_content(stack))}"
    findings.faults.append(Fault(_key(experiment), problem, value=path, remedy=_SKIP if findings.parameters else ""))
    return findings


def _present_statement(pid: int, stack: Path) -> str:
    """What the child does now."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGUSR1)
    deadline = time.monotonic() + _STACK_S
    while not (where := statement_in_stack(_content(stack))) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    return where


def _content(stack: Path) -> str:
    return stack.read_text(errors="replace") if stack.exists() else ""


def _memory(pid: int) -> int:
    """The memory that only this process uses, in bytes."""
    with suppress(psutil.Error):
        return int(psutil.Process(pid).memory_full_info().uss)
    return 0


def _in_child(experiment: Experiment, data: DataSpec, try_batches: bool, sender: Connection, folder: Path) -> None:
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    output = os.open(folder / "output", os.O_WRONLY | os.O_CREAT)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # a job has no terminal that answers
    os.dup2(output, 1)
    os.dup2(output, 2)
    exit_now = os._exit
    _write_stacks_to(folder / "stack")
    torch.set_num_threads(1)  # the threads of the parent do not exist here
    findings = _Findings()
    try:
        with wandb_mode("disabled"):
            findings.parameters = preflight(experiment, data)
            if message := unused_loaders(experiment, data):
                findings.remarks.append(message)
            sender.send((findings, False))
            if try_batches:
                findings.remarks += run_batches(experiment, data, folder)
    except HpcDlError as error:
        findings.faults += error.faults
    except BaseException as error:  # KeyboardInterrupt too: a user's code may raise anything
        problem = f"fails while it is imported and built: {describe(error, anywhere=True)}"
        findings.faults.append(Fault(_key(experiment), problem))
    sender.send((findings, True))
    exit_now(0)


def _write_stacks_to(path: Path) -> None:
    """Have this process write its stack when it crashes, is asked to, or is ended by os._exit."""
    stack, own_pid, exit_now = path.open("w"), os.getpid(), os._exit
    faulthandler.disable()  # or handlers that were replaced since would not be set again
    faulthandler.enable(stack, all_threads=False)
    faulthandler.register(signal.SIGUSR1, stack, all_threads=False)

    def exit_with_stack(status: int) -> None:
        if os.getpid() == own_pid:  # not in the workers of a data loader
            faulthandler.dump_traceback(stack, all_threads=False)
        exit_now(status)

    os._exit = exit_with_stack  # type: ignore[assignment]


def _key(experiment: Experiment) -> str:
    return "model.network" if experiment.model.name == "network" else "model.class"
