"""Undoing what HDF5's filters did to a chunk, outside HDF5's global lock.

Each decoder takes the bytes of a chunk and gives new ones. The costly ones let go of the
interpreter's lock while they work, so several threads decode at once.
"""

from __future__ import annotations

import bz2
import contextlib
import ctypes
import functools
import os
import struct
import sys
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

try:
    from isal import isal_zlib
except ImportError:  # there are no wheels for some processors
    isal_zlib = None  # type: ignore[assignment]

Bytes = NDArray[np.uint8]
Decoder = Callable[[Bytes], Bytes]

# Those of hdf5plugin that keep no state between two calls, so that threads may call them at the
# same time.
_PLUGINS = {32001: "blosc", 32004: "lz4", 32008: "bshuf", 32015: "zstd", 32026: "blosc2"}
_BZIP2, _LZF, _BLOSC, _LZ4, _BITSHUFFLE = 307, 32000, 32001, 32004, 32008
_NAMES = (
    {
        h5py.h5z.FILTER_DEFLATE: "gzip",
        h5py.h5z.FILTER_SHUFFLE: "shuffle",
        h5py.h5z.FILTER_FLETCHER32: "fletcher32",
        h5py.h5z.FILTER_SZIP: "szip",
        h5py.h5z.FILTER_NBIT: "n-bit",
        h5py.h5z.FILTER_SCALEOFFSET: "scale-offset",
        _LZF: "lzf",
        _BZIP2: "bzip2",
        32013: "zfp",
        32017: "sz",
        32024: "sz3",
    }
    | _PLUGINS
    | {_BITSHUFFLE: "bitshuffle"}
)
_REVERSE = 0x0100  # H5Z_FLAG_REVERSE: decode
_WORDS_AT_ONCE = 32768


class CannotDecode(Exception):
    """Why the bytes of a chunk are not what the filters once wrote; the reader of the chunk says
    which one it is.
    """


class Filter(NamedTuple):
    """One filter of a dataset, as its header describes it.

    Attributes:
        number: HDF5's registered number.
        flags: bit 0: the filter may be skipped where it fails.
        values: parameters of the filter.
        label: the name that the writer left, may be empty.
    """

    number: int
    flags: int
    values: tuple[int, ...]
    label: bytes

    @property
    def name(self) -> str:
        """The name that people know it by."""
        return _NAMES.get(self.number) or self.label.decode(errors="replace").partition(";")[0] or f"{self.number}"


def obstacle(filter_: Filter) -> str:
    """Why a filter cannot be undone here, in a few words; nothing when it can.

    A filter that not even h5py knows is an obstacle, too: :func:`missing` tells them apart.
    """
    try:
        return "" if _decoder(filter_) else f"filter {filter_.name}"
    except (ImportError, AttributeError, OSError):  # no hdf5plugin, or a build that hides what is called here
        return f"filter {filter_.name}"


def missing(number: int) -> bool:
    """Whether h5py lacks a filter even with those of hdf5plugin."""
    if h5py.h5z.filter_avail(number):
        return False
    with contextlib.suppress(ImportError):
        import hdf5plugin  # noqa: F401  # registers its filters; takes 0.3 s, so only files that need it pay for it
    return not h5py.h5z.filter_avail(number)


class Pipeline:
    """Undoes all filters of a chunk, in the reverse order; threads may share it.

    Attributes:
        num_bytes: bytes of a decoded chunk.
    """

    def __init__(self, filters: tuple[Filter, ...], num_bytes: int) -> None:
        """Decode chunks of ``num_bytes`` bytes; :func:`obstacle` found nothing against any of the
        filters.
        """
        self.num_bytes = num_bytes
        decoders = [_decoder(filter_) for filter_ in filters]
        self._decoders = [
            (number, decode) for number, decode in reversed(list(enumerate(decoders))) if decode is not None
        ]

    def decode(self, stored: Bytes, skipped: int) -> Bytes:
        """The values of a chunk as bytes.

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
            raise CannotDecode(f"it has {len(values)} bytes instead of {self.num_bytes}")
        return values


def _decoder(filter_: Filter) -> Decoder | None:
    if filter_.number == h5py.h5z.FILTER_DEFLATE:
        return _inflate
    if filter_.number == h5py.h5z.FILTER_SHUFFLE:
        return functools.partial(_unshuffle, value_bytes=filter_.values[0])
    if filter_.number == h5py.h5z.FILTER_FLETCHER32:
        return _check_fletcher32
    if filter_.number == _BZIP2:
        return _bunzip2
    if filter_.number == _LZF or filter_.number in _PLUGINS:
        parameters = (ctypes.c_uint * len(filter_.values))(*filter_.values)
        return functools.partial(_call, _function(filter_.number), parameters, _guard(filter_))
    return None


def _guard(filter_: Filter) -> Callable[[Bytes], None] | None:
    """A check of what a compiled filter believes unseen: wrong lengths would let it read memory
    that is not its own.
    """
    if filter_.number == _BLOSC:
        return _check_blosc
    if filter_.number == _LZ4:
        return functools.partial(_check_blocks, value_bytes=1, values_at_once=1)
    if filter_.number == _BITSHUFFLE and len(filter_.values) > 4 and filter_.values[4]:  # it compresses, too
        return functools.partial(_check_blocks, value_bytes=filter_.values[2], values_at_once=8)
    return None


def _check_blosc(stored: Bytes) -> None:
    """Check that the lengths in Blosc's header are those of the bytes; it trusts them with the rest
    of its checks.
    """
    if len(stored) < 16 or int.from_bytes(stored[12:16].tobytes(), "little") != len(stored):
        raise CannotDecode("its length is not the one in its header")


def _check_blocks(stored: Bytes, value_bytes: int, values_at_once: int) -> None:
    """Check the lengths in LZ4's and bitshuffle's container: ``u64 bytes, u32 bytes of a block,
    (u32 length, block)…``.

    All big-endian; values beyond the last multiple of ``values_at_once`` follow uncompressed.
    """
    content = stored.data
    try:
        num_bytes, block_bytes = struct.unpack_from(">QI", content)
        step = value_bytes * values_at_once
        num_blocks = -(-(num_bytes // step * step) // min(block_bytes, num_bytes))
        end = 12
        for _ in range(min(num_blocks, len(content))):
            end += 4 + struct.unpack_from(">I", content, end)[0]
    except (struct.error, ZeroDivisionError):
        end = -1
    if end < 0 or end + num_bytes % step != len(content):
        raise CannotDecode("the lengths of its compressed blocks do not fit together")


def _inflate(stored: Bytes) -> Bytes:
    try:
        # ISA-L takes half to two thirds of zlib's time.
        return np.frombuffer((isal_zlib or zlib).decompress(stored), np.uint8)
    except (zlib.error, getattr(isal_zlib, "error", zlib.error)) as error:
        raise CannotDecode(f"gzip: {error}") from None


def _bunzip2(stored: Bytes) -> Bytes:
    # Not the function of hdf5plugin: where the end of the bytes is missing, it waits for it for
    # ever.
    try:
        return np.frombuffer(bz2.decompress(stored.data), np.uint8)
    except (OSError, ValueError) as error:
        raise CannotDecode(f"bzip2: {error}") from None


def _unshuffle(stored: Bytes, value_bytes: int) -> Bytes:
    if value_bytes == 1:
        return stored
    num_values = len(stored) // value_bytes
    end = num_values * value_bytes
    values = np.empty_like(stored)
    table = values[:end].reshape(num_values, value_bytes)
    # One strided copy for each byte of a value: three to five times as fast as a transposed copy in
    # NumPy.
    for byte in range(value_bytes):
        table[:, byte] = stored[byte * num_values : (byte + 1) * num_values]
    values[end:] = stored[end:]  # what does not fill a value stays where it is
    return values


def _check_fletcher32(stored: Bytes) -> Bytes:
    values, found = stored[:-4], int.from_bytes(stored[-4:].tobytes(), "little")
    computed = fletcher32(values)
    # HDF5 before 1.6.3 swapped the bytes of both halves on little-endian machines.
    swapped = (computed & 0x00FF00FF) << 8 | (computed & 0xFF00FF00) >> 8
    if len(stored) < 4 or found not in (computed, swapped):
        raise CannotDecode(f"its Fletcher-32 checksum is {found:#010x}, but its bytes give {computed:#010x}")
    return values


def fletcher32(values: Bytes) -> int:
    """HDF5's Fletcher-32 checksum: two sums over big-endian words of 16 bits, modulo 65535."""
    words = values[: len(values) // 2 * 2].view(">u2")
    first = second = 0
    for start in range(0, len(words), _WORDS_AT_ONCE):
        block = words[start : start + _WORDS_AT_ONCE].astype(np.uint64)
        second += len(block) * first + int(block @ _WEIGHTS[-len(block) :])
        first += int(block.sum())
    if len(values) % 2:
        first += int(values[-1]) << 8
        second += first
    # HDF5 folds carries in, so that a sum is 0 only when nothing was added.
    return (second and (second % 65535 or 65535)) << 16 | (first and (first % 65535 or 65535))


_WEIGHTS = np.arange(_WORDS_AT_ONCE, 0, -1).astype(np.uint64)


class _FilterClass(ctypes.Structure):
    """``H5Z_class2_t`` of HDF5's plugin interface."""

    _fields_ = [
        ("version", ctypes.c_int),
        ("id", ctypes.c_int),
        ("encoder_present", ctypes.c_uint),
        ("decoder_present", ctypes.c_uint),
        ("name", ctypes.c_char_p),
        ("can_apply", ctypes.c_void_p),
        ("set_local", ctypes.c_void_p),
        ("filter", ctypes.c_void_p),
    ]


# size_t filter(unsigned flags, size_t num_values, const unsigned values[], size_t nbytes, size_t
# *size, void **buffer)
_FilterFunction = ctypes.CFUNCTYPE(
    ctypes.c_size_t,
    ctypes.c_uint,
    ctypes.c_size_t,
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.POINTER(ctypes.c_size_t),
    ctypes.POINTER(ctypes.c_void_p),
)
_libc = ctypes.CDLL(None)
_libc.malloc.restype = ctypes.c_void_p
_libc.malloc.argtypes = [ctypes.c_size_t]
_libc.free.restype = None
_libc.free.argtypes = [ctypes.c_void_p]


@functools.cache
def _function(number: int) -> Any:
    """A compiled filter: LZF inside h5py, the others in the shared libraries of hdf5plugin."""
    if number == _LZF:
        return ctypes.cast(ctypes.CDLL(h5py.h5z.__file__).lzf_filter, _FilterFunction)
    import hdf5plugin

    name = f"libh5{_PLUGINS[number]}{hdf5plugin.get_config().build_config.filter_file_extension}"
    library = ctypes.CDLL(os.path.join(hdf5plugin.PLUGIN_PATH, name))
    library.H5PLget_plugin_info.restype = ctypes.POINTER(_FilterClass)
    return _FilterFunction(library.H5PLget_plugin_info().contents.filter)


def _call(
    function: Any,
    parameters: ctypes.Array[ctypes.c_uint],
    guard: Callable[[Bytes], None] | None,
    stored: Bytes,
) -> Bytes:
    """Let a compiled filter decode; it frees the buffer that it gets and leaves one of its own."""
    if guard is not None:
        guard(stored)
    size = ctypes.c_size_t(len(stored))
    buffer = ctypes.c_void_p(_libc.malloc(max(1, len(stored))))
    ctypes.memmove(buffer, stored.ctypes.data, len(stored))
    num_bytes = function(_REVERSE, len(parameters), parameters, len(stored), size, buffer)
    memory = _Memory(buffer.value)
    if not 0 < num_bytes <= sys.maxsize:  # the filter of zstd returns the code of its error, a huge number
        raise CannotDecode("its compressed bytes are damaged")
    values = (ctypes.c_ubyte * num_bytes).from_address(buffer.value or 0)
    values.memory = memory  # freed with the last array that shows it
    return np.frombuffer(values, np.uint8)


class _Memory:
    """Memory from malloc that belongs to whoever holds this object."""

    def __init__(self, address: int | None) -> None:
        self._address = address

    def __del__(self) -> None:
        _libc.free(self._address)
