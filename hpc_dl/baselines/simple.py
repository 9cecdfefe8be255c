"""The simple models: those of scikit-learn for rows, an n-gram for text, principal components for
codes.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hpc_dl.baselines.features import MOST_ROWS, Rows, rows_of
from hpc_dl.data.datamodule import HDF5DataModule
from hpc_dl.data.spec import PER_POSITION, DataSpec, TaskName
from hpc_dl.errors import ConfigError
from hpc_dl.learning.task import Task

_CODES = (2, 10, 30)
_LONGEST_CONTEXT = 6
_SURE = 1e-7


@dataclass(frozen=True)
class Simple:
    """One simple model and what it reached.

    Attributes:
        name: for people.
        metrics: by full name (``test/accuracy``), a value for each seed; a single one where nothing
            is drawn.
    """

    name: str
    metrics: dict[str, list[float]]


def fit_all(task: Task, batches: HDF5DataModule, seeds: int, say: Callable[[str], None]) -> Iterator[Simple]:
    """Fit each simple model that suits the task on the training split, and judge it on the others.

    Args:
        task: by which metrics.
        batches: the data, scaled as in a training.
        seeds: how many times models that draw something are fitted.
        say: tells the user one line.

    Raises:
        ConfigError: no simple model is known for the task, or scikit-learn is missing.
    """
    data = batches.spec
    if data.task == "reconstruction":
        yield from _principal_components(task, batches)
    elif data.task == "language_modeling" and data.input_kind == "tokens":
        yield from _n_grams(task, batches)
    elif data.task in ("classification", "multilabel", "regression", *PER_POSITION):
        yield from _of_scikit_learn(task, batches, seeds, say)
    else:
        raise ConfigError.at(
            "data.task",
            "there is no simple model for it",
            value=data.task,
            allowed=", ".join(KNOWN),
        )


def _of_scikit_learn(task: Task, batches: HDF5DataModule, seeds: int, say: Callable[[str], None]) -> Iterator[Simple]:
    data = batches.spec
    train = rows_of(batches, "train", MOST_ROWS)
    if len(train.x) == MOST_ROWS:
        say(f"Simple models learn from {MOST_ROWS:,} rows at most.")
    most = None if data.task not in PER_POSITION else 10 * MOST_ROWS
    judged = {split: rows_of(batches, split, most) for split in ("val", "test") if split in data.sizes}
    known = _models(data)
    pixels = data.task == "segmentation"
    if pixels and data.num_outputs == 2 and data.num_channels == 1:
        known["Otsu's threshold"] = (lambda _: Otsu(), False)
    for name, (make, draws) in known.items():
        say(f"Fitting {name} …")
        found: dict[str, list[float]] = defaultdict(list)
        for seed in range(seeds if draws else 1):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that a linear model would like more steps
                model = make(seed).fit(train.x, train.y if train.y.shape[1:] != (1,) else train.y[:, 0])
            for split, rows in judged.items():
                for metric, value in _judge(task, split, _outputs(model, rows, data), rows.y).items():
                    found[metric].append(value)
        yield Simple(name, dict(found))


def _models(data: DataSpec) -> dict[str, tuple[Callable[[int], Any], bool]]:
    """Makers of the models by name, from a seed, and whether they draw something."""
    try:
        from sklearn.dummy import DummyClassifier, DummyRegressor
        from sklearn.ensemble import (
            HistGradientBoostingClassifier,
            HistGradientBoostingRegressor,
            RandomForestClassifier,
            RandomForestRegressor,
        )
        from sklearn.linear_model import LogisticRegression, Ridge
        from sklearn.multioutput import MultiOutputClassifier, MultiOutputRegressor
        from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
        from sklearn.neural_network import MLPClassifier
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError:
        raise ConfigError.at(
            "baseline", "needs scikit-learn", remedy="install it: pip install 'hpc_dl[baseline]'"
        ) from None

    if data.task == "regression":
        several = data.num_outputs > 1

        def boosting(seed: int) -> Any:
            one = HistGradientBoostingRegressor(random_state=seed)
            return MultiOutputRegressor(one) if several else one

        return {
            "constant": (lambda _: DummyRegressor(), False),
            "linear": (lambda _: make_pipeline(StandardScaler(), Ridge()), False),
            "k-NN": (lambda _: make_pipeline(StandardScaler(), KNeighborsRegressor(5)), False),
            "forest": (lambda seed: RandomForestRegressor(200, max_features=1 / 3, random_state=seed, n_jobs=-1), True),
            "gradient boosting": (boosting, False),
        }
    if data.task == "multilabel":
        return {
            "constant": (lambda _: DummyClassifier(), False),
            "logistic": (
                lambda _: make_pipeline(StandardScaler(), MultiOutputClassifier(LogisticRegression(max_iter=300))),
                False,
            ),
            "k-NN": (lambda _: make_pipeline(StandardScaler(), KNeighborsClassifier(5)), False),
            "forest": (lambda seed: RandomForestClassifier(200, random_state=seed, n_jobs=-1), True),
        }
    found: dict[str, tuple[Callable[[int], Any], bool]] = {
        "constant": (lambda _: DummyClassifier(), False),
        "logistic": (lambda _: make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)), False),
        "k-NN": (lambda _: KNeighborsClassifier(5), False),
        "forest": (lambda seed: RandomForestClassifier(200, random_state=seed, n_jobs=-1), True),
    }
    if data.num_outputs <= 20:
        found["gradient boosting"] = (
            lambda seed: HistGradientBoostingClassifier(max_iter=60, random_state=seed),
            False,
        )
    if data.input_kind == "graph":
        found["MLP of node features and degrees"] = (
            lambda seed: make_pipeline(StandardScaler(), MLPClassifier((64,), max_iter=400, random_state=seed)),
            True,
        )
    return found


class Otsu:
    """Two classes by one threshold between dark and light, where they differ most (Otsu, 1979)."""

    classes_ = (0, 1)

    def fit(self, x: NDArray[Any], y: NDArray[Any]) -> Otsu:
        """Find the threshold from (N, F) neighborhoods, whose middle column is the pixel itself."""
        values = x[:, x.shape[1] // 2]
        heights, edges = np.histogram(values, 256)
        middles, below = (edges[:-1] + edges[1:]) / 2, np.cumsum(heights)
        above, sums = below[-1] - below, np.cumsum(heights * middles)
        with np.errstate(invalid="ignore", divide="ignore"):
            between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
        self._threshold = edges[1:][int(np.nanargmax(between))]
        light = values > self._threshold
        self._light_is_1 = y[light].mean() >= 0.5 if light.any() else True
        return self

    def predict_proba(self, x: NDArray[Any]) -> NDArray[Any]:
        """Shares (N, 2) of the classes: 0 or 1."""
        light = x[:, x.shape[1] // 2] > self._threshold
        ones = light if self._light_is_1 else ~light
        return np.stack([~ones, ones], 1).astype(np.float32)


def _outputs(model: Any, rows: Rows, data: DataSpec) -> torch.Tensor:
    """What the model says in the form of a network's outputs: logits, or values."""
    if data.task == "regression":
        return torch.as_tensor(_matrix(model.predict(rows.x)), dtype=torch.float32)
    if data.task == "multilabel":
        each = model.predict_proba(rows.x)
        shares = np.stack([p[:, 1] if p.shape[1] == 2 else np.zeros(len(p)) for p in each], 1)
        return torch.logit(torch.as_tensor(shares, dtype=torch.float32), eps=_SURE)
    # A class that the training rows lack has no column.
    shares = np.full((len(rows.x), data.num_outputs), 0.0, np.float32)
    shares[:, np.asarray(model.classes_, np.intp)] = model.predict_proba(rows.x)
    return torch.as_tensor(shares).clamp(min=_SURE).log()


def _matrix(values: Any) -> NDArray[Any]:
    rows = np.asarray(values)
    return np.ascontiguousarray(rows.reshape(len(rows), -1))


def _judge(task: Task, split: str, outputs: torch.Tensor, targets: NDArray[Any]) -> dict[str, float]:
    metrics = task.metrics(f"{split}/")
    task.update(metrics, outputs, torch.as_tensor(targets))
    return {name: float(value) for name, value in metrics.compute().items()}


def _principal_components(task: Task, batches: HDF5DataModule) -> Iterator[Simple]:
    """Reconstruction by the first k principal components (Pearson, 1901): the best that a linear
    code can do.
    """
    train = rows_of(batches, "train", None).x
    mean = train.mean(0)
    centered = train - mean
    _, vectors = np.linalg.eigh((centered.T @ centered / len(train)).astype(np.float64))
    shape = batches.spec.input_shape
    for size in _CODES:
        if size >= train.shape[1]:
            continue
        components = vectors[:, -size:].astype(np.float32)
        found: dict[str, float] = {}
        for split in ("val", "test"):
            if split in batches.spec.sizes:
                x = rows_of(batches, split, None).x
                outputs = torch.as_tensor((x - mean) @ components @ components.T + mean).reshape(len(x), *shape)
                found |= _judge(task, split, outputs, x.reshape(len(x), *shape))
        yield Simple(f"PCA, {size} components", {name: [value] for name, value in found.items()})


def _n_grams(task: Task, batches: HDF5DataModule) -> Iterator[Simple]:
    """Next tokens by what followed the last ones in the training split, smoothed by Witten and Bell
    (1991).
    """
    data = batches.spec
    counts: list[dict[tuple[int, ...], Counter[int]]] = [defaultdict(Counter) for _ in range(_LONGEST_CONTEXT)]
    for window, following in _windows(batches, "train"):
        tokens = np.append(window, following[-1]).tolist()
        for place in range(1, len(tokens)):
            for length in range(min(_LONGEST_CONTEXT, place + 1)):
                counts[length][tuple(tokens[place - length : place])][tokens[place]] += 1
    for length in range(_LONGEST_CONTEXT):
        found = {}
        for split in ("val", "test"):
            if split in data.sizes:
                found[f"{split}/bits_per_step"] = [_bits(counts[: length + 1], batches, split, data.num_outputs)]
        yield Simple(f"{length + 1}-gram", found)


def _windows(batches: HDF5DataModule, split: str) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    size = batches.spec.sizes[split]
    for start in range(0, size, 256):
        x, y = batches.read_batch(split, np.arange(start, min(start + 256, size)))
        yield from zip(np.asarray(x), np.asarray(y), strict=True)


def _bits(
    counts: list[dict[tuple[int, ...], Counter[int]]], batches: HDF5DataModule, split: str, num_tokens: int
) -> float:
    total, steps = 0.0, 0
    for window, following in _windows(batches, split):
        tokens = np.append(window, following[-1]).tolist()
        for place in range(1, len(tokens)):
            share = 1 / num_tokens
            for length, followers in enumerate(counts):
                if length > place:
                    break
                seen = followers.get(tuple(tokens[place - length : place]))
                if seen is None:
                    break
                whole, different = seen.total(), len(seen)
                share = (seen[tokens[place]] + different * share) / (whole + different)
            total -= math.log2(share)
            steps += 1
    return total / steps


#: Tasks for which there are simple models.
KNOWN: tuple[TaskName, ...] = ("classification", "multilabel", "regression", *PER_POSITION, "reconstruction")
