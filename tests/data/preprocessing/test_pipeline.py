"""Imputation, projection and indicators: fitted on the training split, kept in checkpoints."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hpc_dl.data.config import Augmentation, DataConfig, Windows
from hpc_dl.data.datamodule import HDF5DataModule
from hpc_dl.data.open_spec import open_spec
from hpc_dl.data.preprocessing.imputation import MissingValues
from hpc_dl.data.preprocessing.pipeline import Preprocessing
from hpc_dl.errors import ConfigError, DataError
from tests import experiments
from tests.data.small_files import MakeFile
from tests.training.attempts import weights_of_each_rank

NAN = np.nan
TRAIN = np.array([[1, 10, 0], [NAN, 10, 0], [3, 30, NAN], [8, NAN, NAN], [4, 20, 1], [4, 20, 1]], "f4")
LABELS = np.array([0, 0, 1, 1, 0, 0])


@pytest.fixture
def incomplete(foreign_file: MakeFile) -> Path:
    """A file with missing values; its validation split is very different, and must not count."""
    held_out = np.array([[1000, NAN, 1000]] * 4, "f4")
    return foreign_file(
        train__inputs=TRAIN, train__targets=LABELS, val__inputs=held_out, val__targets=np.array([0, 1, 0, 1])
    )


def preprocessed(path: Path, x: np.ndarray = TRAIN, **options: Any) -> torch.Tensor:
    batches = HDF5DataModule(path, **{"scaling": "none", **options})
    result: torch.Tensor = batches.preprocessed((torch.from_numpy(x), None))[0]
    assert result.shape[1:] == batches.spec.input_shape
    return result


@pytest.mark.parametrize(
    ("method", "fills"),
    [("mean", [4, 18, 0.5]), ("median", [4, 20, 0.5]), ("most_frequent", [4, 10, 0]), ("own_class", [9, 31, 2])],
)
def test_missing_values_are_filled_from_the_training_split(incomplete: Path, method: str, fills: list[float]) -> None:
    result = preprocessed(incomplete, imputation=method)
    expected = np.where(np.isnan(TRAIN), np.array(fills, "f4"), TRAIN)
    torch.testing.assert_close(result, torch.from_numpy(expected))
    held_out = preprocessed(incomplete, np.array([[NAN, 5, NAN]], "f4"), imputation=method)
    assert held_out.tolist() == [[fills[0], 5, fills[2]]]


def test_scaling_is_fitted_after_imputation(incomplete: Path) -> None:
    result = preprocessed(incomplete, imputation="mean", scaling="standardize")
    torch.testing.assert_close(result.mean(0), torch.zeros(3), atol=1e-6, rtol=0)
    torch.testing.assert_close(result.std(0, correction=0), torch.ones(3))


def test_indicator_marks_missing_values(incomplete: Path) -> None:
    result = preprocessed(incomplete, imputation="median", missing_indicator=True)
    assert np.array_equal(result[:, 3:].numpy(), np.isnan(TRAIN))


def test_empty_channel_becomes_zero(foreign_file: MakeFile) -> None:
    path = foreign_file(train__inputs=np.full((4, 2), NAN, "f4"), train__targets=np.zeros(4))
    assert not preprocessed(path, np.full((4, 2), NAN, "f4"), imputation="most_frequent").any()


def test_images_are_imputed_by_channel(foreign_file: MakeFile) -> None:
    images = np.random.default_rng(0).normal(size=(6, 2, 4, 4)).astype("f4")
    images[0, 1, 2, 2] = NAN
    path = foreign_file(train__inputs=images, train__targets=np.zeros(6))
    result = preprocessed(path, images, imputation="mean", missing_indicator=True)
    assert result.shape == (6, 4, 4, 4)
    assert float(result[0, 1, 2, 2]) == pytest.approx(np.nanmean(images[:, 1]), abs=1e-6)
    assert result[:, 2:].nonzero().tolist() == [[0, 1, 2, 2]]


def test_principal_components_diagonalize_the_covariance(foreign_file: MakeFile) -> None:
    generator = np.random.default_rng(0)
    x = (generator.normal(size=(300, 5)) @ generator.normal(size=(5, 5)) + 1000).astype("f4")
    path = foreign_file(train__inputs=x, train__targets=np.zeros(300))
    turned = preprocessed(path, x, projection="pca").double()
    covariance = torch.cov(turned.T, correction=0)
    variances = np.linalg.eigvalsh(np.cov(x.T.astype("f8"), bias=True))[::-1]
    torch.testing.assert_close(covariance, torch.diag(torch.from_numpy(variances.copy())), atol=1e-3, rtol=1e-3)
    few = preprocessed(path, x, projection="pca", components=2).double()
    torch.testing.assert_close(few, turned[:, :2])
    white = preprocessed(path, x, projection="whiten", scaling="standardize")
    torch.testing.assert_close(torch.cov(white.T, correction=0), torch.eye(5), atol=1e-3, rtol=0)


def test_whitening_ignores_constant_directions(foreign_file: MakeFile) -> None:
    x = np.random.default_rng(0).normal(size=(50, 2)).astype("f4")
    x = np.concatenate([x, x[:, :1], np.ones((50, 1), "f4")], 1)
    path = foreign_file(train__inputs=x, train__targets=np.zeros(50))
    white = preprocessed(path, x, projection="whiten", scaling="standardize")
    variances = white.var(0, correction=0)
    torch.testing.assert_close(variances[:2], torch.ones(2), atol=1e-3, rtol=0)
    assert float(variances[2:].max()) < 1e-3


def test_preprocessing_is_restored_from_a_checkpoint(incomplete: Path, tmp_path: Path) -> None:
    batches = HDF5DataModule(incomplete, imputation="mean", missing_indicator=True, projection="whiten", components=2)
    torch.save(batches.state_dict(), tmp_path / "x.ckpt")
    other = HDF5DataModule(incomplete, imputation="mean", missing_indicator=True, projection="whiten", components=2)
    other.load_state_dict(torch.load(tmp_path / "x.ckpt", weights_only=True))
    assert isinstance(other.preprocessings[0], Preprocessing)
    x = torch.from_numpy(TRAIN)
    assert torch.equal(batches.preprocessed((x,))[0], other.preprocessed((x,))[0])
    assert other.describe_missing_values() == []


def test_missing_values_are_described(incomplete: Path) -> None:
    (line,) = HDF5DataModule(incomplete, imputation="mean").describe_missing_values()
    assert line.startswith("4 of 18 values of inputs are missing, in 3 of 3 channels; filled in (mean). ")
    assert "rarely missing at random" in line


def test_classes_with_more_missing_values_are_described() -> None:
    line = MissingValues(np.array([90, 0]), 400, np.array([[100, 90], [100, 0]])).description(
        "inputs", "mean", False, ("a", "b")
    )
    assert "not missing at random. Share of samples with missing values by class: a 90% (χ² test: p = " in line
    assert "channel 0" in line and "`data.missing_indicator: true`" in line


def test_p_value_of_independence() -> None:
    # Pearson's χ² of [[10, 20], [30, 20]] without a correction: 5.3333 at one degree of freedom.
    assert MissingValues(np.array([1]), 1, np.array([[30, 10], [50, 30]])).p_value == pytest.approx(0.0209213, abs=1e-6)
    assert MissingValues(np.array([1]), 1, np.array([[30, 0], [50, 0]])).p_value == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"missing_indicator": True}, "`missing_indicator` requires `imputation`"),
        ({"imputation": "mean", "components": 2}, "`components` requires `projection: pca`, `whiten` or"),
        (
            {"imputation": "mean", "projection": "pca", "components": 4},
            r"data.components: exceeds the number of features .*\(got 4; allowed: 1 to 3",
        ),
    ],
)
def test_options_that_do_not_fit_are_rejected(incomplete: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _ = HDF5DataModule(incomplete, **options).spec


@pytest.fixture
def images(foreign_file: MakeFile) -> tuple[Path, np.ndarray]:
    """Write 200 correlated images of 2 × 3 × 4, and 20 others for validation."""
    generator = np.random.default_rng(0)
    x = (generator.normal(size=(220, 24)) @ generator.normal(size=(24, 24))).reshape(-1, 2, 3, 4).astype("f4")
    x[200:] += 5  # the fit must not see these
    x, val = x[:200], x[200:]
    return foreign_file(train__inputs=x, train__targets=np.zeros(200), val__inputs=val, val__targets=np.zeros(20)), x


def test_zca_whitens_images_and_keeps_them_close(images: tuple[Path, np.ndarray]) -> None:
    """The covariance is the identity; of all whitenings this one changes the images least."""
    path, x = images
    white = preprocessed(path, x, projection="zca", scaling="center")
    assert white.shape == x.shape
    assert open_spec(DataConfig(file=str(path), projection="zca")).input_shape == (2, 3, 4)
    torch.testing.assert_close(torch.cov(white.flatten(1).T, correction=0), torch.eye(24), atol=2e-3, rtol=0)
    flat = x.reshape(200, -1).astype("f8")
    values, vectors = np.linalg.eigh(np.cov(flat.T, bias=True))
    by_hand = (flat - flat.mean(0)) @ (vectors / np.sqrt(values)) @ vectors.T
    np.testing.assert_allclose(white.flatten(1).numpy(), by_hand, atol=5e-3)


def test_epsilon_bounds_the_gain_of_small_components(images: tuple[Path, np.ndarray]) -> None:
    path, x = images
    white = preprocessed(path, x, projection="whiten", scaling="center", whitening_epsilon=0.1)
    variances = np.linalg.eigvalsh(np.cov(x.reshape(200, -1).T.astype("f8"), bias=True))[::-1]
    expected = variances / (variances + 0.1 * variances.mean())
    np.testing.assert_allclose(white.var(0, correction=0).numpy(), expected, rtol=2e-3, atol=1e-4)


def test_components_of_images_are_vectors(images: tuple[Path, np.ndarray]) -> None:
    path, x = images
    section = DataConfig(file=str(path), projection="pca", components=5)
    assert (open_spec(section).input_shape, open_spec(section).input_kind) == ((5,), "vector")
    assert preprocessed(path, x, projection="pca", components=5).shape == (200, 5)
    with pytest.raises(ConfigError, match=r"data.augmentation: cannot be combined with `data.projection: pca`"):
        open_spec(section.model_copy(update={"augmentation": Augmentation(noise=0.1)}))


def test_tokens_cannot_be_projected(foreign_file: MakeFile) -> None:
    path = foreign_file(train__inputs=np.arange(64), train__targets=np.arange(64))
    section = DataConfig(file=str(path), projection="pca", windows=Windows(length=8), task="sequence_labeling")
    with pytest.raises(ConfigError, match=r"data.projection: works on samples of one shape only, .* of kind tokens"):
        open_spec(section)


def test_integers_cannot_be_imputed(foreign_file: MakeFile) -> None:
    path = foreign_file(train__inputs=np.zeros((4, 3), "i4"), train__targets=np.zeros(4))
    with pytest.raises(ConfigError, match=r"data.imputation: has nothing to fill in: .* stores integers"):
        open_spec(DataConfig(file=str(path), imputation="mean"))


def test_remedy_for_nan_names_imputation(incomplete: Path) -> None:
    with pytest.raises(DataError, match=r"`data.imputation: mean`"):
        _ = HDF5DataModule(incomplete).preprocessings


@pytest.mark.slow
def test_all_ranks_use_the_same_components(tmp_path: Path, foreign_file: MakeFile) -> None:
    # The same variance in all directions: the components are not unique.
    x = np.random.default_rng(0).normal(size=(64, 6)).astype("f4")
    y = (x[:, 0] > 0).astype(int)
    path = foreign_file(train__inputs=x, train__targets=y, val__inputs=x[:16], val__targets=y[:16])
    sections: dict[str, Any] = {
        "data": {"projection": "whiten", "components": 4, "batch_size": 8},
        "resources": {"gpus_per_node": 0, "nodes": 2},
        "trainer": {"max_epochs": 2},
    }
    run = experiments.prepared(tmp_path, experiments.raw(path, model={"name": "linear"}, **sections))
    one, other = weights_of_each_rank(run)
    assert torch.equal(one["layer.weight"], other["layer.weight"]) and one["layer.weight"].shape == (2, 4)
    saved = torch.load(run.last_checkpoint, weights_only=False)["HDF5DataModule"]["preprocessings"][0]["projection"]
    assert saved["matrix"].shape == (6, 4)
