"""Surviving the loss of mapped pages: a file that was shortened, or whose disk failed.

Touching such a page raises SIGBUS, which kills the process without a message. Here a handler puts
zeros in its place and remembers it, and the reader raises an error instead of returning them.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
import signal
import sys
import weakref
from typing import Any

_SUPPORTED = sys.platform == "linux" and sys.maxsize > 2**32 and platform.libc_ver()[0] == "glibc"
_SA_SIGINFO = 4
_MAP_FIXED, _MAP_PRIVATE, _MAP_ANONYMOUS = 0x10, 0x02, 0x20
_ADDRESS_OFFSET = 16  # of si_addr in siginfo_t, on all 64-bit Linux systems
_HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
_libc = ctypes.CDLL(None)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [
    ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long,
]  # fmt: skip


class _Action(ctypes.Structure):
    """``struct sigaction`` of glibc."""

    _fields_ = [
        ("handler", ctypes.c_void_p),
        ("mask", ctypes.c_ulong * 16),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    ]


class MappedRange:
    """A range of mapped memory.

    Attributes:
        lost: whether a page of it could not be read; its bytes are zeros since then.
    """

    def __init__(self, start: int, end: int) -> None:
        """Describe the addresses from ``start`` to ``end - 1``."""
        self.start = start
        self.end = end
        self.lost = False


_ranges: list[MappedRange] = []
_handlers: list[Any] = []  # the only one, kept alive


def protect(mapped: mmap.mmap, address: int) -> MappedRange:
    """Turn the loss of a page of a map into :attr:`MappedRange.lost`, for as long as it exists.

    Args:
        mapped: the map.
        address: of its first byte.
    """
    protected = MappedRange(address, address + -(-len(mapped) // mmap.PAGESIZE) * mmap.PAGESIZE)
    _ranges.append(protected)
    # Another map may get the same addresses afterward.
    weakref.finalize(mapped, _ranges.remove, protected).atexit = False
    if _SUPPORTED:
        _install()  # again for each map: faulthandler, for one, takes the signal for itself
    return protected


def _install() -> None:
    if not _handlers:
        _handlers.append(_HANDLER(_on_bus_error))
    action = _Action(handler=ctypes.cast(_handlers[0], ctypes.c_void_p).value, flags=_SA_SIGINFO)
    _libc.sigaction(signal.SIGBUS, ctypes.byref(action), None)


def _on_bus_error(number: int, info: int, context: int) -> None:
    """Replace the rest of the map by zeros, so that the interrupted read goes on.

    The signal comes from that read itself, not in the middle of anything else, so Python may run.
    """
    address = ctypes.c_void_p.from_address(info + _ADDRESS_OFFSET).value or 0
    for protected in _ranges:
        if protected.start <= address < protected.end:
            page = address // mmap.PAGESIZE * mmap.PAGESIZE
            flags = _MAP_FIXED | _MAP_PRIVATE | _MAP_ANONYMOUS
            if _libc.mmap(page, protected.end - page, mmap.PROT_READ, flags, -1, 0) == page:
                protected.lost = True
                return
    _libc.sigaction(signal.SIGBUS, ctypes.byref(_Action()), None)  # not ours: the read faults again, and kills
