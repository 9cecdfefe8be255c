"""The King James Bible as a stream of characters, for language modeling.

The translation is from 1611 and its copyright has expired, according to the copyright file of
Debian's package ``bible-kjv-text`` (in the United Kingdom the Crown holds letters patent on
printing it). The text is that package's, one verse per line, without verse numbers.

Splits: the text is cut into blocks of 200 verses; of each twenty blocks, one is for validation and
one for the test. A single cut would train on the histories and test on the letters, which differ in
style. But books with the same content (Kings and Chronicles, the Gospels) are in several splits.
"""

from __future__ import annotations

from pathlib import Path

from hpc_dl.data.sources import Source

_BLOCK_VERSES = 200
_PERIOD = 20  # blocks
_HELD_OUT = {"val": 9, "test": 19}  # of each 20 blocks


def _make(path: Path, given: Path | None) -> None:
    import numpy as np

    from hpc_dl.data.sources import _kjv
    from hpc_dl.data.sources._fetch import find_file, package_files

    with package_files(SOURCE.name, f"deb:{_kjv.PACKAGE}", given) as (folder, origin):
        verses = _kjv.read_verses(find_file(folder, _kjv.FILE, remedy="specify the .deb file"))
    texts = dict.fromkeys(("train", "val", "test"), "")
    split_of = {number: split for split, number in _HELD_OUT.items()}
    for start in range(0, len(verses), _BLOCK_VERSES):
        split = split_of.get(start // _BLOCK_VERSES % _PERIOD, "train")
        texts[split] += "".join(f"{verse}\n" for verse in verses[start : start + _BLOCK_VERSES])
    characters = sorted(set(texts["train"]))
    token_of = np.zeros(128, np.uint8)
    token_of[[ord(character) for character in characters]] = np.arange(len(characters))
    SOURCE.write(
        path,
        {split: {"inputs": token_of[np.frombuffer(text.encode("ascii"), np.uint8)]} for split, text in texts.items()},
        url="https://packages.debian.org/stable/bible-kjv-text",
        provenance=f"{origin}; of each {_PERIOD} stretches of {_BLOCK_VERSES} verses, number {_HELD_OUT['val'] + 1} to "
        f"validate, {_HELD_OUT['test'] + 1} to test",
        class_names=characters,
        input_units="number of a character",
        targets=(),
        stream=True,
    )


SOURCE = Source(
    name="kjv",
    title="The King James Bible, character by character (1611)",
    task="language_modeling",
    size="4,137,850 characters, vocabulary of 63",
    license="LicenseRef-public-domain",
    shared="writer",  # one translation; a story that occurs twice may be in two splits
    fetched="Debian package bible-kjv-text, 2 MB",
    make=_make,
)
