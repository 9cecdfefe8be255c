"""The decoded size that compressed bytes declare; filters reserve memory for it unseen."""

from __future__ import annotations

import struct

_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_BLOSC2_MAGIC = b"b2frame"


def declared_by_zstd(content: memoryview) -> int:
    """Return the size that a Zstandard frame declares (RFC 8878, 3.1.1.1); 0 if it has none."""
    if len(content) < 6 or content[:4] != _ZSTD_MAGIC:
        return 0
    descriptor = content[4]
    single_segment = descriptor >> 5 & 1
    num_bytes = (single_segment, 2, 4, 8)[descriptor >> 6]
    start = 6 - single_segment + (0, 1, 2, 4)[descriptor & 3]
    declared = int.from_bytes(content[start : start + num_bytes], "little")
    return declared + 256 if num_bytes == 2 else declared


def declared_by_blosc2(content: memoryview) -> int:
    """Return the size that a contiguous frame of Blosc2 declares (README_CFRAME_FORMAT); else 0."""
    if len(content) < 38 or content[2:9] != _BLOSC2_MAGIC:
        return 0
    declared: int = struct.unpack_from(">Q", content, 30)[0]
    return declared
