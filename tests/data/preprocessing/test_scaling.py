"""Scaling: fitted on the training split only, per channel."""

from typing import Any

import numpy as np
import pytest
import torch

from hpc_dl.data.config import DataConfig
from hpc_dl.data.files.data_file import open_data
from hpc_dl.data.preprocessing.pipeline import _samples_to_fit, fit_preprocessing
from hpc_dl.data.preprocessing.scaling import Scaling
from hpc_dl.errors import DataError
from tests.data.small_files import MakeFile

GENERATOR = np.random.default_rng(0)
FLOATS = (GENERATOR.normal(size=(40, 3, 5, 5)) * [[[[1]], [[10]], [[0]]]] + [[[[0]], [[1e4]], [[7]]]]).astype("f4")


def fitted(make: MakeFile, inputs: np.ndarray, method: Any, **settings: Any) -> Scaling:
    # The validation split is very different, and must not count.
    held_out = np.full_like(inputs, 99)
    path = make(
        train__inputs=inputs,
        train__targets=np.zeros(len(inputs)),
        val__inputs=held_out,
        val__targets=np.zeros(len(inputs)),
    )
    config = DataConfig(file=str(path), scaling=method, **settings)
    with open_data(path, config).reader("train") as reader:
        return fit_preprocessing(reader, 0, config)[0].scaling


def test_standardize_per_channel(foreign_file: MakeFile) -> None:
    scaling = fitted(foreign_file, FLOATS, "auto")
    assert scaling.method == "standardize"
    np.testing.assert_allclose(scaling.offset, FLOATS.astype("f8").mean((0, 2, 3)), rtol=1e-9)
    np.testing.assert_allclose(scaling.divisor[:2], FLOATS.astype("f8").std((0, 2, 3))[:2], rtol=1e-9)
    x = torch.from_numpy(FLOATS)
    scaled = scaling(x)
    assert scaled.dtype == torch.float32
    torch.testing.assert_close(scaled[:, 2], torch.zeros(40, 5, 5))  # a constant channel is 0, not NaN
    torch.testing.assert_close(scaled[:, 1].std(), torch.tensor(1.0), atol=1e-3, rtol=0)
    assert torch.equal(x, torch.from_numpy(FLOATS))  # the batch itself is not modified


def test_unit_of_integer_images_is_one_range(foreign_file: MakeFile) -> None:
    integers = GENERATOR.integers(3, 17, (40, 2, 4, 4), np.uint8)
    integers[:, 1] //= 2
    scaling = fitted(foreign_file, integers, "auto")
    assert scaling == Scaling("unit", (1.0,), (15.0,))
    scaled = scaling(torch.from_numpy(integers))
    assert (float(scaled.min()), float(scaled.max())) == (0, 1)


def test_unit_of_an_integer_table_is_per_variable(foreign_file: MakeFile) -> None:
    """Age, income, a constant: (x − min) / (max − min) of each; one range would hide the age."""
    age, income = GENERATOR.integers(18, 90, 40), GENERATOR.integers(10_000, 200_000, 40)
    table = np.stack([age, income, np.full(40, 7)], 1)
    scaling = fitted(foreign_file, table, "auto")
    assert scaling.method == "unit"
    expected = np.stack([(x - x.min()) / np.ptp(x) for x in (age, income)] + [np.zeros(40)], 1)
    np.testing.assert_allclose(scaling(torch.from_numpy(table)), expected, rtol=1e-6)


def test_unit_of_integer_series_is_per_channel(foreign_file: MakeFile) -> None:
    series = GENERATOR.integers(0, 100, (40, 2, 9)) * [[[1], [1000]]]
    scaled = fitted(foreign_file, series, "unit", channels="first")(torch.from_numpy(series))
    np.testing.assert_allclose(scaled.amax((0, 2)), [1, 1], rtol=1e-6)


def test_unit_of_floats_is_per_channel(foreign_file: MakeFile) -> None:
    scaled = fitted(foreign_file, FLOATS, "unit")(torch.from_numpy(FLOATS))
    np.testing.assert_allclose(scaled.amax((0, 2, 3)), [1, 1, 0], atol=1e-6)


def test_center_keeps_the_deviation(foreign_file: MakeFile) -> None:
    scaled = fitted(foreign_file, FLOATS, "center")(torch.from_numpy(FLOATS))
    torch.testing.assert_close(scaled.mean((0, 2, 3)), torch.zeros(3), atol=1e-3, rtol=0)
    np.testing.assert_allclose(scaled.std((0, 2, 3)), FLOATS.std((0, 2, 3), ddof=1), atol=1e-3)


def test_scaling_none_only_converts_the_type(foreign_file: MakeFile) -> None:
    integers = np.full((40, 6), 200, np.uint8)
    assert torch.equal(fitted(foreign_file, integers, "none")(torch.from_numpy(integers)), torch.full((40, 6), 200.0))


@pytest.mark.filterwarnings("error")
def test_values_whose_squares_overflow_are_reported(foreign_file: MakeFile) -> None:
    with pytest.raises(DataError, match="too large"):
        fitted(foreign_file, FLOATS.astype(np.float64) * 1e300, "standardize")


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("method", ["unit", "standardize"])
def test_nan_in_the_inputs_is_reported(foreign_file: MakeFile, value: float, method: str) -> None:
    bad = FLOATS.copy()
    bad[5, 1] = value
    with pytest.raises(DataError, match=r"inputs contain NaN or infinite values.*`hpc-dl data verify` counts them"):
        fitted(foreign_file, bad, method)


def test_state_dict_restores_the_scaling() -> None:
    scaling = Scaling("standardize", (1.0, 2.0), (3.0, 4.0))
    assert Scaling.from_state_dict(scaling.state_dict()) == scaling


def test_large_split_is_sampled_in_blocks(foreign_file: MakeFile, monkeypatch: pytest.MonkeyPatch) -> None:
    values = GENERATOR.normal(size=(20_000, 40)).astype("f4")
    values[:, 1] += np.linspace(0, 8, 20_000)  # drifts along the file
    monkeypatch.setattr("hpc_dl.data.preprocessing.pipeline._MAX_SAMPLES", 5000)
    scaling = fitted(foreign_file, values, "auto")
    np.testing.assert_allclose(scaling.offset, values.mean(0), atol=0.3)
    np.testing.assert_allclose(scaling.divisor, values.std(0), rtol=0.15)
    path = foreign_file("whole.h5", train__inputs=values, train__targets=np.zeros(20_000))
    with open_data(path, DataConfig(file=str(path))).reader("train") as reader:
        chosen = _samples_to_fit(reader)
    assert 4000 < len(chosen) <= 5000 and chosen[0] == 0 and chosen[-1] == 19_999
