"""The process may not start more threads or processes."""

from __future__ import annotations

from hpc_dl.failures.rule import Rule


class Threads(Rule):
    """What Python, OpenMP and OpenBLAS say."""

    patterns = (
        r"can't start new thread",
        r"pthread_create (?:failed|: Resource)|libgomp: Thread creation failed",
        r"OMP: Error #34",
        r"OpenBLAS blas_thread_init: pthread_create failed",
        r"fork: (?:retry: )?Resource temporarily unavailable",
        r"BlockingIOError: \[Errno 11\] Resource temporarily unavailable",
    )
    cause = "the limit of processes and threads is reached"
    remedy = (
        "use fewer workers and threads (OMP_NUM_THREADS under `environment`, resources.cpus_per_gpu),"
        " or raise the limit with `ulimit -u` under `setup` in the site profile"
    )
    keys = ("environment", "setup", "resources.cpus_per_gpu")
