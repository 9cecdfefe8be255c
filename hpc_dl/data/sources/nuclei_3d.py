"""Nuclei of cells in three dimensions: one simulated volume of 31 × 61 × 57 voxels with the
outlines of 52 nuclei.

It comes with StarDist (M. Weigert et al., Star-convex Polyhedra for 3D Object Detection and
Segmentation in Microscopy, 2020; BSD 3-clause by its LICENSE.txt), which calls them synthetic
nuclei and names no other origin or license.

A sample is a slab across the volume, 12 voxels thick. Along the second axis the first 25 layers are
the training split, in slabs that begin at every layer, each in its eight mirror images; the next 12
are for validation, the last 24 are the test split. The slab for validation keeps the others apart:
no nucleus lies in both training and test, but some lie in two splits next to each other. All are
parts of one volume: a score says nothing of another, and least of all of nuclei under a real
microscope.
"""

from __future__ import annotations

import itertools
import struct
import tempfile
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
_OFFSET, _BYTES = 273, 279  # tags of a page: where its values begin, and how many bytes they are
_SLAB = 12
_TRAIN, _VAL, _TEST = (0, 25), (25, 37), (37, 61)  # layers along the second axis


def _make(path: Path, given: Path | None) -> None:
    import numpy as np

    from hpc_dl.data.files.format import Samples, write
    from hpc_dl.data.sources._fetch import obtain

    with tempfile.TemporaryDirectory(prefix="hpc_dl-") as scratch:
        folder, origin = obtain(SOURCE.name, f"pypi:{_PACKAGE}", Path(scratch), given)
        image, mask = (_values(folder, name) for name in _SHA256)
    # 104 to 375 in 16 bits; nuclei are numbered from 1.
    layers = np.stack([image, mask > 0]).astype(np.int16)
    parts = {
        "train": _mirrored(_slabs(layers, _TRAIN, 1)),
        "val": _slabs(layers, _VAL, _SLAB),
        "test": _slabs(layers, _TEST, _SLAB),
    }
    write(
        path,
        {split: Samples(slabs[:, :1], slabs[:, 1].astype(np.uint8)) for split, slabs in parts.items()},
        source=SOURCE.name,
        task=SOURCE.task,
        license=SOURCE.license,
        description=SOURCE.title,
        url="https://github.com/stardist/stardist",
        provenance=f"{origin}; slabs of {_SLAB} layers along the second axis: from each of the layers {_TRAIN[0]} to "
        f"{_TRAIN[1] - 1}, in all mirror images (train), {_VAL[0]} to {_VAL[1] - 1} (val), {_TEST[0]} to "
        f"{_TEST[1] - 1} (test)",
        shared=SOURCE.shared,
        class_names=("background", "nucleus"),
        input_units="gray level, 104 to 375",
    )


def _values(folder: Path, name: str) -> NDArray[Any]:
    """The voxels of one of the two files: a TIFF of 16 bits with a page for each plane, deflated in
    one strip.
    """
    import numpy as np

    from hpc_dl.data.sources._fetch import checked, find_file

    found = find_file(folder, name, remedy=f"give the wheel of {_PACKAGE}")
    content = checked(found, _SHA256[name]).read_bytes()
    planes = []
    (page,) = struct.unpack_from("<I", content, 4)
    while page:
        (num_tags,) = struct.unpack_from("<H", content, page)
        entries = (struct.unpack_from("<HHII", content, page + 2 + 12 * number) for number in range(num_tags))
        tags = {tag: value for tag, _, _, value in entries}
        plane = zlib.decompress(content[tags[_OFFSET] : tags[_OFFSET] + tags[_BYTES]])
        planes.append(np.frombuffer(plane, "<u2").reshape(_SHAPE[1:]))
        (page,) = struct.unpack_from("<I", content, page + 2 + 12 * num_tags)
    return np.stack(planes)


def _slabs(layers: NDArray[Any], within: tuple[int, int], stride: int) -> NDArray[Any]:
    """Slabs of (L, planes, height, width) along the third axis, as (N, L, planes, slab, width)."""
    import numpy as np

    begins = range(within[0], within[1] - _SLAB + 1, stride)
    return np.stack([layers[:, :, begin : begin + _SLAB] for begin in begins])


def _mirrored(slabs: NDArray[Any]) -> NDArray[Any]:
    """The eight mirror images of each: (N, L, planes, height, width) to (8 N, …)."""
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
