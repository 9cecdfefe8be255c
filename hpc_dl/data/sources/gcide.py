"""English text for word embeddings: a dictionary (GCIDE 0.48) and the King James Bible.

The GNU version of the Collaborative International Dictionary of English comes from Debian's package
``dict-gcide`` (GPL-2+: the text is built here and never shipped), the Bible from ``bible-kjv-text``
(public domain), according to their copyright files. The benchmarks that evaluate the embeddings
come from gensim (LGPL-2.1 according to its METADATA, which states no license of the lists
themselves): WordSim-353 (Finkelstein et al., 2002), SimLex-999 (Hill et al., 2015) and Google's
analogies (Mikolov et al., 2013). They are stored in the test split, as token numbers.
"""

from __future__ import annotations

import gzip
import re
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
_REMEDY = f"specify a folder with the archives of all of {', '.join(name.partition(':')[2] for name in _PACKAGES)}"
_MIN_COUNT = 5
_PERIOD = 100  # of each 100 entries or verses, one is for validation and one for the test

_HEADWORD = re.compile(r"^(?=\S.*\\)", re.MULTILINE)
# Everything that is not running text: pronunciation, origin, references. For example:
# \Zy"them\ (z[imac]"th[e^]m) [Obs.]
_ANNOTATION = re.compile(r"\\[^\\]*\\|\([^()\s]*\[[^()]*\)|\[[^][]*\]")
_WORD = re.compile(r"[a-z]+")


def _make(path: Path, given: Path | None) -> None:
    import numpy as np

    from hpc_dl.data.sources._fetch import checked, find_file, scratch_folder

    with scratch_folder() as scratch:
        folders, origin = _fetch_packages(scratch, given)
        files = {name: checked(find_file(folders, name, _REMEDY), digest) for name, digest in _SHA256.items()}
        bible = find_file(folders, _kjv.FILE, _REMEDY)
        texts = [*_read_entries(files.pop("gcide.dict.dz")), *_kjv.read_verses(bible)]
        benchmarks = {name: path.read_text(encoding="utf-8").splitlines() for name, path in files.items()}
    texts_of = _split([_WORD.findall(text.lower()) for text in texts])
    counts = Counter(word for words in texts_of["train"] for word in words)
    vocabulary = sorted((word for word, n in counts.items() if n >= _MIN_COUNT), key=lambda w: (-counts[w], w))
    token_of = {word: token for token, word in enumerate(vocabulary)}
    splits: dict[str, dict[str, NDArray[Any]]] = {
        split: {"inputs": np.array([token_of[w] for words in part for w in words if w in token_of], np.int32)}
        for split, part in texts_of.items()
    }
    for file, name in (("wordsim353.tsv", "wordsim353"), ("simlex999.txt", "simlex999")):
        rows = [line.lower().split("\t") for line in benchmarks[file] if not line.startswith("#")]
        splits["test"] |= _similarities(name, rows, token_of)
    splits["test"]["analogies"] = _analogies(benchmarks["questions-words.txt"], token_of)
    SOURCE.write(
        path,
        splits,
        url="https://ftp.gnu.org/gnu/gcide",
        provenance=f"{origin}; words that occur {_MIN_COUNT} times and more, in lower case",
        class_names=vocabulary,
        input_units="number of the word",
        targets=(),
        stream=True,
    )


def _split(texts: list[list[str]]) -> dict[str, list[list[str]]]:
    """Assign the entries and verses to splits, in turn."""
    held_out = {"val": 0, "test": _PERIOD // 2}
    train = [words for number, words in enumerate(texts) if number % _PERIOD not in held_out.values()]
    return {"train": train} | {split: texts[first::_PERIOD] for split, first in held_out.items()}


def _fetch_packages(scratch: Path, given: Path | None) -> tuple[list[Path], str]:
    """Fetch and unpack the three packages; return their folders, and where they came from."""
    from hpc_dl.data.sources._fetch import fetch_package, unpack

    folders: list[Path] = []
    if given is not None:
        archives = [given] if given.is_file() else sorted(p for p in given.iterdir() if p.suffix in (".deb", ".whl"))
        for number, archive in enumerate(archives):
            (folder := scratch / str(number)).mkdir()
            folders.append(unpack(archive, folder))
        return [*folders, given], given.name
    origins = []
    for number, package in enumerate(_PACKAGES):
        (folder := scratch / str(number)).mkdir()
        unpacked, origin = fetch_package(SOURCE.name, package, folder, None)
        folders.append(unpacked)
        origins.append(origin)
    return folders, ", ".join(origins)


def _read_entries(path: Path) -> list[str]:
    """Read the entries of the dictionary as running text, without the preface."""
    with gzip.open(path, "rt", encoding="cp1252", errors="replace") as file:  # cp1252: a few curly quotes
        text = file.read()
    return [_without_annotations(entry) for entry in _HEADWORD.split(text)[1:]]


def _without_annotations(entry: str) -> str:
    previous = ""
    while previous != entry:  # brackets may be nested
        previous, entry = entry, _ANNOTATION.sub(" ", entry)
    return entry


def _similarities(name: str, rows: Iterable[Sequence[str]], token_of: dict[str, int]) -> dict[str, NDArray[Any]]:
    """Return word pairs (N, 2) and their similarity as rated by people (N,), as two datasets.

    Pairs with a word outside the vocabulary are omitted.

    Args:
        name: of the benchmark; the start of the names of the datasets.
        rows: word, word, score.
        token_of: token number of each word of the vocabulary.
    """
    import numpy as np

    known = [(token_of[a], token_of[b], float(score)) for a, b, score in rows if a in token_of and b in token_of]
    return {
        f"{name}_pairs": np.array([(a, b) for a, b, _ in known], np.int32).reshape(-1, 2),
        f"{name}_scores": np.array([score for _, _, score in known], np.float32),
    }


def _analogies(lines: Iterable[str], token_of: dict[str, int]) -> NDArray[Any]:
    """Return tokens (N, 4): the first is to the second as the third is to the fourth."""
    import numpy as np

    rows = [line.lower().split() for line in lines if not line.startswith(":")]
    known = [[token_of[word] for word in row] for row in rows if all(word in token_of for word in row)]
    return np.array(known, np.int32).reshape(-1, 4)


SOURCE = Source(
    name="gcide",
    title="A dictionary of English (GCIDE) and the King James Bible as one stream of words",
    task="embedding",
    size="4.8 million words, vocabulary of 40,000",
    license="GPL-2.0-or-later AND LicenseRef-unknown AND LGPL-2.1-only",
    shared="writer",
    fetched="Debian packages dict-gcide and bible-kjv-text, Python package gensim, 45 MB",
    make=_make,
)
