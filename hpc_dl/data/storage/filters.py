"""Decoding of chunks that HDF5's filters encoded, outside HDF5's global lock.

Each decoder takes the bytes of a chunk and returns new ones. The costly ones release the
interpreter's lock, so several threads decode at the same time.
"""

from __future__ import annotations

import bz2
import contextlib
import functools
import zlib
from collections.abc import Callable
from typing import NamedTuple

import h5py
import numpy as np

from hpc_dl.data.storage.compiled_filters import BITSHUFFLE, LZF, PLUGINS, Bytes, CannotDecode, compiled_decoder

try:
    from isal import isal_zlib
except ImportError:  # isal has no wheels for some processors
    isal_zlib = None  # type: ignore[assignment]

Decoder = Callable[[Bytes], Bytes]

_BZIP2 = 307
_NAMES = (
    {
        h5py.h5z.FILTER_DEFLATE: "gzip",
        h5py.h5z.FILTER_SHUFFLE: "shuffle",
        h5py.h5z.FILTER_FLETCHER32: "fletcher32",
        h5py.h5z.FILTER_SZIP: "szip",
        h5py.h5z.FILTER_NBIT: "n-bit",
        h5py.h5z.FILTER_SCALEOFFSET: "scale-offset",
        LZF: "lzf",
        _BZIP2: "bzip2",
        32013: "zfp",
        32017: "sz",
        32024: "sz3",
    }
    | PLUGINS
    | {BITSHUFFLE: "bitshuffle"}
)
_WORDS_AT_ONCE = 32768
_MOST_EXTRA_BYTES = 64 << 10


class Filter(NamedTuple):
    """One filter of a dataset, as its header describes it.

    Attributes:
        number: HDF5's registered number.
        flags: bit 0: the filter may be skipped if it fails.
        values: parameters of the filter.
        label: the name that the writer stored, may be empty.
    """

    number: int
    flags: int
    values: tuple[int, ...]
    label: bytes

    @property
    def name(self) -> str:
        """The usual name of the filter."""
        return _NAMES.get(self.number) or self.label.decode(errors="replace").partition(";")[0] or f"{self.number}"


def obstacle(filter_: Filter) -> str:
    """Return why a filter cannot be decoded here, or an empty string if it can.

    A filter that even h5py lacks is an obstacle, too; :func:`is_installed` distinguishes them.
    """
    try:
        return "" if _decoder(filter_) else f"filter {filter_.name}"
    except (ImportError, AttributeError, OSError):  # no hdf5plugin, or a build without the needed functions
        return f"filter {filter_.name}"


def is_installed(number: int) -> bool:
    """Whether h5py can decode a filter, with the help of hdf5plugin if necessary."""
    if h5py.h5z.filter_avail(number):
        return True
    with contextlib.suppress(ImportError):
        import hdf5plugin  # noqa: F401  # registers its filters; takes 0.3 s, so import it only if needed
    return bool(h5py.h5z.filter_avail(number))


class Pipeline:
    """Decodes all filters of a chunk, in reverse order; threads may share it.

    Attributes:
        num_bytes: size of a decoded chunk.
    """

    def __init__(self, filters: tuple[Filter, ...], num_bytes: int) -> None:
        """Decode chunks of ``num_bytes`` bytes; :func:`obstacle` must allow all filters."""
        self.num_bytes = num_bytes
        # Incompressible bytes become a little longer in one filter, and the next gets that.
        # Chunks that decode to more were made to fill the memory.
        decoders = [_decoder(filter_, num_bytes + num_bytes // 8 + _MOST_EXTRA_BYTES) for filter_ in filters]
        self._decoders = [
            (number, decode) for number, decode in reversed(list(enumerate(decoders))) if decode is not None
        ]

    def decode(self, stored: Bytes, skipped: int) -> Bytes:
        """Return the values of a chunk as bytes.

        Args:
            stored: the bytes in the file.
            skipped: bit i is set where filter i was not applied to this chunk.

        Raises:
            CannotDecode: the bytes are damaged.
        """
        values = stored
        for number, decode in self._decoders:
            if not skipped >> number & 1:
                values = decode(values)
        if len(values) != self.num_bytes:
            raise CannotDecode(f"it decodes to {len(values)} bytes instead of {self.num_bytes}")
        return values


def _decoder(filter_: Filter, most: int = 0) -> Decoder | None:
    """Return the function that decodes a filter, into at most ``most`` bytes."""
    if filter_.number == h5py.h5z.FILTER_DEFLATE:
        return functools.partial(_inflate, most=most)
    if filter_.number == h5py.h5z.FILTER_SHUFFLE and any(filter_.values[:1]):
        return functools.partial(_unshuffle, value_bytes=filter_.values[0])
    if filter_.number == h5py.h5z.FILTER_FLETCHER32:
        return _check_fletcher32
    if filter_.number == _BZIP2:
        return functools.partial(_bunzip2, most=most)
    if filter_.number == LZF or filter_.number in PLUGINS:
        return compiled_decoder(filter_.number, filter_.values, most)
    return None


def _inflate(stored: Bytes, most: int) -> Bytes:
    try:
        # ISA-L takes half to two thirds of the time of zlib.
        decompressor = (isal_zlib or zlib).decompressobj()
        values = np.frombuffer(decompressor.decompress(stored, most), np.uint8)
        if not decompressor.eof:
            cause = "more bytes than a chunk holds" if len(values) >= most else "incomplete or truncated stream"
            raise CannotDecode(f"gzip: {cause}")
        return values
    except (zlib.error, getattr(isal_zlib, "error", zlib.error)) as error:
        raise CannotDecode(f"gzip: {error}") from None


def _bunzip2(stored: Bytes, most: int) -> Bytes:
    # Not the function of hdf5plugin: it waits forever if the end of the bytes is missing.
    try:
        decompressor = bz2.BZ2Decompressor()
        values = np.frombuffer(decompressor.decompress(stored.data, most), np.uint8)
        if not decompressor.eof:
            raise CannotDecode("bzip2: more bytes than a chunk holds, or truncated")
        return values
    except (OSError, ValueError) as error:
        raise CannotDecode(f"bzip2: {error}") from None


def _unshuffle(stored: Bytes, value_bytes: int) -> Bytes:
    if value_bytes == 1:
        return stored
    num_values = len(stored) // value_bytes
    end = num_values * value_bytes
    values = np.empty_like(stored)
    table = values[:end].reshape(num_values, value_bytes)
    # One strided copy per byte of a value is three to five times as fast as a transposed copy in
    # NumPy.
    for byte in range(value_bytes):
        table[:, byte] = stored[byte * num_values : (byte + 1) * num_values]
    values[end:] = stored[end:]  # bytes that do not fill a value stay where they are
    return values


def _check_fletcher32(stored: Bytes) -> Bytes:
    values, checksum = stored[:-4], int.from_bytes(stored[-4:].tobytes(), "little")
    computed = fletcher32(values)
    # HDF5 before 1.6.3 swapped the bytes of both halves on little-endian machines.
    swapped = (computed & 0x00FF00FF) << 8 | (computed & 0xFF00FF00) >> 8
    if len(stored) < 4 or checksum not in (computed, swapped):
        raise CannotDecode(f"its Fletcher-32 checksum is {checksum:#010x}, but its bytes give {computed:#010x}")
    return values


def fletcher32(values: Bytes) -> int:
    """Return HDF5's Fletcher-32 checksum: two sums over big-endian 16-bit words, modulo 65535."""
    words = values[: len(values) // 2 * 2].view(">u2")
    first = second = 0
    for start in range(0, len(words), _WORDS_AT_ONCE):
        block = words[start : start + _WORDS_AT_ONCE].astype(np.uint64)
        second += len(block) * first + int(block @ _WEIGHTS[-len(block) :])
        first += int(block.sum())
    if len(values) % 2:
        first += int(values[-1]) << 8
        second += first
    # HDF5 folds carries in, so a sum is 0 only if nothing was added.
    return (second and (second % 65535 or 65535)) << 16 | (first and (first % 65535 or 65535))


_WEIGHTS = np.arange(_WORDS_AT_ONCE, 0, -1).astype(np.uint64)
