"""English words in running text: a dictionary (GCIDE 0.48) and the King James Bible, for vectors of
words.

The GNU version of the Collaborative International Dictionary of English comes from Debian's package
``dict-gcide`` (GPL-2+: the text is built here and never shipped), the Bible from ``bible-kjv-text``
(public domain), both as their copyright files say. What the vectors are judged by comes with gensim
(LGPL-2.1, says its METADATA; it tells no license of these lists themselves): WordSim-353
(Finkelstein et al., 2002), SimLex-999 (Hill et al., 2015) and Google's analogies (Mikolov et al.,
2013); it lies beside the test stream, as numbers of tokens.
"""

from __future__ import annotations

import gzip
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpc_dl.data.sources import Source, _kjv

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PACKAGES = ("deb:dict-gcide", f"deb:{_kjv.PACKAGE}", "pypi:gensim==4.4.0")
_SHA256 = {
    "gcide.dict.dz": "3e6b2cdcbc1b3664c2f1466e3c8e44012e815c4c67fa83fa61f39777cd6e8517",
    "wordsim353.tsv": "f92a022fc2537793a15bc3a8c162ebcd74990e033a228bb6388cb71e4c0b1e1d",
    "simlex999.txt": "d5e0501971478a511430ee880bd0121e94ac701ba86d90544d83e6d2ba3db05d",
    "questions-words.txt": "8c29b3332afc46f3fb8be04cb5297bf96f39aa7131272dff57869b4485b22a36",
}
_REMEDY = f"give a folder with the archives of all of {', '.join(name.partition(':')[2] for name in _PACKAGES)}"
_MIN_COUNT = 5
_EVERY = 100  # one entry or verse of so many for validation, and one for the test

_HEADWORD = re.compile(r"^(?=\S.*\\)", re.MULTILINE)
# What is no running text: how a word is spoken, where it is from, who says so: \Zy"them\
# (z[imac]"th[e^]m) [Obs.]
_APPARATUS = re.compile(r"\\[^\\]*\\|\([^()\s]*\[[^()]*\)|\[[^][]*\]")
_WORD = re.compile(r"[a-z]+")


def _make(path: Path, given: Path | None) -> None:
    import numpy as np

    from hpc_dl.data.files.format import write
    from hpc_dl.data.sources._fetch import checked, find_file

    with tempfile.TemporaryDirectory(prefix="hpc_dl-") as scratch:
        folders, origin = _folders(Path(scratch), given)
        files = {name: checked(find_file(folders, name, _REMEDY), digest) for name, digest in _SHA256.items()}
        texts = [*_entries(files.pop("gcide.dict.dz")), *_kjv.verses(find_file(folders, _kjv.FILE, _REMEDY))]
        benchmarks = {name: path.read_text(encoding="utf-8").splitlines() for name, path in files.items()}
    words = [_WORD.findall(text.lower()) for text in texts]
    held_out = {"val": 0, "test": _EVERY // 2}
    parts = {split: words[first::_EVERY] for split, first in held_out.items()}
    parts["train"] = [part for number, part in enumerate(words) if number % _EVERY not in held_out.values()]
    counts = Counter(word for part in parts["train"] for word in part)
    vocabulary = sorted((word for word, n in counts.items() if n >= _MIN_COUNT), key=lambda w: (-counts[w], w))
    number = {word: token for token, word in enumerate(vocabulary)}
    splits: dict[str, dict[str, NDArray[Any]]] = {
        split: {"inputs": np.array([number[w] for part in parts[split] for w in part if w in number], np.int32)}
        for split in ("train", "val", "test")
    }
    for file, name in (("wordsim353.tsv", "wordsim353"), ("simlex999.txt", "simlex999")):
        rows = [line.lower().split("\t") for line in benchmarks[file] if not line.startswith("#")]
        splits["test"] |= _pairs(name, rows, number)
    splits["test"]["analogies"] = _analogies(benchmarks["questions-words.txt"], number)
    write(
        path,
        splits,
        source=SOURCE.name,
        task=SOURCE.task,
        license=SOURCE.license,
        description=SOURCE.title,
        url="https://ftp.gnu.org/gnu/gcide",
        provenance=f"{origin}; words that occur {_MIN_COUNT} times and more, in lower case",
        shared=SOURCE.shared,
        class_names=vocabulary,
        input_units="number of the word",
        targets=(),
        stream=True,
    )


def _folders(scratch: Path, given: Path | None) -> tuple[list[Path], str]:
    """Where the files of the three packages are, and where they came from."""
    from hpc_dl.data.sources._fetch import obtain, unpack

    found: list[Path] = []
    if given is not None:
        archives = [given] if given.is_file() else sorted(p for p in given.iterdir() if p.suffix in (".deb", ".whl"))
        for number, archive in enumerate(archives):
            (folder := scratch / str(number)).mkdir()
            found.append(unpack(archive, folder))
        return [*found, given], given.name
    origins = []
    for number, package in enumerate(_PACKAGES):
        (folder := scratch / str(number)).mkdir()
        unpacked, origin = obtain(SOURCE.name, package, folder, None)
        found.append(unpacked)
        origins.append(origin)
    return found, ", ".join(origins)


def _entries(path: Path) -> list[str]:
    """The dictionary's entries as running text, without the preface."""
    with gzip.open(path, "rt", encoding="cp1252", errors="replace") as file:  # a few curled quotes
        text = file.read()
    entries = _HEADWORD.split(text)
    cleaned = []
    for entry in entries[1:]:
        before = ""
        while before != entry:  # brackets within brackets
            before, entry = entry, _APPARATUS.sub(" ", entry)
        cleaned.append(entry)
    return cleaned


def _pairs(name: str, rows: Iterable[Sequence[str]], number: dict[str, int]) -> dict[str, NDArray[Any]]:
    """Pairs of words that people have judged: (N, 2) tokens and (N,) scores, where both words are
    known.
    """
    import numpy as np

    known = [(number[a], number[b], float(score)) for a, b, score in rows if a in number and b in number]
    return {
        f"{name}_pairs": np.array([(a, b) for a, b, _ in known], np.int32).reshape(-1, 2),
        f"{name}_scores": np.array([score for _, _, score in known], np.float32),
    }


def _analogies(lines: Iterable[str], number: dict[str, int]) -> NDArray[Any]:
    """(N, 4) tokens: the first is to the second as the third to the fourth."""
    import numpy as np

    rows = [line.lower().split() for line in lines if not line.startswith(":")]
    known = [[number[word] for word in row] for row in rows if all(word in number for word in row)]
    return np.array(known, np.int32).reshape(-1, 4)


SOURCE = Source(
    name="gcide",
    title="A dictionary of English (GCIDE) and the King James Bible as one row of words",
    task="embedding",
    size="4.8 million words, 40,000 different ones",
    license="GPL-2.0-or-later AND LicenseRef-unknown AND LGPL-2.1-only",
    shared="writer",
    fetched="Debian packages dict-gcide and bible-kjv-text, Python package gensim, 45 MB",
    make=_make,
)
