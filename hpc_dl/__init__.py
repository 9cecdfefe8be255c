"""hpc_dl: a YAML file becomes a deep-learning training job on a Slurm cluster.

The names in ``__all__`` are the stable Python interface. They are imported when they are first
used: ``import hpc_dl`` alone imports neither torch nor h5py.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpc_dl.api.experiment import Experiment
    from hpc_dl.api.run import Run
    from hpc_dl.api.runs import Runs
    from hpc_dl.api.sweep import Sweep
    from hpc_dl.data.config import DataConfig
    from hpc_dl.data.datamodule import HDF5DataModule
    from hpc_dl.data.files.format import Samples, write
    from hpc_dl.data.open_spec import open_spec
    from hpc_dl.data.ragged import Ragged
    from hpc_dl.data.spec import DataSpec, FieldSpec
    from hpc_dl.errors import HpcDlError
    from hpc_dl.inference.trained_model import TrainedModel
    from hpc_dl.learning.supervised import Supervised
    from hpc_dl.models.base import ModelConfig
    from hpc_dl.runs.folder import RunFolder

__version__ = "0.1.0"

_MODULES = {
    "DataConfig": "hpc_dl.data.config",
    "DataSpec": "hpc_dl.data.spec",
    "Experiment": "hpc_dl.api.experiment",
    "FieldSpec": "hpc_dl.data.spec",
    "HDF5DataModule": "hpc_dl.data.datamodule",
    "HpcDlError": "hpc_dl.errors",
    "ModelConfig": "hpc_dl.models.base",
    "Ragged": "hpc_dl.data.ragged",
    "Run": "hpc_dl.api.run",
    "RunFolder": "hpc_dl.runs.folder",
    "Runs": "hpc_dl.api.runs",
    "Samples": "hpc_dl.data.files.format",
    "Supervised": "hpc_dl.learning.supervised",
    "Sweep": "hpc_dl.api.sweep",
    "TrainedModel": "hpc_dl.inference.trained_model",
    "open_spec": "hpc_dl.data.open_spec",
    "write": "hpc_dl.data.files.format",
}

__all__ = [
    "DataConfig",
    "DataSpec",
    "Experiment",
    "FieldSpec",
    "HDF5DataModule",
    "HpcDlError",
    "ModelConfig",
    "Ragged",
    "Run",
    "RunFolder",
    "Runs",
    "Samples",
    "Supervised",
    "Sweep",
    "TrainedModel",
    "__version__",
    "open_spec",
    "write",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
