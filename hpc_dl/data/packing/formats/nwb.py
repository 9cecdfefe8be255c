"""Neurodata Without Borders (.nwb): the trials of one recording, or counts of spikes in them.

The layout is that of NWB 2 (https://nwb-schema.readthedocs.io): a table of trials under
``/intervals/trials``, time series with timestamps or a rate, and spike times in ``/units``.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.packing.array_column import ArrayColumn
from hpc_dl.data.packing.column_choice import target_columns
from hpc_dl.data.packing.fixed_length import common_length, resized
from hpc_dl.data.packing.formats import Format
from hpc_dl.data.packing.paired import PairedSource
from hpc_dl.data.packing.source import PackOptions, Source
from hpc_dl.data.storage.hdf5 import attribute, open_file
from hpc_dl.errors import DataError
from hpc_dl.formatting import shortened

_TRIALS = "intervals/trials"
_NO_TARGETS = ("id", "start_time", "stop_time", "timeseries", "timeseries_index", "tags", "tags_index")


class SeriesTrials:
    """The values of a time series (time, channels) during each trial, as (channels, steps)."""

    rows_together = 1

    def __init__(self, path: Path, name: str, starts: NDArray[Any], stops: NDArray[Any], length: int | None) -> None:
        self.name = f"{path}:/{name}"
        self._file = open_file(path)
        series = self._file[name]
        self._values = series["data"]
        num_steps, self._first = self._values.shape[0], _steps_at(series, starts)
        ends = _steps_at(series, stops)
        outside = (self._first < 0) | (ends > num_steps) | (ends <= self._first)
        if outside.any():
            trial = int(outside.argmax())
            raise DataError.at(
                self.name,
                f"does not cover trial {trial} ({starts[trial]:g} s to {stops[trial]:g} s)",
                remedy="choose another time series with `--inputs`, or correct the table of trials",
            )
        self._lengths = ends - self._first
        trials = [f"trial {number}" for number in range(len(starts))]
        length = common_length(self._lengths.tolist(), length, trials, self.name)
        self.shape = (len(starts), *(self._values.shape[1:] or (1,)), length)
        self.dtype = self._values.dtype

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """See :class:`Column`."""
        trials = np.empty((stop - start, *self.shape[1:]), self.dtype.newbyteorder("="))
        for row in range(start, stop):
            first, num = int(self._first[row]), min(int(self._lengths[row]), self.shape[-1])
            steps = self._values[first : first + num].reshape(num, *self.shape[1:-1])
            trials[row - start] = resized(np.moveaxis(steps, 0, -1), self.shape[-1])
        return trials

    def take(self, rows: NDArray[np.intp]) -> NDArray[Any] | None:
        """See :class:`Column`."""
        return None

    def close(self) -> None:
        """See :class:`Column`."""
        self._file.close()


def open_nwb(path: Path, options: PackOptions) -> Source:
    """Open the trials of an NWB file.

    Raises:
        DataError: there are no trials, the time series is not unique, or trials differ in length.
    """
    with open_file(path) as file:
        trials = file.get(_TRIALS)
        if not isinstance(trials, h5py.Group):
            raise DataError.at(
                f"{path}:/{_TRIALS}",
                "does not exist, so there are no samples",
                remedy="add the trials with pynwb (`nwbfile.add_trial`), or pack arrays of your own as .npz",
            )
        starts, stops = (_column(path, trials, name).astype(np.float64) for name in ("start_time", "stop_time"))
        columns = [name for name in trials if name not in _NO_TARGETS]
        target = target_columns(path, columns, options.targets)[0]
        labels = ArrayColumn(f"{path}:/{_TRIALS}/{target}", _column(path, trials, target))
        groups = None
        if options.group:
            groups = ArrayColumn(f"{path}:/{_TRIALS}/{options.group}", _column(path, trials, options.group))
        name = _chosen_series(path, file, options)
        units = attribute(file[f"{name}/data"], "unit") if name != "units" else "spikes"
        inputs = (
            _spike_counts(path, file["units"], starts, stops, options)
            if name == "units"
            else SeriesTrials(path, name, starts, stops, options.length)
        )
        about = {"description": str(attribute(file, "session_description") or ""), "input_units": str(units or "")}
        scale = (
            {key: attribute(file[f"{name}/data"], key) for key in ("conversion", "offset")} if name != "units" else {}
        )
    source = PairedSource(
        path,
        "NWB trials",
        {"": (inputs, labels)},
        dataclasses.replace(options, channels="first"),
        [path.absolute()],
        groups=groups,
        attributes=about,
    )
    source.notes.append(f"inputs are /{name} during each trial, as (channels, steps)")
    stored = {key: value for key, value in scale.items() if isinstance(value, int | float)}
    source.input_attributes |= stored
    if stored.get("conversion", 1) != 1:
        source.notes.append(f"values are as stored; times {stored['conversion']:g} they are in {units}")
    return source


def _steps_at(series: h5py.Group, times: NDArray[Any]) -> NDArray[np.int64]:
    """Return the first step at or after each time."""
    if "timestamps" in series:
        # A trial that starts at 0.3 s starts with the value of 0.3000001 s and with that of
        # 0.2999999 s.
        return np.searchsorted(series["timestamps"][()], times - 1e-6).astype(np.int64)
    start = series["starting_time"]
    steps = (times - float(start[()])) * float(start.attrs["rate"])
    return np.ceil(steps - 1e-6).astype(np.int64)


def _chosen_series(path: Path, file: h5py.File, options: PackOptions) -> str:
    found: list[str] = ["units"] if "units/spike_times" in file else []

    def collect(name: str, item: Any) -> None:
        is_series = isinstance(item, h5py.Group) and isinstance(item.get("data"), h5py.Dataset)
        if is_series and item["data"].dtype.kind in "biuf" and ("timestamps" in item or "starting_time" in item):
            found.append(name)

    file.visititems(collect)
    wanted = (options.inputs or "").strip("/")
    matching = [name for name in found if not wanted or name == wanted or name.endswith(f"/{wanted}")]
    if len(matching) != 1:
        raise DataError.at(
            path,
            f"has {'several' if matching else 'no'} time series" + (f" named {wanted}" if wanted else ""),
            allowed=shortened(found, 20) or "a group with `data`, and `timestamps` or `starting_time`",
            remedy="choose one with `--inputs NAME`, or `--inputs units --rate HZ` for counts of spikes",
        )
    return matching[0]


def _spike_counts(
    path: Path, units: h5py.Group, starts: NDArray[Any], stops: NDArray[Any], options: PackOptions
) -> ArrayColumn:
    """Count the spikes of each unit in bins of ``1 / rate`` seconds from each trial's start."""
    place = f"{path}:/units"
    if options.rate is None:
        raise DataError.at(place, "has spike times", remedy="choose the bins per second with `--rate HZ`")
    lengths = np.rint((stops - starts) * options.rate).astype(int)
    trials = [f"trial {number}" for number in range(len(starts))]
    length = common_length(lengths.tolist(), options.length, trials, place)
    times, ends = units["spike_times"][()], units["spike_times_index"][()]
    counts = np.zeros((len(starts), len(ends), length), np.uint16)
    for unit, (begin, end) in enumerate(zip(np.concatenate([[0], ends[:-1]]), ends, strict=True)):
        for trial, start in enumerate(starts):
            edges = start + np.arange(length + 1) / options.rate
            counts[trial, unit] = np.diff(np.searchsorted(np.sort(times[int(begin) : int(end)]), edges))
    return ArrayColumn(place, counts)


def _column(path: Path, table: h5py.Group, name: str) -> NDArray[Any]:
    item = table.get(name)
    if not isinstance(item, h5py.Dataset) or item.ndim != 1:
        raise DataError.at(f"{path}:/{_TRIALS}/{name}", "is not a column of the trials", allowed=", ".join(table))
    is_text = h5py.check_string_dtype(item.dtype)
    return np.asarray(item.asstr(errors="backslashreplace")[()] if is_text else item[()])


FORMAT = Format(".nwb", lambda place: place.is_file(".nwb"), open_nwb)
