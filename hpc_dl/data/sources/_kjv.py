"""The text of the King James Bible, from Debian's package ``bible-kjv-text``.

The package stores the text in ``bible.data`` (C. Chapin's Bible Retrieval System, 1989): windows of
65,536 bytes and where each of them starts. Each window is compressed by LZW as in Unix's
``compress`` (Welch, 1984), without its header.
"""

from __future__ import annotations

import itertools
import struct
from pathlib import Path

PACKAGE = "bible-kjv-text"
FILE = "bible.data"
SHA256 = "6c746c2acc8a34bfded980883ff1701a5d68934a1c853ebf88a07b978fe0ae0e"

# At this byte: bytes of a window, number of windows, start of each window, end of the last one.
_HEADER_START = 0x54
_CLEAR, _FIRST_BITS, _LAST_BITS = 256, 9, 16


def read_verses(path: Path) -> list[str]:
    """Return the 31,102 verses, without their numbers.

    Args:
        path: ``bible.data``.

    Raises:
        DataError: the file is missing, or not the expected one.
    """
    from hpc_dl.data.sources._fetch import read_checked

    content = read_checked(path, SHA256)
    _, num_windows = struct.unpack_from(">2I", content, _HEADER_START)
    bounds = struct.unpack_from(f">{num_windows + 1}I", content, _HEADER_START + 8)
    text = b"".join(_decompress(content[start:end]) for start, end in itertools.pairwise(bounds)).decode("ascii")
    lines = text.splitlines()[1:]  # the first line is the title
    return [line.partition(" ")[2] for line in lines]


def _decompress(compressed: bytes) -> bytes:
    """Decompress what ``compress`` wrote: codes of 9 to 16 bits, lowest bit first.

    Eight codes of one width form a group. The width grows, or starts over after a clear code, at
    the next group.
    """
    table = [bytes([byte]) for byte in range(256)] + [b""]
    output: list[bytes] = []
    previous = b""
    width, position, group_start = _FIRST_BITS, 0, 0  # in bits
    while position + width <= 8 * len(compressed):
        code_bytes = compressed[position // 8 : position // 8 + 4]
        code = int.from_bytes(code_bytes, "little") >> position % 8 & (1 << width) - 1
        position += width
        if code == _CLEAR:
            table, previous = table[: _CLEAR + 1], b""
        else:
            entry = table[code] if code < len(table) else previous + previous[:1]
            if previous and len(table) < 1 << _LAST_BITS:
                table.append(previous + entry[:1])
            output.append(entry)
            previous = entry
        if code == _CLEAR or (len(table) >= 1 << width and width < _LAST_BITS):
            # `compress` always writes the current group of eight codes to its end.
            group_bits = 8 * width
            position = group_start + -(-(position - group_start) // group_bits) * group_bits
            width, group_start = (_FIRST_BITS if code == _CLEAR else width + 1), position
    return b"".join(output)
