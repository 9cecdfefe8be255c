"""Signal handling in a loader's worker processes."""

from __future__ import annotations

import os
import signal
import threading


def ignore_job_signals(worker_id: int) -> None:
    """Let a worker survive the signals that Slurm and a terminal send to all processes of a job.

    Slurm announces a time limit or preemption (SIGTERM, SIGUSR1, SIGUSR2), and Ctrl-C reaches the
    workers too. The training process decides how to react, usually by finishing a step and saving,
    for which it needs its workers. SIGTERM from the training process itself still ends the worker,
    because multiprocessing waits at exit for the workers that it terminates. An orphaned worker
    ends through PyTorch's check that its parent is alive.
    """
    for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    parent = os.getppid()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    if hasattr(signal, "sigwaitinfo"):  # not on macOS, where SIGTERM stays blocked
        threading.Thread(target=_end_with_parent, args=(parent,), daemon=True).start()


def _end_with_parent(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)
