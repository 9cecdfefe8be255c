"""Italy's demand for electric power over a day: is it a day of the winter or summer half-year?

E. Keogh et al., Intelligent icons: integrating lite-weight data mining and visualization into GUI
operating systems, ICDM 2006; H. A. Dau et al., The UCR time series archive, 2019, arXiv:1810.07758.
For what is known of the license see ``_timeseries.py``.

The archive's test set is kept; 20 of its 67 training series become the validation split. Each day
is standardized separately, so only the shape of the curve remains.

Classes: 1 and 2 in the files, whose header names October to March before April to September. The
data agree: in class 1 the demand peaks at seven in the evening, after dark, in class 2 two hours
later.
"""

from __future__ import annotations

from pathlib import Path

from hpc_dl.data.sources import Source

_SHA256 = {
    "ItalyPowerDemand_TRAIN.ts": "341269cb7e6cef96846b30e774580beec79addb93848ba360145219115a74b7c",
    "ItalyPowerDemand_TEST.ts": "26122451f87dd0387ef90b18bc8a86c041371b8a1c068004922b939971247144",
}
_CLASSES = {"1": "October to March", "2": "April to September"}


def _make(path: Path, given: Path | None) -> None:
    from hpc_dl.data.sources._timeseries import write_series

    write_series(
        path,
        SOURCE,
        given,
        files=_SHA256,
        classes=_CLASSES,
        held_out=20,
        url="https://www.timeseriesclassification.com/description.php?Dataset=ItalyPowerDemand",
        input_units="standard deviations of the day, hourly",
    )


SOURCE = Source(
    name="italy_power",
    title="Days of Italy's demand for electric power, from winter or summer (Keogh et al., 2006)",
    task="classification",
    size="1,096 series of 1 × 24, 2 classes",
    license="LicenseRef-unknown AND BSD-3-Clause",
    shared="subject",  # one country in the same years; neighboring days may be in different splits
    fetched="Python package aeon 1.6.0, 6 MB",
    make=_make,
)
