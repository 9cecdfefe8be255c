"""MNIST-1D: 5,000 series of 40 steps: ten shapes, shifted, stretched and sheared, with noise.

S. Greydanus and D. Kobak, Scaling Down Deep Learning with MNIST-1D, ICML 2024, arXiv:2011.14439.
Nothing is fetched: this is a port of ``make_dataset`` of the Python package mnist1d 0.0.2.post1 to
NumPy alone, which generates the same series from the same seed:

    The MNIST-1D dataset | 2024, Sam Greydanus, Peter Steinbach Licensed under the Apache License,
    Version 2.0 (http://www.apache.org/licenses/LICENSE-2.0); changed: without SciPy, without the
    parts that a training does not need.

Its 1,000 test series are kept; 400 of its 4,000 training series become the validation split. The
mean and standard deviation that standardize all series are computed over training and test series
together, as in the original.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpc_dl.data.sources import Source

if TYPE_CHECKING:
    from numpy.random import RandomState
    from numpy.typing import NDArray

_PACKAGE = "mnist1d 0.0.2.post1"
_SEED = 42
_NUM_SAMPLES = 5_000
_SPLIT_SIZES = {"train": 3_600, "val": 400}

_NUM_STEPS = 40
_PADDING = (36, 60)  # zeros after a shape, minimum and maximum
_SCALE, _MAX_SHIFT, _SHEAR = 0.4, 48, 0.75
_CORRELATED_NOISE, _NOISE = 0.25, 2e-2
_TEMPLATES = (
    (5, 6, 6.5, 6.75, 7, 7, 7, 7, 6.75, 6.5, 6, 5),
    (5, 3, 3, 3.4, 3.8, 4.2, 4.6, 5, 5.4, 5.8, 5, 5),
    (5, 6, 6.5, 6.5, 6, 5.25, 4.75, 4, 3.5, 3.5, 4, 5),
    (5, 6, 6.5, 6.5, 6, 5, 5, 6, 6.5, 6.5, 6, 5),
    (5, 4.4, 3.8, 3.2, 2.6, 2.6, 5, 5, 5, 5, 5, 5),
    (5, 3, 3, 3, 3, 5, 6, 6.5, 6.5, 6, 4.5, 5),
    (5, 4, 3.5, 3.25, 3, 3, 3, 3, 3.25, 3.5, 4, 5),
    (5, 7, 7, 6.6, 6.2, 5.8, 5.4, 5, 4.6, 4.2, 5, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 4, 3.5, 3.5, 4, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 5, 5, 4.7, 4.3, 5),
)


def _make(path: Path, given: Path | None) -> None:
    import numpy as np

    from hpc_dl.data.sources._splits import SPLIT_SEED, with_official_test

    SOURCE.refuse_file(given)
    series, labels = _generate()
    SOURCE.write(
        path,
        with_official_test(series[:, None].astype(np.float32), labels, _SPLIT_SIZES),
        url="https://github.com/greydanus/mnist1d",
        provenance=f"computed as by make_dataset of the Python package {_PACKAGE}, seed {_SEED}; validation split of "
        f"{_SPLIT_SIZES['val']} training series, stratified, seed {SPLIT_SEED}",
        class_names=[str(digit) for digit in range(10)],
        input_units="standard deviations",
    )


def _generate() -> tuple[NDArray[Any], NDArray[Any]]:
    """Generate all series (5000, 40) and their digits (5000,), the 4,000 training series first.

    Random numbers are drawn in the order of the original.
    """
    import numpy as np

    random = np.random.RandomState(_SEED)
    templates = np.array(_TEMPLATES)
    templates -= templates.mean(1, keepdims=True)
    templates /= templates.std(1, keepdims=True)
    templates = (templates - templates[:, :1]) / 6  # start and end at 0
    labels = np.repeat(np.arange(10), _NUM_SAMPLES // 10)
    series = np.stack([_vary(templates[label], random) for label in labels])
    shuffled = random.permutation(_NUM_SAMPLES)
    series, labels = series[shuffled], labels[shuffled]
    return (series - series.mean()) / series.std(), labels.astype(np.uint8)


def _vary(shape: NDArray[Any], random: RandomState) -> NDArray[Any]:
    """Return a series of 40 steps: the shape padded, stretched, scaled, rotated, noisy, sheared."""
    import numpy as np

    low, high = _PADDING
    padding = np.zeros(low + int(random.rand() * (high - low + 1)))
    # Exact zeros mark the padding, so the shape's own zeros are shifted slightly.
    x = _resample(np.concatenate([shape + 1e-8, padding]), len(shape) + high)
    x *= 1 + _SCALE * (random.rand() - 0.5)
    x = np.roll(x, random.choice(_MAX_SHIFT))
    x = np.where(x != 0, x, _smooth(_CORRELATED_NOISE * random.randn(len(x))))
    x += _NOISE * random.randn(len(x))
    x -= _SHEAR * (random.rand() - 0.5) * np.linspace(-0.5, 0.5, len(x))
    return _resample(x, _NUM_STEPS)


def _resample(x: NDArray[Any], num_steps: int) -> NDArray[Any]:
    """Interpolate linearly to another number of steps."""
    import numpy as np

    resampled: NDArray[Any] = np.interp(np.linspace(0, 1, num_steps), np.linspace(0, 1, len(x)), x)
    return resampled


def _smooth(x: NDArray[Any], sigma: float = 2.0) -> NDArray[Any]:
    """Apply a Gaussian filter, truncated at four standard deviations, with mirrored ends."""
    import numpy as np

    radius = int(4 * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return np.convolve(np.pad(x, radius, "symmetric"), weights / weights.sum(), "valid")


SOURCE = Source(
    name="mnist1d",
    title="Ten shapes as series of 40 steps, shifted, stretched and noisy (Greydanus and Kobak, 2024)",
    task="classification",
    size="5,000 series of 1 × 40, 10 classes",
    license="Apache-2.0",
    shared="none",
    fetched="nothing: generated",
    make=_make,
)
