"""The process that trains with one batch size, for ``hpc-dl batch-size``."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

import psutil

from hpc_dl.atomic_files import write_json
from hpc_dl.cluster.batch_size import memory_file
from hpc_dl.cluster.child_processes import die_with_launcher
from hpc_dl.cluster.rank_process import exit_unless_finished, run_rank
from hpc_dl.runs.folder import RunFolder

_FIRST_TO_GO = "1000"  # where the memory of the machine is exhausted


def main() -> None:
    """``python -m hpc_dl.cluster.batch_size_process RUN``: train, and record the memory it took."""
    die_with_launcher()
    with suppress(OSError):  # not Linux
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO, encoding="ascii")
    run = RunFolder(Path(sys.argv[1]))
    status = run_rank(run, redirect=True)
    write_json(memory_file(run), _most_memory())
    exit_unless_finished(status)


def _most_memory() -> dict[str, object]:
    import torch

    if torch.cuda.is_available() and (reserved := int(torch.cuda.max_memory_reserved())):
        return {"device": "cuda", "bytes": reserved}
    return {"device": "cpu", "bytes": _most_resident()}


def _most_resident() -> int:
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    return int(psutil.Process().memory_info().rss)


if __name__ == "__main__":
    main()
