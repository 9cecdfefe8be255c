"""Folders of WAV recordings: 8 to 32 bits or float, one folder per class or a table of labels."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.packing.class_folders import LabeledFolder, labeled_files
from hpc_dl.data.packing.damaged import DAMAGED
from hpc_dl.data.packing.file_per_sample import first_faults, map_in_threads
from hpc_dl.data.packing.fixed_length import common_length, resized
from hpc_dl.data.packing.formats import Format
from hpc_dl.data.packing.source import PackOptions, Source, Values, require
from hpc_dl.errors import DataError, Fault
from hpc_dl.formatting import shortened

SUFFIXES = (".wav", ".wave")
_SILENCE_8_BITS = 128  # these are unsigned; zero is the lowest value
_MOST_UPSAMPLING = 100
_UNKNOWN_SIZE = (0, 0xFFFFFFFF)  # written by a program that could not seek back


class _Recording(NamedTuple):
    rate: int
    num_steps: int
    num_channels: int
    dtype: np.dtype[Any]


class Recordings(LabeledFolder):
    """Recordings as (channels, steps); values stay as stored unless types or rates differ."""

    def __init__(self, path: Path, options: PackOptions) -> None:
        self._wavfile = require("scipy.io.wavfile", "SciPy", str(path))
        # Chunks of other programs are skipped with a warning; truncated files are found by size.
        warnings.simplefilter("ignore", self._wavfile.WavFileWarning)
        found = labeled_files(path, SUFFIXES, "recording", options)
        headers = list(map_in_threads(self._header, found.files))
        if faults := [header for header in headers if isinstance(header, Fault)]:
            raise first_faults(faults)
        recordings = [header for header in headers if isinstance(header, _Recording)]
        rates = Counter(recording.rate for recording in recordings)
        if len(rates) > 1 and options.rate is None:
            raise DataError.at(
                path, "has recordings of different sample rates",
                value=shortened([f"{rate} Hz: {count}x" for rate, count in rates.most_common()]),
                remedy=f"resample all with `--rate HZ`, for example {min(rates)}",
            )  # fmt: skip
        channels = Counter(recording.num_channels for recording in recordings)
        if len(channels) > 1:
            usual = channels.most_common(1)[0][0]
            raise first_faults(
                [
                    Fault(str(file), "differs in its number of channels", value=recording.num_channels,
                          allowed=str(usual), remedy=f"convert it: `ffmpeg -i FILE -ac {usual} NEW.wav`")
                    for file, recording in zip(found.files, recordings, strict=True)
                    if recording.num_channels != usual
                ]
            )  # fmt: skip
        self._rate = round(options.rate) if options.rate else recordings[0].rate
        if not 1 <= self._rate <= _MOST_UPSAMPLING * min(rates):
            raise DataError.at(
                "--rate",
                "does not fit the recordings",
                value=options.rate,
                allowed=f"1 to {_MOST_UPSAMPLING * min(rates)}",
            )
        types = Counter(str(recording.dtype) for recording in recordings)
        resampled = sum(count for rate, count in rates.items() if rate != self._rate)
        normalized = options.trained_on is not None and options.trained_on.inputs.dtype.kind == "f"
        dtype = np.dtype(np.float32) if len(types) > 1 or resampled or normalized else recordings[0].dtype
        lengths = [-(-recording.num_steps * self._rate // recording.rate) for recording in recordings]
        length = common_length(lengths, options.length, [file.name for file in found.files], str(path))
        inputs = Values((recordings[0].num_channels, length), dtype)
        super().__init__(path, "WAV recordings", inputs, found, options.trained_on)
        self.input_attributes["rate"] = float(self._rate)
        self.notes.append(f"{self._rate:,} values per second, {length / self._rate:.3g} s each")
        if len(types) > 1 or resampled:
            counts = ", ".join(f"{kind}: {count}x" for kind, count in types.most_common())
            self.notes.append(f"all become float32 from -1 to 1 (stored as {counts}); {resampled:,} are resampled")
        if changed := sum(own != length for own in lengths):
            self.notes.append(f"{changed:,} of {len(lengths):,} recordings are cut or padded with silence at the end")

    def load(self, path: Path) -> NDArray[Any]:
        """See :class:`FilePerSample`."""
        try:
            rate, values = self._wavfile.read(path)
            values = values.reshape(len(values), -1).T
            if self.inputs.dtype.kind == "f" and values.dtype != self.inputs.dtype:
                values = _normalized(values)
            if rate != self._rate:
                signal = require("scipy.signal", "SciPy", str(self.path))
                common = math.gcd(self._rate, rate)
                values = signal.resample_poly(values, self._rate // common, rate // common, axis=1)
            silence = _SILENCE_8_BITS if values.dtype.kind == "u" else 0
            return resized(values, self.inputs.shape[1], silence=silence).astype(self.inputs.dtype, copy=False)
        except DAMAGED as error:
            raise DataError(_unreadable(path, error)) from None

    def _header(self, path: Path) -> _Recording | Fault:
        try:
            with path.open("rb") as file:
                start = file.read(8)
            size = int.from_bytes(start[4:8], "little")
            if start[:4] == b"RIFF" and size not in _UNKNOWN_SIZE and size + 8 > path.stat().st_size + 1:
                return Fault(str(path), "is a recording that ends too early", remedy="copy it again, or remove it")
            try:
                rate, values = self._wavfile.read(path, mmap=True)
            except ValueError:  # 24 bits, or damaged
                rate, values = self._wavfile.read(path)
            if not len(values) or rate <= 0:
                return Fault(str(path), "is a recording without values", remedy="remove it")
            channels = values.shape[1] if values.ndim > 1 else 1
            return _Recording(int(rate), len(values), channels, values.dtype.newbyteorder("="))
        except DAMAGED as error:
            return _unreadable(path, error)


def _normalized(values: NDArray[Any]) -> NDArray[Any]:
    """Return samples of any type as float32, full scale from -1 to 1."""
    if values.dtype.kind == "u":
        return ((values.astype(np.float32) - _SILENCE_8_BITS) / _SILENCE_8_BITS).astype(np.float32)
    if values.dtype.kind == "i":
        return (values / -float(np.iinfo(values.dtype).min)).astype(np.float32)
    return values.astype(np.float32)


def _unreadable(path: Path, error: Exception) -> Fault:
    is_other_codec = "Unknown wave file format" in str(error)
    remedy = "convert it: `ffmpeg -i FILE -c:a pcm_s16le NEW.wav`" if is_other_codec else "copy it again, or remove it"
    return Fault(str(path), f"is a recording that cannot be read: {error}", remedy=remedy)


def open_wav(path: Path, options: PackOptions) -> Source:
    """Open a folder of WAV recordings.

    Raises:
        DataError: recordings cannot be read, or differ in rate, length or number of channels.
    """
    return Recordings(path, options)


FORMAT = Format(
    "a folder of class folders with WAV recordings", lambda place: place.holds(*SUFFIXES), open_wav, order=80
)
