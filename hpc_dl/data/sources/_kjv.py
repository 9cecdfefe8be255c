"""The text of the King James Bible out of Debian's package ``bible-kjv-text``, which compresses it
in windows.

The file ``bible.data`` (C. Chapin's Bible Retrieval System, 1989) holds windows of 65,536 bytes,
each packed by LZW as in Unix' ``compress`` (Welch, 1984) without its header, and where they begin.
"""

from __future__ import annotations

import itertools
import struct
from pathlib import Path

PACKAGE = "bible-kjv-text"
FILE = "bible.data"
SHA256 = "6c746c2acc8a34bfded980883ff1701a5d68934a1c853ebf88a07b978fe0ae0e"

_HEADER = 0x54  # here the bytes in a window and the number of windows stand, then where each begins, then the end
_CLEAR, _FIRST_BITS, _LAST_BITS = 256, 9, 16


def verses(path: Path) -> list[str]:
    """The 31,102 verses, without their numbers.

    Args:
        path: ``bible.data``.

    Raises:
        DataError: it is missing, or another file.
    """
    from hpc_dl.data.sources._fetch import checked

    content = checked(path, SHA256).read_bytes()
    _, windows = struct.unpack_from(">2I", content, _HEADER)
    bounds = struct.unpack_from(f">{windows + 1}I", content, _HEADER + 8)
    text = b"".join(_expanded(content[start:end]) for start, end in itertools.pairwise(bounds)).decode("ascii")
    lines = text.splitlines()[1:]  # the first one is the title
    return [line.partition(" ")[2] for line in lines]


def _expanded(packed: bytes) -> bytes:
    """What ``compress`` packed: codes of 9 to 16 bits, the lowest first, eight codes of one width
    to a group.
    """
    table = [bytes([byte]) for byte in range(256)] + [b""]
    found: list[bytes] = []
    before = b""
    bits, place, group = _FIRST_BITS, 0, 0  # in bits
    while place + bits <= 8 * len(packed):
        code = int.from_bytes(packed[place // 8 : place // 8 + 4], "little") >> place % 8 & (1 << bits) - 1
        place += bits
        if code == _CLEAR:
            table, before = table[: _CLEAR + 1], b""
        else:
            entry = table[code] if code < len(table) else before + before[:1]
            if before and len(table) < 1 << _LAST_BITS:
                table.append(before + entry[:1])
            found.append(entry)
            before = entry
        if code == _CLEAR or (len(table) >= 1 << bits and bits < _LAST_BITS):
            # The packer has written its group of eight codes to the end.
            place = group + -(-(place - group) // (8 * bits)) * 8 * bits
            bits, group = (_FIRST_BITS if code == _CLEAR else bits + 1), place
    return b"".join(found)
