"""Points drawn from a mixture of Gaussians whose modes are known: what generators of samples are
tried on.
"""

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
    """Draw the points and write them, with the number of its mode as each point's target.

    Beside the samples of a split lie ``modes`` (K, 2) and ``modes_std`` (K,), to judge generated
    points by.

    Args:
        path: the file to write.
        source: whose data they are.
        centers: of the modes, all equally likely.
        std: standard deviation of each mode along each axis.
        sizes: points in each split.
    """
    import numpy as np

    from hpc_dl.data.files.format import write

    modes = np.array(centers, np.float32)
    deviations = np.full(len(modes), std, np.float32)
    splits = {}
    for number, (split, size) in enumerate(sizes.items()):
        # Its numbers are promised to stay the same in all versions of NumPy.
        generator = np.random.RandomState(_SEED + number)
        labels = generator.permutation(np.arange(size) % len(modes))
        points = modes[labels] + generator.normal(0, std, (size, 2))
        arrays = {"inputs": points.astype(np.float32), "targets": labels.astype(np.int64)}
        splits[split] = arrays | {"modes": modes, "modes_std": deviations}
    write(
        path,
        splits,
        source=source.name,
        task=source.task,
        license=source.license,
        description=source.title,
        provenance=f"drawn by hpc_dl, seed {_SEED}",
        shared=source.shared,
        class_names=[str(mode) for mode in range(len(modes))],
    )
