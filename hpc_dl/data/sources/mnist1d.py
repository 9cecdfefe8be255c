"""MNIST-1D: 5,000 series of 40 steps, ten shapes that are shifted, stretched, sheared and noisy.

S. Greydanus and D. Kobak, Scaling Down Deep Learning with MNIST-1D, ICML 2024, arXiv:2011.14439.
Nothing is fetched: the series are computed, the same as by ``make_dataset`` of the Python package
mnist1d 0.0.2.post1 with its seed, of which this is a port to NumPy alone:

    The MNIST-1D dataset | 2024, Sam Greydanus, Peter Steinbach Licensed under the Apache License,
    Version 2.0 (http://www.apache.org/licenses/LICENSE-2.0); changed: without SciPy, without the
    parts that a training does not need.

Its 1,000 test series are kept; 400 of its 4,000 training series become the validation split. Mean
and standard deviation, to which it scales all series, are those of training and test series
together.
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
_NUM_SAMPLES, _NUM_TRAIN = 5_000, 4_000
_SPLIT_SIZES = {"train": 3_600, "val": 400}
_SPLIT_SEED = 0

_NUM_STEPS = 40
_PADDING = (36, 60)  # steps of silence after a shape
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

    from hpc_dl.data.files.format import Samples, write
    from hpc_dl.data.files.splits import stratified
    from hpc_dl.errors import DataError

    if given is not None:
        raise DataError.at(given, "is not needed: mnist1d is computed", remedy="leave `--from` out")
    series, labels = _generate()
    inputs = series[:, None].astype(np.float32)
    dealt = stratified(labels[:_NUM_TRAIN], _SPLIT_SIZES, _SPLIT_SEED)
    dealt["test"] = np.arange(_NUM_TRAIN, _NUM_SAMPLES)
    write(
        path,
        {split: Samples(inputs[rows], labels[rows]) for split, rows in dealt.items()},
        source=SOURCE.name,
        task=SOURCE.task,
        license=SOURCE.license,
        description=SOURCE.title,
        url="https://github.com/greydanus/mnist1d",
        provenance=f"computed as by make_dataset of the Python package {_PACKAGE}, seed {_SEED}; validation split of "
        f"{_SPLIT_SIZES['val']} training series, stratified, seed {_SPLIT_SEED}",
        shared=SOURCE.shared,
        class_names=[str(digit) for digit in range(10)],
        input_units="standard deviations",
    )


def _generate() -> tuple[NDArray[Any], NDArray[Any]]:
    """Series (5000, 40) and their digits (5000,), the first 4,000 to train on; draws in the order
    of the original.
    """
    import numpy as np

    random = np.random.RandomState(_SEED)
    templates = np.array(_TEMPLATES)
    templates -= templates.mean(1, keepdims=True)
    templates /= templates.std(1, keepdims=True)
    templates = (templates - templates[:, :1]) / 6  # begin and end at 0
    labels = np.repeat(np.arange(10), _NUM_SAMPLES // 10)
    series = np.stack([_varied(templates[label], random) for label in labels])
    shuffled = random.permutation(_NUM_SAMPLES)
    series, labels = series[shuffled], labels[shuffled]
    return (series - series.mean()) / series.std(), labels.astype(np.uint8)


def _varied(shape: NDArray[Any], random: RandomState) -> NDArray[Any]:
    """A series of 40 steps out of a shape: silence added, stretched, scaled, shifted in a circle,
    noise, sheared.
    """
    import numpy as np

    low, high = _PADDING
    silence = np.zeros(low + int(random.rand() * (high - low + 1)))
    # What is exactly 0 is silence; a shape's own zeros are moved off it.
    x = _resampled(np.concatenate([shape + 1e-8, silence]), len(shape) + high)
    x *= 1 + _SCALE * (random.rand() - 0.5)
    x = np.roll(x, random.choice(_MAX_SHIFT))
    x = np.where(x != 0, x, _smoothed(_CORRELATED_NOISE * random.randn(len(x))))
    x += _NOISE * random.randn(len(x))
    x -= _SHEAR * (random.rand() - 0.5) * np.linspace(-0.5, 0.5, len(x))
    return _resampled(x, _NUM_STEPS)


def _resampled(x: NDArray[Any], num_steps: int) -> NDArray[Any]:
    """Linear interpolation to another number of steps."""
    import numpy as np

    resampled: NDArray[Any] = np.interp(np.linspace(0, 1, num_steps), np.linspace(0, 1, len(x)), x)
    return resampled


def _smoothed(x: NDArray[Any], sigma: float = 2.0) -> NDArray[Any]:
    """A Gaussian filter, cut off at four standard deviations, of a series that is mirrored at its
    ends.
    """
    import numpy as np

    reach = int(4 * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return np.convolve(np.pad(x, reach, "symmetric"), weights / weights.sum(), "valid")


SOURCE = Source(
    name="mnist1d",
    title="Ten shapes as series of 40 steps, shifted, stretched and noisy (Greydanus and Kobak, 2024)",
    task="classification",
    size="5,000 series of 1 × 40, 10 classes",
    license="Apache-2.0",
    shared="none",
    fetched="nothing: it is computed",
    make=_make,
)
