"""Load FILE with two workers: print their process ids, wait for a line, count the batches."""

import signal
import sys

from hpc_dl.compatibility.deferred_imports import defer_rarely_used

defer_rarely_used()  # as a training does

from hpc_dl.data.datamodule import HDF5DataModule  # noqa: E402
from tests.data.recorder import unchanged  # noqa: E402

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent may have ignored it
    data = HDF5DataModule(sys.argv[1], batch_size=8, transform=unchanged, num_workers=2)
    batches = iter(data.train_dataloader())
    for _ in range(2):  # one batch from each worker, so both have started
        next(batches)
    print(*(worker.pid for worker in batches._workers), flush=True)  # type: ignore[attr-defined]
    sys.stdin.readline()
    print(2 + sum(1 for _ in batches), flush=True)
