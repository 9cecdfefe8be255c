"""Read rows of a file that is larger than the address space, which is limited to 16 GiB: FILE."""

import resource
import sys

import numpy as np

from hpc_dl.data.storage.rows import open_rows

resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))
reader = open_rows(sys.argv[1], "x")
rows = np.array([5, (1 << 28) - 1, 5, 0])
print(reader.reading, reader.take(rows)[:, 3].tolist(), flush=True)
reader.prefetch(rows)
reader.preload()
reader = open_rows(sys.argv[1], "packed", threads=2)
print(reader.take(np.array([9, 0]))[:, 0].tolist(), flush=True)
