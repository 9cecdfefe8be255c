"""Colin27: the average of 27 scans (T1) of one man's brain, segmented into eight large regions.

C. J. Holmes et al., Enhancement of MR images using registration for signal averaging, Journal of
Computer Assisted Tomography 22, 1998. The regions are those of the atlas AAL, which was drawn on
this brain: N. Tzourio-Mazoyer et al., Automated anatomical labeling of activations in SPM using a
macroscopic anatomical parcellation of the MNI MRI single-subject brain, NeuroImage 15, 2002. Both
ship with MRIcron, in Debian's package ``mricron-data``.

Licenses: the Montreal Neurological Institute distributes Colin27 under the ``LicenseRef-MNI`` below
(as quoted from its pages by the R package ``mni``). The authors of AAL distribute it under the GNU
General Public License without a version (README of AAL for SPM8): the regions are read here and
never shipped. The package's copyright file states no license of the volumes, only BSD 3-clause for
MRIcron as a whole. Its other atlases are not used: it does not say who distributes them, and under
which terms.

    Copyright (C) 1993-2009 Louis Collins, McConnell Brain Imaging Center, Montreal Neurological
    Institute, McGill University. Permission to use, copy, modify, and distribute this software and
    its documentation for any purpose and without fee is hereby granted, provided that the above
    copyright notice appear in all copies. The authors and McGill University make no representations
    about the suitability of this software for any purpose. It is provided "as is" without express
    or implied warranty. The authors are not responsible for any data loss, equipment damage,
    property loss, or injury to subjects or patients resulting from the use or misuse of this
    software package.

Classes: AAL's 116 regions have numbers such as 5021 (the left lingual gyrus). Their thousands are
the eight classes; the class names are ours: limbic is cingulum, hippocampus and amygdala,
subcortical is the basal ganglia and the thalamus. White matter inside the lobes, the brain stem and
everything outside the brain are "other". Only every third voxel of each axis is kept, so that a
patch of 24 × 16 × 52 voxels, 72 × 48 × 156 mm, shows where in the brain it is.

Splits: the left hemisphere is for training; the right one, mirrored, for validation (one coronal
slab) and for the test (the rest). The two halves of a brain resemble each other: the region at the
mirrored position, without using the image, has a mean Dice score of 0.81 in the test split. A score
says nothing about other brains.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpc_dl.data.sources import Source

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from hpc_dl.data.files.format import Samples

_PACKAGE = "mricron-data"
_COPYRIGHT = (
    "Copyright (C) 1993-2009 Louis Collins, McConnell Brain Imaging Center, Montreal Neurological Institute, McGill "
    "University"
)
# Of the decompressed volumes: Debian compresses them again with each version.
_SHA256 = {
    "ch2.nii.gz": "707a360b809ba937f6c007231bcf7dc6e2d33657497b254414c9894b6efa5f8c",
    "aal.nii.gz": "2926fcc98efc709f77c8cca2f9c1d797eba3e9a1b222a8e0cfa70ab131394c80",
}
_NAMES, _NAMES_SHA256 = "aal.nii.txt", "1788d6556a9ec056de9867b2382cf1ce1b51b87ae4cfd9cd25de48ae4dde709e"
_SHAPE = (181, 217, 181)  # left to right, back to front, bottom to top
_CLASSES = ("other", "frontal", "insula", "limbic", "occipital", "parietal", "subcortical", "temporal", "cerebellum")
_FIRST_THOUSAND = 2  # the frontal regions have the smallest numbers, from 2000
_STEP = 3  # every third voxel is kept; all numbers below count kept voxels
_MIDDLE = 30  # plane between the hemispheres, from the left
_PATCH = (24, 16, 52)
_SIDE, _BOTTOM = 6, 2  # start of all patches, from the side and from the bottom
_SLABS, _VAL_SLAB = (5, 37, 53), 21  # start of the patches, from the back
_TRAIN = range(5, 54)


def _make(path: Path, given: Path | None) -> None:
    import numpy as np

    from hpc_dl.data.sources._brain_volumes import voxels_of
    from hpc_dl.data.sources._fetch import find_file, package_files, read_gzip

    remedy = f"specify the package {_PACKAGE}"
    with package_files(SOURCE.name, f"deb:{_PACKAGE}", given) as (folder, origin):
        image, atlas = (
            voxels_of(read_gzip(find_file(folder, name, remedy), digest), _SHAPE) for name, digest in _SHA256.items()
        )
        regions = _class_of_value(find_file(folder, _NAMES, remedy))[atlas]
    layers = np.stack([image, regions])[:, ::_STEP, ::_STEP, ::_STEP]
    left, right = layers[:, :_MIDDLE], layers[:, :_MIDDLE:-1]
    SOURCE.write(
        path,
        {
            "train": _patches(left, _TRAIN),
            "val": _patches(right, [_VAL_SLAB]),
            "test": _patches(right, _SLABS),
        },
        url="https://www.nitrc.org/projects/mricron",
        provenance=f"{origin}; every {_STEP}rd voxel of each axis; regions by the thousands of their numbers in AAL; "
        f"left hemisphere (train), right hemisphere, mirrored (val: steps {_VAL_SLAB} to {_VAL_SLAB + _PATCH[1] - 1} "
        f"from the back; test: the others from {_SLABS[0]} to {_SLABS[-1] + _PATCH[1] - 1}); Colin27 is {_COPYRIGHT}",
        class_names=_CLASSES,
        input_units="gray level, 0 to 254",
    )


def _class_of_value(file: Path) -> NDArray[Any]:
    """Return the class of each voxel value of the atlas, from its table of names."""
    import numpy as np

    from hpc_dl.data.sources._fetch import checked

    lines = checked(file, _NAMES_SHA256).read_text().splitlines()
    rows = [line.split() for line in lines if line.strip()]  # value, name, number
    classes = np.zeros(len(rows) + 1, np.uint8)
    for value, _, number in rows:
        classes[int(value)] = int(number) // 1000 - _FIRST_THOUSAND + 1
    return classes


def _patches(layers: NDArray[Any], starts: Iterable[int]) -> Samples:
    """Cut the patches of a hemisphere that start at these positions from the back.

    Args:
        layers: (2, x, y, z) image and regions.
        starts: positions along y.
    """
    from hpc_dl.data.sources._brain_volumes import cut_patches

    image, regions = layers
    return cut_patches(image, regions, [(_SIDE, start, _BOTTOM) for start in starts], _PATCH)


SOURCE = Source(
    name="colin27",
    title="The brain of one man (T1), and to which of eight regions each voxel belongs (Colin27 and the atlas AAL)",
    task="segmentation",
    size="53 patches of 1 × 24 × 16 × 52 out of one brain, 9 classes",
    license="LicenseRef-MNI AND GPL-1.0-or-later AND BSD-3-Clause",
    shared="subject",
    fetched=f"Debian package {_PACKAGE}, 16 MB",
    make=_make,
)
