"""Gun point: does an actor draw and aim a gun, or point with a finger? The hand's path in a video.

C. A. Ratanamahatana and E. Keogh, Everything you know about dynamic time warping is wrong, 2004; H.
A. Dau et al., The UCR time series archive, 2019, arXiv:1810.07758. For what is known of the license
see ``_timeseries.py``.

The archive's test set is kept; 16 of its 50 training series become the validation split. A series
is the horizontal position of the center of the right hand, standardized per series.

Classes: 1 and 2 in the files, whose header names the gun before the finger.
"""

from __future__ import annotations

from pathlib import Path

from hpc_dl.data.sources import Source

_SHA256 = {
    "GunPoint_TRAIN.ts": "f842401779fd9800d247d8b33121a1a4643710a19b24917dbdd9a060ca8630d5",
    "GunPoint_TEST.ts": "79332750788a6227b325b96bd0d70130c8eb707b9731f8d7dec62b7a7d36017e",
}
_CLASSES = {"1": "gun", "2": "finger"}


def _make(path: Path, given: Path | None) -> None:
    from hpc_dl.data.sources._timeseries import write_series

    write_series(
        path,
        SOURCE,
        given,
        files=_SHA256,
        classes=_CLASSES,
        held_out=16,
        url="https://www.timeseriesclassification.com/description.php?Dataset=GunPoint",
        input_units="standard deviations of the series",
    )


SOURCE = Source(
    name="gun_point",
    title="An actor's hand that draws a gun, or only points (Ratanamahatana and Keogh, 2004)",
    task="classification",
    size="200 series of 1 × 150, 2 classes",
    license="LicenseRef-unknown AND BSD-3-Clause",
    shared="subject",  # one woman and one man, each in a single session
    fetched="Python package aeon 1.6.0, 6 MB",
    make=_make,
)
