"""The King James Bible as a stream of characters, to learn what comes next.

The translation is of 1611 and its copyright has expired, says the copyright file of Debian's
package ``bible-kjv-text`` (in the United Kingdom the Crown holds letters patent on printing it).
The text is that package's, one verse in a line, without the verses' numbers. Stretches of 200
verses are dealt to the splits: of each twenty one to validate, one to test. A cut in one place
would train on the histories and test on the letters, which are written in another style; but now
books that tell the same (Kings and Chronicles, the Gospels) lie on both sides.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from hpc_dl.data.sources import Source

_STRETCH = 200  # verses
_OF = 20
_HELD_OUT = {"val": 9, "test": 19}  # of each 20 stretches


def _make(path: Path, given: Path | None) -> None:
    import numpy as np

    from hpc_dl.data.files.format import write
    from hpc_dl.data.sources import _kjv
    from hpc_dl.data.sources._fetch import find_file, obtain

    with tempfile.TemporaryDirectory(prefix="hpc_dl-") as scratch:
        folder, origin = obtain(SOURCE.name, f"deb:{_kjv.PACKAGE}", Path(scratch), given)
        verses = _kjv.verses(find_file(folder, _kjv.FILE, remedy="give the .deb file"))
    texts = dict.fromkeys(("train", "val", "test"), "")
    split_of = {number: split for split, number in _HELD_OUT.items()}
    for begin in range(0, len(verses), _STRETCH):
        split = split_of.get(begin // _STRETCH % _OF, "train")
        texts[split] += "".join(f"{verse}\n" for verse in verses[begin : begin + _STRETCH])
    characters = sorted(set(texts["train"]))
    number_of = np.zeros(128, np.uint8)
    number_of[[ord(character) for character in characters]] = np.arange(len(characters))
    write(
        path,
        {split: {"inputs": number_of[np.frombuffer(text.encode("ascii"), np.uint8)]} for split, text in texts.items()},
        source=SOURCE.name,
        task=SOURCE.task,
        license=SOURCE.license,
        description=SOURCE.title,
        url="https://packages.debian.org/stable/bible-kjv-text",
        provenance=f"{origin}; of each {_OF} stretches of {_STRETCH} verses, number {_HELD_OUT['val'] + 1} to "
        f"validate, {_HELD_OUT['test'] + 1} to test",
        shared=SOURCE.shared,
        class_names=characters,
        input_units="number of a character",
        targets=(),
        stream=True,
    )


SOURCE = Source(
    name="kjv",
    title="The King James Bible, character by character (1611)",
    task="language_modeling",
    size="4,137,850 characters, 63 different ones",
    license="LicenseRef-public-domain",
    shared="writer",  # one translation; and what is told twice may lie on both sides
    fetched="Debian package bible-kjv-text, 2 MB",
    make=_make,
)
