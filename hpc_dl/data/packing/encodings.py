"""What to do about text files in another encoding than UTF-8."""

from __future__ import annotations

import codecs
from pathlib import Path

# UTF-32 first: it begins as UTF-16 does.
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32", codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}  # fmt: skip


def encoding_remedy(path: Path) -> str:
    """Return the command that converts a text file to UTF-8, by the mark at its beginning.

    Without a mark the encoding is that of Western European Windows, which is not known but likely.
    """
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError:
        start = b""
    encoding = next((name for mark, name in _MARKS.items() if start.startswith(mark)), "windows-1252")
    return f"save it in UTF-8: `iconv -f {encoding} -t utf-8 FILE > NEW`"
