"""Evaluation of a run's model on a split of its data: ``hpc-dl evaluate``."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytorch_lightning as pl
import torch

from hpc_dl.atomic_files import write_json
from hpc_dl.data.datamodule import HDF5DataModule
from hpc_dl.data.own_loaders import OwnLoaders
from hpc_dl.data.ragged import Ragged
from hpc_dl.data.spec import PER_POSITION
from hpc_dl.errors import HpcDlError, RunError, describe
from hpc_dl.inference.trained_model import TrainedModel, default_device
from hpc_dl.learning.metric_names import split_and_metric, split_of
from hpc_dl.learning.metrics import confusion_matrix
from hpc_dl.learning.supervised import Supervised
from hpc_dl.learning.training_module import TrainingModule
from hpc_dl.tracking.wandb_description import FINISHED
from hpc_dl.training.loggers import logger_without_run
from hpc_dl.training.metrics_by_group import metrics_by_group
from hpc_dl.training.model_inputs import preprocessed_on
from hpc_dl.training.train import has_test

_MOST_CLASSES = 100  # for a confusion matrix


def evaluate(trained: TrainedModel, split: str) -> dict[str, Any]:
    """Compute loss, metrics and confusion matrix, and write them to ``evaluation-SPLIT.json``.

    Args:
        trained: the model.
        split: one that the data have.

    Returns:
        ``run``, ``checkpoint``, ``split``, ``samples`` (``None`` where a user's loaders do not
        show it), ``metrics`` by name without the split; for one class per sample, step or pixel,
        also ``classes`` and ``confusion``, with the true classes as rows and the predicted classes
        as columns; ``by_group`` with ``data.group``.

    Raises:
        RunError: the model has no test step or no loader of this split, or its code fails.
    """
    sizes, model, batches = trained.data.sizes, trained.model, trained.batches
    if not has_test(model):
        raise RunError.at(
            trained.run.name,
            f"cannot be evaluated, since {type(model).__name__} has no test_step",
            remedy="define test_step in its class",
        )
    if isinstance(batches, OwnLoaders) and not batches.has_loader(split):
        raise RunError.at("--split", f"the run's own loaders have no {split}_dataloader", value=split)
    batches.evaluated_split = split
    logged = _test(trained)
    metrics = {split_and_metric(name)[1] if split_of(name) == "test" else name: logged[name] for name in logged}
    evaluation: dict[str, Any] = {
        "run": trained.run.name,
        "checkpoint": trained.checkpoint.path.name,
        "split": split,
        "samples": sizes.get(split),
        "metrics": dict(sorted(metrics.items())),
    }
    classes = list(trained.data.class_names)
    has_confusion = trained.data.task in ("classification", *PER_POSITION) and len(classes) <= _MOST_CLASSES
    if has_confusion and isinstance(model, Supervised):
        evaluation |= {"classes": classes, "confusion": _confusion(model, batches)}
    if trained.experiment.data.group is not None and isinstance(model, Supervised):
        assert isinstance(batches, HDF5DataModule)  # since the data have groups
        by_group = metrics_by_group(model, batches, trained.experiment.data, split, default_device())
        evaluation["by_group"] = by_group
    with suppress(PermissionError):  # someone else's run: the figures are the answer, the file only a copy
        write_json(trained.run.path / f"evaluation-{split}.json", evaluation)
    return evaluation


def _test(trained: TrainedModel) -> dict[str, float]:
    """Test the model; a user's module is restored by Lightning, with all of its hooks.

    Returns:
        What the test logs.

    Raises:
        RunError: the user's code fails.
    """
    is_own = not isinstance(trained.model, TrainingModule)
    path = str(trained.checkpoint.path) if is_own else None
    try:
        with TemporaryDirectory(prefix="hpc-dl-evaluate-") as folder, trained.allowing_own_objects():
            logger = logger_without_run(Path(folder))
            trainer = pl.Trainer(
                accelerator="auto",
                devices=1,
                precision=trained.experiment.trainer.precision,
                logger=logger if is_own else False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                default_root_dir=folder,
            )
            try:
                trainer.test(trained.model, trained.batches, ckpt_path=path, weights_only=True, verbose=False)
            finally:
                logger.finish(FINISHED)
        return {name: float(value) for name, value in trainer.callback_metrics.items()}
    except HpcDlError:
        raise
    except (Exception, SystemExit) as error:  # a user's code may raise anything
        if not is_own:
            raise
        raise RunError.at(trained.run.name, f"its test fails: {describe(error, anywhere=True)}") from error


def _confusion(model: Supervised, batches: Any) -> list[list[int]]:
    matrix = confusion_matrix(model.recipe.data)
    device = default_device()
    model.to(device).eval()
    with torch.inference_mode():
        for batch in batches.test_dataloader():
            x, y = model.inputs_and_targets(preprocessed_on(device, model, batches, batch))
            matrix.update(model(x).cpu(), (y.values if isinstance(y, Ragged) else y).cpu())
    counts: list[list[int]] = matrix.compute().tolist()
    return counts
