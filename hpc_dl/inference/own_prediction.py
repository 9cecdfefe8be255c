"""Predictions of a user's LightningModule that defines ``predict_step``."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from tempfile import TemporaryDirectory
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from hpc_dl.data.datamodule import HDF5DataModule
from hpc_dl.errors import HpcDlError, RunError, describe
from hpc_dl.inference.prediction_files import PredictionFile
from hpc_dl.inference.samples import Batch, Samples
from hpc_dl.inference.trained_model import TrainedModel


def has_predict_step(model: pl.LightningModule) -> bool:
    """Whether a module defines ``predict_step`` itself; Lightning's calls ``forward``."""
    return type(model).predict_step is not pl.LightningModule.predict_step


def predict_by_step(trained: TrainedModel, samples: Samples, results: PredictionFile) -> None:
    """Let Lightning restore a user's module and call its ``predict_step`` for all samples.

    A batch is that of the training without targets: ``(x,)``, or a mapping if there are several
    inputs.

    Args:
        trained: the module.
        samples: what to predict.
        results: gets what ``predict_step`` returns: a tensor with a row for each sample.

    Raises:
        RunError: the module was trained on its own loaders, fails, or returns something else.
    """
    if not isinstance(trained.batches, HDF5DataModule):
        raise RunError.at(trained.run.name, "was trained on its own loaders, which do not read this file")
    for split in samples.sizes:
        batches = _Batches(trained, samples.batches(split, trained.experiment.batch_size_per_device))
        _run(trained, batches, _Results(split, batches, results, trained.run.name))


class _Batches(pl.LightningDataModule):
    """The batches of a split, preprocessed as in the training."""

    def __init__(self, trained: TrainedModel, batches: Iterable[Batch]) -> None:
        super().__init__()
        assert isinstance(trained.batches, HDF5DataModule)
        self._training, self._batches = trained.batches, batches
        self.read: deque[Batch] = deque()  #: Lightning reads a batch ahead

    def predict_dataloader(self) -> Any:
        """Return the inputs of all batches."""
        return self

    def __iter__(self) -> Iterator[Any]:
        for batch in self._batches:
            self.read.append(batch)
            yield batch.inputs

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Preprocess a batch on its device, then call the hook of the module."""
        assert self.trainer is not None
        preprocessed = self._training.preprocessed(batch, self.trainer.precision_plugin.convert_input)
        return self.trainer.lightning_module.on_after_batch_transfer(preprocessed, dataloader_idx)


class _Results(Callback):
    """Writes what ``predict_step`` returns."""

    def __init__(self, split: str, batches: _Batches, results: PredictionFile, run: str) -> None:
        self._split, self._batches, self._results, self._run = split, batches, results, run

    def on_predict_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, *_: Any, **__: Any
    ) -> None:
        batch = self._batches.read.popleft()
        inputs = next(iter(batch.inputs.values())) if isinstance(batch.inputs, dict) else batch.inputs[0]
        if not isinstance(outputs, Tensor) or outputs.ndim == 0 or len(outputs) != len(inputs):
            shape = f" of shape {tuple(outputs.shape)}" if isinstance(outputs, Tensor) else ""
            raise RunError.at(
                self._run,
                f"its predict_step returns a {type(outputs).__name__}{shape} for {len(inputs)} samples",
                allowed="a tensor with a row for each sample",
            )
        self._results.add(self._split, batch, outputs.detach().cpu(), None)


def _run(trained: TrainedModel, batches: _Batches, results: Callback) -> None:
    try:
        with TemporaryDirectory(prefix="hpc-dl-predict-") as folder, trained.allowing_own_objects():
            trainer = pl.Trainer(
                accelerator="auto",
                devices=1,
                precision=trained.experiment.trainer.precision,
                callbacks=[results],
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                default_root_dir=folder,
            )
            path = str(trained.checkpoint.path)
            trainer.predict(trained.model, batches, ckpt_path=path, weights_only=True, return_predictions=False)
    except HpcDlError:
        raise
    except (Exception, SystemExit) as error:  # a user's code may raise anything
        problem = f"its predict_step fails: {describe(error, anywhere=True)}"
        remedy = "its batch is that of the training without targets: `(x,)`"
        raise RunError.at(trained.run.name, problem, remedy=remedy) from error
