"""Open the spec of FILE as on a login node, checking what is imported on the way."""

import os
import sys

import hpc_dl.cli.data
import hpc_dl.cli.data_pack
import hpc_dl.data.sources
import hpc_dl.data.spec  # noqa: F401
from hpc_dl.data.config import DataConfig

assert not {"h5py", "torch", "numpy"} & set(sys.modules)

from hpc_dl.data.open_spec import open_spec  # noqa: E402

open_spec(DataConfig(file=sys.argv[1]))
assert "torch" not in sys.modules
print(os.environ["HDF5_USE_FILE_LOCKING"])
