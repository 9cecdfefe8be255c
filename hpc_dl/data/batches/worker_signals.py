"""What a loader's worker process does with signals."""

from __future__ import annotations

import os
import signal
import threading


def leave_signals_to_parent(worker_id: int) -> None:
    """Have a worker outlive the signals that Slurm and a terminal send to all processes of a job.

    Slurm warns of a time limit or preemption (SIGTERM, SIGUSR1, SIGUSR2) and Ctrl-C reaches the
    workers too. The training process decides what to do, usually to finish a step and save, and for
    that it needs its workers. SIGTERM from the training process itself still ends the worker, since
    multiprocessing waits at exit for workers that it terminates. An orphan ends through PyTorch's
    own check for a living parent.
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
