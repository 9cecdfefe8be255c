"""Colin27: the brain of one man, the mean of 27 scans (T1), and to which large region each voxel
belongs.

C. J. Holmes et al., Enhancement of MR images using registration for signal averaging, Journal of
Computer Assisted Tomography 22, 1998; the regions are those of the atlas AAL, drawn on this brain:
N. Tzourio-Mazoyer et al., Automated anatomical labeling of activations in SPM using a macroscopic
anatomical parcellation of the MNI MRI single-subject brain, NeuroImage 15, 2002. Both come with
MRIcron, in Debian's package ``mricron-data``.

Licenses: the Montreal Neurological Institute gives Colin27 away under the ``LicenseRef-MNI`` below
    (as the R package
``mni`` quotes its pages); the authors of AAL give it away under the GNU General Public License, of
no version (so the README of AAL for SPM8): the regions are read here and never shipped. The
package's copyright file tells no license of the volumes, only BSD 3-clause for all of MRIcron. Its
other atlases are left out: nothing in it tells who gives them away, and on which terms.

    Copyright (C) 1993-2009 Louis Collins, McConnell Brain Imaging Center, Montreal Neurological
    Institute, McGill University. Permission to use, copy, modify, and distribute this software and
    its documentation for any purpose and without fee is hereby granted, provided that the above
    copyright notice appear in all copies. The authors and McGill University make no representations
    about the suitability of this software for any purpose. It is provided "as is" without express
    or implied warranty. The authors are not responsible for any data loss, equipment damage,
    property loss, or injury to subjects or patients resulting from the use or misuse of this
    software package.

AAL's 116 regions have numbers such as 5021 (the left lingual gyrus); their thousands are the eight
classes here, whose names are ours: limbic are cingulum, hippocampus and amygdala, subcortical are
the basal ganglia and the thalamus. White matter inside of the lobes, the brain stem and all that is
no brain belong to none of them. Of every axis every third voxel is taken, so that a patch of 24 ×
16 × 52 voxels, 72 × 48 × 156 mm, shows where in the brain it is.

The left hemisphere is for training, the right one, mirrored, for validation (one coronal slab) and
for the test (the rest). All are of one brain, whose halves resemble each other: each voxel's region
on the other side, without a look at the image, gives a mean Dice of 0.81 in the test split. A score
says nothing of other brains.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpc_dl.data.sources import Source

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hpc_dl.data.files.format import Samples

_PACKAGE = "mricron-data"
_COPYRIGHT = (
    "Copyright (C) 1993-2009 Louis Collins, McConnell Brain Imaging Center, Montreal Neurological Institute, McGill "
    "University"
)
# Of the unpacked volumes: Debian packs them anew with each version.
_SHA256 = {
    "ch2.nii.gz": "707a360b809ba937f6c007231bcf7dc6e2d33657497b254414c9894b6efa5f8c",
    "aal.nii.gz": "2926fcc98efc709f77c8cca2f9c1d797eba3e9a1b222a8e0cfa70ab131394c80",
}
_NAMES, _NAMES_SHA256 = "aal.nii.txt", "1788d6556a9ec056de9867b2382cf1ce1b51b87ae4cfd9cd25de48ae4dde709e"
_SHAPE = (181, 217, 181)  # left to right, back to front, bottom to top
_VALUES_BEGIN_AT = 352  # byte of the unpacked files: bytes without scale
_CLASSES = ("other", "frontal", "insula", "limbic", "occipital", "parietal", "subcortical", "temporal", "cerebellum")
_FIRST_THOUSAND = 2  # of the regions' numbers: the frontal ones
_STEP = 3  # every so manieth voxel is taken; all that follows is in steps
_MIDDLE = 30  # from the left: between the hemispheres
_PATCH = (24, 16, 52)
_SIDE, _BOTTOM = 6, 2  # where all patches begin, from the side and from below
_SLABS, _VAL_SLAB = (5, 37, 53), 21  # where they begin, from the back
_TRAIN = range(5, 54)


def _make(path: Path, given: Path | None) -> None:
    import numpy as np

    from hpc_dl.data.files.format import write
    from hpc_dl.data.sources._fetch import obtain

    with tempfile.TemporaryDirectory(prefix="hpc_dl-") as scratch:
        folder, origin = obtain(SOURCE.name, f"deb:{_PACKAGE}", Path(scratch), given)
        image, atlas = (_values(folder, name) for name in _SHA256)
        regions = _classes(folder)[atlas]
    layers = np.stack([image, regions])[:, ::_STEP, ::_STEP, ::_STEP]
    left, right = layers[:, :_MIDDLE], layers[:, :_MIDDLE:-1]
    write(
        path,
        {
            "train": _patches(left, _TRAIN),
            "val": _patches(right, [_VAL_SLAB]),
            "test": _patches(right, _SLABS),
        },
        source=SOURCE.name,
        task=SOURCE.task,
        license=SOURCE.license,
        description=SOURCE.title,
        url="https://www.nitrc.org/projects/mricron",
        provenance=f"{origin}; every {_STEP}rd voxel of each axis; regions by the thousands of their numbers in AAL; "
        f"left hemisphere (train), right hemisphere, mirrored (val: steps {_VAL_SLAB} to {_VAL_SLAB + _PATCH[1] - 1} "
        f"from the back; test: the others from {_SLABS[0]} to {_SLABS[-1] + _PATCH[1] - 1}); Colin27 is {_COPYRIGHT}",
        shared=SOURCE.shared,
        class_names=_CLASSES,
        input_units="gray level, 0 to 254",
    )


def _values(folder: Path, name: str) -> NDArray[Any]:
    """The voxels of one of the two files: a NIfTI volume whose layout is known with its SHA-256."""
    import numpy as np

    from hpc_dl.data.sources._fetch import find_file, unpacked

    content = unpacked(find_file(folder, name, remedy=f"give the package {_PACKAGE}"), _SHA256[name])
    return np.frombuffer(content, np.uint8, offset=_VALUES_BEGIN_AT).reshape(_SHAPE, order="F")


def _classes(folder: Path) -> NDArray[Any]:
    """The class of each of the atlas' values."""
    import numpy as np

    from hpc_dl.data.sources._fetch import checked, find_file

    names = checked(find_file(folder, _NAMES, remedy=f"give the package {_PACKAGE}"), _NAMES_SHA256)
    rows = [line.split() for line in names.read_text().splitlines() if line.strip()]  # value, name, number
    classes = np.zeros(len(rows) + 1, np.uint8)
    for value, _, number in rows:
        classes[int(value)] = int(number) // 1000 - _FIRST_THOUSAND + 1
    return classes


def _patches(layers: NDArray[Any], begins: Iterable[int]) -> Samples:
    """Patches of a hemisphere, (image and regions, x, y, z), that begin at these places from the
    back.
    """
    import numpy as np

    from hpc_dl.data.files.format import Samples

    width, depth, height = _PATCH
    boxes = [np.s_[:, _SIDE : _SIDE + width, begin : begin + depth, _BOTTOM : _BOTTOM + height] for begin in begins]
    patches = np.stack([layers[box] for box in boxes])
    return Samples(patches[:, :1], patches[:, 1])


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
