"""Basic motions: activity of a person with a smart watch, from 10 s of acceleration and rotation.

A. Bagnall et al., The UEA multivariate time series classification archive, 2018, arXiv:1811.00075:
four students standing, walking, running and playing badminton, each five times. For what is known
of the license see ``_timeseries.py``.

The archive's test set is kept; 8 of its 40 training series become the validation split.

Channels: three of the accelerometer, three of the gyroscope, ten values per second.
"""

from __future__ import annotations

from pathlib import Path

from hpc_dl.data.sources import Source

_SHA256 = {
    "BasicMotions_TRAIN.ts": "8dc43cc6306cb679c888c01e26f91772ac4441a916da43bac8b79734a538b9d6",
    "BasicMotions_TEST.ts": "79213102bc6fca1a398ad98ce1185dff0208fa3d1465e687f48288946b0ff8dc",
}
_CLASSES = {"Standing": "standing", "Running": "running", "Walking": "walking", "Badminton": "badminton"}


def _make(path: Path, given: Path | None) -> None:
    from hpc_dl.data.sources._timeseries import write_series

    write_series(
        path,
        SOURCE,
        given,
        files=_SHA256,
        classes=_CLASSES,
        held_out=8,
        url="https://www.timeseriesclassification.com/description.php?Dataset=BasicMotions",
        input_units="unknown unit; 10 values per second",
    )


SOURCE = Source(
    name="basic_motions",
    title="Four motions of people who wear a smart watch: 6 channels of 10 seconds (Bagnall et al., 2018)",
    task="classification",
    size="80 series of 6 × 100, 4 classes",
    license="LicenseRef-unknown AND BSD-3-Clause",
    shared="subject",  # four students in both sets; the files do not identify them
    fetched="Python package aeon 1.6.0, 6 MB",
    make=_make,
)
