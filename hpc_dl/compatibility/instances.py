"""The smallest instances of other packages' classes, on which attributes are looked up.

Some attributes exist on instances only, not on the class.
Nothing is imported before an instance is built.
"""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Callable
from typing import Any

_RESULT = "pytorch_lightning.trainer.connectors.logger_connector.result"


def _trainer() -> Any:
    import pytorch_lightning as pl
    from pytorch_lightning.plugins.environments import LightningEnvironment

    device_log = logging.getLogger("pytorch_lightning.utilities.rank_zero")
    level = device_log.level
    device_log.setLevel(logging.ERROR)  # it would announce the devices that it does not use
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return pl.Trainer(
                accelerator="cpu",
                devices=1,
                plugins=[LightningEnvironment()],  # not the one that Slurm's variables describe
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
    finally:
        device_log.setLevel(level)


def _parameter() -> Any:
    import torch

    return torch.nn.Parameter(torch.zeros(1))


def _adam() -> Any:
    import torch

    return torch.optim.Adam([_parameter()], fused=True)


def _metric(name: str, **options: Any) -> Any:
    import torchmetrics.wrappers

    # A wrapper measures with another metric.
    inner = [torchmetrics.MeanMetric()] if hasattr(torchmetrics.wrappers, name) else []
    return getattr(torchmetrics.wrappers if inner else torchmetrics, name)(*inner, **options)


def _result(name: str) -> Any:
    """An instance of Lightning's bookkeeping of ``self.log``."""
    result = importlib.import_module(_RESULT)
    match name:
        case "_Metadata":
            return result._Metadata("training_step", "loss")
        case "_ResultMetric":
            return result._ResultMetric(_result("_Metadata"), is_tensor=True)
        case "_ResultCollection":
            return result._ResultCollection(training=True)
        case _:
            return getattr(result, name)()


def _of(module: str, name: str, *arguments: Any) -> Any:
    return getattr(importlib.import_module(module), name)(*arguments)


def _shared_library() -> Any:
    import ctypes

    import h5py

    return ctypes.CDLL(h5py.h5z.__file__)


#: The smallest instance of each kind; what cannot be built lacks a name as well.
INSTANCES: dict[str, Callable[[], Any]] = {
    "Trainer()": _trainer,
    "LightningModule()": lambda: _of("pytorch_lightning", "LightningModule"),
    "DDPStrategy()": lambda: _of("pytorch_lightning.strategies", "DDPStrategy"),
    "_PrefetchDataFetcher()": lambda: _of("pytorch_lightning.loops.fetchers", "_PrefetchDataFetcher"),
    "_Metadata()": lambda: _result("_Metadata"),
    "_Sync()": lambda: _result("_Sync"),
    "_ResultMetric()": lambda: _result("_ResultMetric"),
    "_ResultCollection()": lambda: _result("_ResultCollection"),
    "torch.optim.Adam()": _adam,
    "MeanMetric()": lambda: _metric("MeanMetric"),
    "MetricCollection()": lambda: _metric("MetricCollection", metrics=[]),
    "MinMaxMetric()": lambda: _metric("MinMaxMetric"),
    "Running()": lambda: _metric("Running", window=1),
    "LocalJob()": lambda: _of("submitit.local.local", "LocalJob", ".", "0"),
    "Settings()": lambda: _of("wandb", "Settings"),
    "h5py.h5z as a shared library()": _shared_library,
}
