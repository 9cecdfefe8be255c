"""Filters in the compiled libraries of h5py and hdf5plugin, called through ctypes."""

from __future__ import annotations

import ctypes
import functools
import os
import struct
import sys
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.storage.declared_sizes import declared_by_blosc2, declared_by_zstd

Bytes = NDArray[np.uint8]

LZF, BLOSC, LZ4, BITSHUFFLE, ZSTD, BLOSC2 = 32000, 32001, 32004, 32008, 32015, 32026
#: Libraries of hdf5plugin whose filters keep no state between calls, so threads may share them.
# Blosc2 pads a chunk to whole blocks, to less than twice its size in each of five dimensions.
_BLOSC2_PADDING = 32
PLUGINS = {BLOSC: "blosc", LZ4: "lz4", BITSHUFFLE: "bshuf", ZSTD: "zstd", BLOSC2: "blosc2"}
_REVERSE = 0x0100  # H5Z_FLAG_REVERSE: decode


class CannotDecode(Exception):
    """Why the bytes of a chunk cannot be decoded; the reader of the chunk adds which one it is."""


def compiled_decoder(number: int, parameters: tuple[int, ...], most: int) -> Callable[[Bytes], Bytes]:
    """Return a function that decodes with a compiled filter.

    Args:
        number: HDF5's number of the filter, ``LZF`` or one of ``PLUGINS``.
        parameters: the parameters of the filter in the header of the dataset.
        most: the largest size that it may decode to, in bytes.

    Raises:
        ImportError: hdf5plugin is not installed.
        AttributeError: this build of a library lacks the function.
        OSError: the library cannot be loaded.
    """
    values = (ctypes.c_uint * len(parameters))(*parameters)
    return functools.partial(_call, _function(number), values, _guard(number, parameters, most))


def _guard(number: int, parameters: tuple[int, ...], most: int) -> Callable[[Bytes], None] | None:
    """Return a check of the lengths that a compiled filter trusts blindly.

    Wrong lengths would let the filter read beyond its memory.
    """
    if number == BLOSC:
        return functools.partial(_check_blosc, most=most)
    if number == LZ4:
        return functools.partial(_check_blocks, value_bytes=1, values_at_once=1, most=most)
    if number in (ZSTD, BLOSC2):
        declared = declared_by_zstd if number == ZSTD else declared_by_blosc2
        limit = most if number == ZSTD else most * _BLOSC2_PADDING
        return lambda stored: _check_declared(declared(stored.data), limit)
    if number == BITSHUFFLE and len(parameters) > 4 and parameters[4]:  # it also compresses
        return functools.partial(_check_blocks, value_bytes=parameters[2], values_at_once=8, most=most)
    return None


def _check_blosc(stored: Bytes, most: int) -> None:
    """Check the lengths in Blosc's header; Blosc checks everything else against them."""
    _check_declared(int.from_bytes(stored[4:8].tobytes(), "little"), most)
    if len(stored) < 16 or int.from_bytes(stored[12:16].tobytes(), "little") != len(stored):
        raise CannotDecode("its length differs from the length in its header")


def _check_blocks(stored: Bytes, value_bytes: int, values_at_once: int, most: int) -> None:
    """Check the lengths in the container of LZ4 and bitshuffle.

    The container is ``u64 bytes, u32 bytes per block, (u32 length, block)…``, all big-endian.
    Values beyond the last multiple of ``values_at_once`` follow uncompressed.
    """
    content = stored.data
    try:
        num_bytes, block_bytes = struct.unpack_from(">QI", content)
        _check_declared(num_bytes, most)
        step = value_bytes * values_at_once
        num_blocks = -(-(num_bytes // step * step) // min(block_bytes, num_bytes))
        end = 12
        for _ in range(min(num_blocks, len(content))):
            end += 4 + struct.unpack_from(">I", content, end)[0]
    except (struct.error, ZeroDivisionError):
        end = -1
    if end < 0 or end + num_bytes % step != len(content):
        raise CannotDecode("the lengths of its compressed blocks are inconsistent")


def _check_declared(num_bytes: int, most: int) -> None:
    """Check the size that a filter would reserve memory for."""
    if num_bytes > most:
        raise CannotDecode(f"it declares {num_bytes} decoded bytes, more than a chunk holds")


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
    """Load a compiled filter: LZF inside h5py, the others in the libraries of hdf5plugin."""
    if number == LZF:
        return ctypes.cast(ctypes.CDLL(h5py.h5z.__file__).lzf_filter, _FilterFunction)
    import hdf5plugin

    name = f"libh5{PLUGINS[number]}{hdf5plugin.get_config().build_config.filter_file_extension}"
    library = ctypes.CDLL(os.path.join(hdf5plugin.PLUGIN_PATH, name))
    library.H5PLget_plugin_info.restype = ctypes.POINTER(_FilterClass)
    return _FilterFunction(library.H5PLget_plugin_info().contents.filter)


def _call(
    function: Any,
    parameters: ctypes.Array[ctypes.c_uint],
    guard: Callable[[Bytes], None] | None,
    stored: Bytes,
) -> Bytes:
    """Let a compiled filter decode; it frees the buffer that it gets and returns a new one."""
    if guard is not None:
        guard(stored)
    size = ctypes.c_size_t(len(stored))
    buffer = ctypes.c_void_p(_libc.malloc(max(1, len(stored))))
    ctypes.memmove(buffer, stored.ctypes.data, len(stored))
    num_bytes = function(_REVERSE, len(parameters), parameters, len(stored), size, buffer)
    memory = _Memory(buffer.value)
    if not 0 < num_bytes <= sys.maxsize:  # zstd returns its error code, a huge number
        raise CannotDecode("its compressed bytes are damaged")
    values = (ctypes.c_ubyte * num_bytes).from_address(buffer.value or 0)
    values.memory = memory  # freed with the last array that views it
    return np.frombuffer(values, np.uint8)


class _Memory:
    """Memory from malloc, freed together with this object."""

    def __init__(self, address: int | None) -> None:
        self._address = address

    def __del__(self) -> None:
        _libc.free(self._address)
