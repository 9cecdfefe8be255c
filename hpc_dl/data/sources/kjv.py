"""The King James Bible as a stream of characters, to learn what comes next.

The translation is of 1611 and its copyright has expired, says the copyright file of Debian's package ``bible-kjv-text``
(in the United Kingdom the Crown holds letters patent on printing it). The text is that package's, one verse in a line,
without the verses' numbers. The splits are consecutive: Genesis to Acts 21 to train, up to Colossians 1 to validate, up
to Revelation to test.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from hpc_dl.data.sources import Source

_SHARES = {"train": 0.90, "val": 0.05, "test": 0.05}


def _make(path: Path, given: Path | None) -> None:
    import numpy as np

    from hpc_dl.data.fetch import find_file, obtain
    from hpc_dl.data.format import write
    from hpc_dl.data.sources import _kjv

    with tempfile.TemporaryDirectory(prefix="hpc_dl-") as scratch:
        folder, origin = obtain(SOURCE.name, f"deb:{_kjv.PACKAGE}", Path(scratch), given)
        verses = _kjv.verses(find_file(folder, _kjv.FILE, remedy="give the .deb file"))
        text = "".join(f"{verse}\n" for verse in verses)
    characters = sorted(set(text))
    number_of = np.zeros(128, np.uint8)
    number_of[[ord(character) for character in characters]] = np.arange(len(characters))
    tokens = number_of[np.frombuffer(text.encode("ascii"), np.uint8)]
    ends = np.cumsum([round(share * len(tokens)) for share in _SHARES.values()])
    parts = np.split(tokens, ends[:-1])
    write(
        path,
        {split: {"inputs": part} for split, part in zip(_SHARES, parts, strict=True)},
        source=SOURCE.name,
        task=SOURCE.task,
        licence=SOURCE.licence,
        description=SOURCE.title,
        url="https://packages.debian.org/stable/bible-kjv-text",
        provenance=f"{origin}; verses in their order, the first 90 % to train, 5 % to validate, 5 % to test",
        shared=SOURCE.shared,
        class_names=characters,
        input_units="number of a character",
        targets=(),
        stream=True,
    )


SOURCE = Source(
    name="kjv",
    title="The King James Bible, character by character (1611)",
    task="labelling",
    size="4,137,850 characters, 63 different ones",
    licence="LicenseRef-public-domain",
    shared="writer",  # one translation; and Paul's letters lie on both sides of the last cut
    fetched="Debian package bible-kjv-text, 2 MB",
    make=_make,
)
