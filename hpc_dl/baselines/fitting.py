"""Fitting of the baselines that suit a task, on the training split."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator

from hpc_dl.baselines.baseline import Baseline, evaluate
from hpc_dl.baselines.features import MOST_ROWS, rows_of
from hpc_dl.baselines.n_grams import fit_n_grams
from hpc_dl.baselines.principal_components import fit_principal_components
from hpc_dl.baselines.sklearn_models import model_builders, predict_outputs
from hpc_dl.data.datamodule import HDF5DataModule
from hpc_dl.data.spec import PER_POSITION, TaskName
from hpc_dl.errors import ConfigError
from hpc_dl.learning.task import Task

#: Tasks that have baselines.
TASKS_WITH_BASELINES: tuple[TaskName, ...] = (
    "classification", "multilabel", "regression", *PER_POSITION, "reconstruction",
)  # fmt: skip


def fit_baselines(task: Task, batches: HDF5DataModule, seeds: int, say: Callable[[str], None]) -> Iterator[Baseline]:
    """Fit each baseline that suits the task on the training split, and evaluate it on the others.

    Args:
        task: chooses the metrics.
        batches: the data, scaled as in a training.
        seeds: how many times models that depend on a seed are fitted.
        say: prints one line for the user.

    Raises:
        ConfigError: there is no baseline for the task, or scikit-learn is not installed.
    """
    data = batches.spec
    if data.task == "reconstruction":
        yield from fit_principal_components(task, batches)
    elif data.task == "language_modeling" and data.input_kind == "tokens":
        yield from fit_n_grams(batches)
    elif data.task in TASKS_WITH_BASELINES:
        yield from _fit_sklearn_models(task, batches, seeds, say)
    else:
        raise no_baseline_error(data.task)


def no_baseline_error(task: TaskName) -> ConfigError:
    """The error for a task without baselines."""
    return ConfigError.at("data.task", "has no baseline", value=task, allowed=", ".join(TASKS_WITH_BASELINES))


def _fit_sklearn_models(
    task: Task, batches: HDF5DataModule, seeds: int, say: Callable[[str], None]
) -> Iterator[Baseline]:
    data = batches.spec
    train = rows_of(batches, "train", MOST_ROWS)
    if len(train.x) == MOST_ROWS:
        say(f"Baselines are fitted on at most {MOST_ROWS:,} rows.")
    most = 10 * MOST_ROWS if data.task in PER_POSITION else None
    evaluated = {split: rows_of(batches, split, most) for split in ("val", "test") if split in data.sizes}
    targets = train.y if train.y.shape[1:] != (1,) else train.y[:, 0]
    for name, (build, is_random) in model_builders(data).items():
        say(f"Fitting {name} …")
        metrics: dict[str, list[float]] = defaultdict(list)
        for seed in range(seeds if is_random else 1):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # such as a linear model's that it has not converged
                model = build(seed).fit(train.x, targets)
            for split, rows in evaluated.items():
                outputs = predict_outputs(model, rows, data)
                for metric, value in evaluate(task, split, outputs, rows.y).items():
                    metrics[metric].append(value)
        yield Baseline(name, dict(metrics))
