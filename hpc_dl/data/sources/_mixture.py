"""Points drawn from a mixture of Gaussians with known modes, a test for generative models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hpc_dl.data.sources import Source

_SEED = 0


def write_mixture(
    path: Path, source: Source, centers: Sequence[tuple[float, float]], std: float, sizes: Mapping[str, int]
) -> None:
    """Draw points from a mixture and write them; the target of a point is the number of its mode.

    Each split also contains ``modes`` (K, 2) and ``modes_std`` (K,), to evaluate generated points.

    Args:
        path: the file to write.
        source: the data set.
        centers: of the modes, which are equally likely.
        std: standard deviation of each mode along each axis.
        sizes: number of points of each split.
    """
    import numpy as np

    modes = np.array(centers, np.float32)
    deviations = np.full(len(modes), std, np.float32)
    splits = {}
    for number, (split, size) in enumerate(sizes.items()):
        # RandomState: NumPy promises the same numbers in all its versions.
        generator = np.random.RandomState(_SEED + number)
        labels = generator.permutation(np.arange(size) % len(modes))
        points = modes[labels] + generator.normal(0, std, (size, 2))
        arrays = {"inputs": points.astype(np.float32), "targets": labels.astype(np.int64)}
        splits[split] = arrays | {"modes": modes, "modes_std": deviations}
    source.write(
        path,
        splits,
        provenance=f"drawn by hpc_dl, seed {_SEED}",
        class_names=[str(mode) for mode in range(len(modes))],
    )
