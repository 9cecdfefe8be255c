"""The models of scikit-learn that serve as baselines, and Otsu's threshold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from hpc_dl.baselines.features import Rows
from hpc_dl.data.spec import DataSpec
from hpc_dl.errors import ConfigError

_MOST_CLASSES_FOR_BOOSTING = 20
_SMALLEST_PROBABILITY = 1e-7


class ModelBuilder(NamedTuple):
    """How to build a model.

    Attributes:
        build: from a seed to a model with scikit-learn's ``fit`` and ``predict``.
        is_random: whether the result depends on the seed.
    """

    build: Callable[[int], Any]
    is_random: bool = False


def model_builders(data: DataSpec) -> dict[str, ModelBuilder]:
    """The builders of all models that suit the data, by name.

    Raises:
        ConfigError: scikit-learn is not installed.
    """
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise ConfigError.at(
            "baseline", "needs scikit-learn", remedy="install it: pip install 'hpc_dl[baseline]'"
        ) from None
    if data.task == "regression":
        return _regressors(data)
    if data.task == "multilabel":
        return _multilabel_classifiers()
    return _classifiers(data)


def predict_outputs(model: Any, rows: Rows, data: DataSpec) -> torch.Tensor:
    """A fitted model's predictions in the form of a network's outputs: logits or values (N, K)."""
    if data.task == "regression":
        return torch.as_tensor(_as_matrix(model.predict(rows.x)), dtype=torch.float32)
    if data.task == "multilabel":
        by_label = model.predict_proba(rows.x)
        shares = np.stack([p[:, 1] if p.shape[1] == 2 else np.zeros(len(p)) for p in by_label], 1)
        return torch.logit(torch.as_tensor(shares, dtype=torch.float32), eps=_SMALLEST_PROBABILITY)
    # predict_proba has no column for a class that is missing in the training rows.
    shares = np.full((len(rows.x), data.num_outputs), 0.0, np.float32)
    shares[:, np.asarray(model.classes_, np.intp)] = model.predict_proba(rows.x)
    return torch.as_tensor(shares).clamp(min=_SMALLEST_PROBABILITY).log()


class Otsu:
    """Two classes by the brightness threshold that separates them best (Otsu, 1979)."""

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
        bright = values > self._threshold
        self._bright_is_1 = y[bright].mean() >= 0.5 if bright.any() else True
        return self

    def predict_proba(self, x: NDArray[Any]) -> NDArray[Any]:
        """The probabilities (N, 2) of the classes, each 0 or 1."""
        bright = x[:, x.shape[1] // 2] > self._threshold
        ones = bright if self._bright_is_1 else ~bright
        return np.stack([~ones, ones], 1).astype(np.float32)


def _regressors(data: DataSpec) -> dict[str, ModelBuilder]:
    from sklearn.dummy import DummyRegressor
    from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
    from sklearn.linear_model import Ridge
    from sklearn.multioutput import MultiOutputRegressor
    from sklearn.neighbors import KNeighborsRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def boosting(seed: int) -> Any:
        single = HistGradientBoostingRegressor(random_state=seed)
        return MultiOutputRegressor(single) if data.num_outputs > 1 else single

    return {
        "constant": ModelBuilder(lambda _: DummyRegressor()),
        "linear": ModelBuilder(lambda _: make_pipeline(StandardScaler(), Ridge())),
        "k-NN": ModelBuilder(lambda _: make_pipeline(StandardScaler(), KNeighborsRegressor(5))),
        "forest": ModelBuilder(
            lambda seed: RandomForestRegressor(200, max_features=1 / 3, random_state=seed, n_jobs=-1), is_random=True
        ),
        "gradient boosting": ModelBuilder(boosting),
    }


def _multilabel_classifiers() -> dict[str, ModelBuilder]:
    from sklearn.dummy import DummyClassifier
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.multioutput import MultiOutputClassifier
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return {
        "constant": ModelBuilder(lambda _: DummyClassifier()),
        "logistic": ModelBuilder(
            lambda _: make_pipeline(StandardScaler(), MultiOutputClassifier(LogisticRegression(max_iter=300)))
        ),
        "k-NN": ModelBuilder(lambda _: make_pipeline(StandardScaler(), KNeighborsClassifier(5))),
        "forest": ModelBuilder(lambda seed: RandomForestClassifier(200, random_state=seed, n_jobs=-1), is_random=True),
    }


def _classifiers(data: DataSpec) -> dict[str, ModelBuilder]:
    from sklearn.dummy import DummyClassifier
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    builders = {
        "constant": ModelBuilder(lambda _: DummyClassifier()),
        "logistic": ModelBuilder(lambda _: make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))),
        "k-NN": ModelBuilder(lambda _: KNeighborsClassifier(5)),
        "forest": ModelBuilder(lambda seed: RandomForestClassifier(200, random_state=seed, n_jobs=-1), is_random=True),
    }
    if data.num_outputs <= _MOST_CLASSES_FOR_BOOSTING:
        builders["gradient boosting"] = ModelBuilder(
            lambda seed: HistGradientBoostingClassifier(max_iter=60, random_state=seed)
        )
    if data.input_kind == "graph":
        builders["MLP of node features and degrees"] = ModelBuilder(
            lambda seed: make_pipeline(StandardScaler(), MLPClassifier((64,), max_iter=400, random_state=seed)),
            is_random=True,
        )
    if data.task == "segmentation" and data.num_outputs == 2 and data.num_channels == 1:
        builders["Otsu's threshold"] = ModelBuilder(lambda _: Otsu())
    return builders


def _as_matrix(values: Any) -> NDArray[Any]:
    rows = np.asarray(values)
    return np.ascontiguousarray(rows.reshape(len(rows), -1))
