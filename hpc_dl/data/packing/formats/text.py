"""Text files as a stream of tokens for language models: characters or words.

The vocabulary is that of the training split; tokens that only occur elsewhere become ``<unknown>``.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.files.array_names import SPLIT_NAMES
from hpc_dl.data.files.format import Samples
from hpc_dl.data.packing.classes import label_type
from hpc_dl.data.packing.encodings import encoding_remedy
from hpc_dl.data.packing.file_per_sample import files_below
from hpc_dl.data.packing.formats import Format
from hpc_dl.data.packing.source import PackOptions, Source, Values
from hpc_dl.errors import DataError
from hpc_dl.formatting import shortened

SUFFIXES = (".txt", ".text", ".md")
UNKNOWN = "<unknown>"
# Scripts without spaces between words: Thai to Myanmar, Khmer, kana and Chinese characters.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
# Signs that belong to the letter before them, as in Hindi or in decomposed é.
_MARKS = "".join(chr(number) for number in range(0x300, 0x10000) if unicodedata.category(chr(number)) in ("Mn", "Mc"))
_LETTERS = rf"(?:(?![{_UNSPACED}])\w[{_MARKS}\u200c\u200d]*)+"
# A word with its apostrophes and hyphens, a character of a script without spaces with its signs, a
# line break, or any other visible character.
WORD = re.compile(rf"{_LETTERS}(?:['’-]{_LETTERS})*|[{_UNSPACED}][{_MARKS}]*|\n|[^\w\s]")
_PIECE_CHARACTERS = 1 << 20


class TextStream(Source):
    """Tokens in the order of the text; several files follow each other in the order of their names.

    Args:
        path: the file or folder.
        files: the files of each split; only ``train`` if there are no splits.
        options: how to read the text.
    """

    def __init__(self, path: Path, files: dict[str, list[Path]], options: PackOptions) -> None:
        self.path, self._known = path, options.trained_on
        self._texts = [text for texts in files.values() for text in texts]
        self._words, self._most = options.tokens == "words", options.vocabulary
        sizes = {split: sum(len(part) for part in self._tokens(texts)) for split, texts in files.items()}
        for split, size in sizes.items():
            if not size:
                raise DataError.at(files[split][0], "contains no text", remedy="fill it, or remove it")
        super().__init__(
            path=path,
            kind=f"text as {options.tokens}",
            inputs=Values((), np.dtype(np.int32)),
            targets=None,
            sizes=sizes,
            has_splits=len(sizes) > 1,
            task="language_modeling",
            attributes={"input_units": f"number of a {options.tokens.removesuffix('s')}"},
            stream=True,
            files=[text.absolute() for text in self._texts],
        )
        self.notes.append("train with `data.windows`, for example `{length: 128}`, and `data.targets: null`")
        if not self.has_splits:
            self.notes.append("`--splits` cuts the text into consecutive parts")

    def fit(self, is_training: NDArray[np.bool_]) -> None:
        """See :class:`Source`; finds the vocabulary of the training split, unless it is known."""
        if self._known is not None:
            self._use(self._known.class_names)
            return
        counts: Counter[str] = Counter()
        start = 0
        for part in self._tokens(self._texts):
            training = is_training[start : start + len(part)]
            start += len(part)
            if training.all():
                counts.update(part)
            elif training.any():
                counts.update(token for token, chosen in zip(part, training, strict=True) if chosen)
        kept = sorted(counts, key=lambda token: (-counts[token], token))[: self._most - 1]
        # The number of the unknown token is 0. Other characters are in alphabetical order, so that
        # the numbers do not depend on how often each occurs.
        self._use((UNKNOWN, *(kept if self._words else sorted(kept))))
        covered = sum(counts[token] for token in kept) / counts.total()
        self.notes.append(
            f"vocabulary of {len(self.class_names):,} {self._named}: those of the training split that occur most often "
            f"({covered:.2%} of it), and {UNKNOWN} for all others"
        )

    def _use(self, vocabulary: tuple[str, ...]) -> None:
        self.class_names = vocabulary
        self._number = {token: number for number, token in enumerate(vocabulary)}
        self.inputs = Values((), label_type(len(vocabulary)))

    def _number_of(self, token: str) -> int:
        number = self._number.get(token, self._number.get(UNKNOWN))
        if number is None:
            raise DataError.at(
                self.path, "has a token that is not in the vocabulary of the training", value=token,
                allowed=shortened(self.class_names), remedy="remove it",
            )  # fmt: skip
        return number

    @property
    def _named(self) -> str:
        return "words" if self._words else "characters"

    def blocks(self, start: int) -> Iterator[Samples]:
        """See :class:`Source`."""
        first = 0
        for part in self._tokens(self._texts):
            skip = max(0, start - first)
            first += len(part)
            if skip < len(part):
                numbers = np.fromiter(map(self._number_of, part[skip:]), self.inputs.dtype)
                yield Samples(numbers, np.empty((len(numbers), 0), np.uint8))

    def _tokens(self, texts: list[Path]) -> Iterator[list[str]]:
        for text in texts:
            for piece in self._pieces(text):
                if tokens := WORD.findall(piece) if self._words else list(piece):
                    yield tokens

    def _pieces(self, text: Path) -> Iterator[str]:
        """Yield the text in pieces that end between two words."""
        rest = ""
        try:
            with text.open(encoding="utf-8-sig") as file:
                while piece := file.read(_PIECE_CHARACTERS):
                    if "\0" in piece:
                        raise DataError.at(text, "contains a null character, so it is not text", remedy="remove it")
                    piece = rest + piece
                    end = max(piece.rfind(" "), piece.rfind("\n")) + 1 if self._words else len(piece)
                    end = end or len(piece)
                    rest = piece[end:]
                    yield piece[:end]
        except (OSError, UnicodeDecodeError) as error:
            remedy = encoding_remedy(text) if isinstance(error, UnicodeDecodeError) else ""
            raise DataError.at(text, f"cannot be read: {error}", remedy=remedy) from None
        if rest:
            yield rest


def open_text(path: Path, options: PackOptions) -> Source:
    """Open a text file, or a folder of text files: ``train.txt``, ``val.txt``, or all as one text.

    Raises:
        DataError: a file cannot be read, is not UTF-8 text, or is empty.
    """
    if not path.is_dir():
        return TextStream(path, {"train": [path]}, options)
    files = files_below(path, SUFFIXES)
    by_split: dict[str, list[Path]] = {}
    for file in files:
        parts = [part.lower() for part in (*file.relative_to(path).parent.parts, file.stem)]
        split = next((SPLIT_NAMES[part] for part in parts if part in SPLIT_NAMES), "")
        by_split.setdefault(split, []).append(file)
    if "train" not in by_split:
        source = TextStream(path, {"train": files}, options)
        if folders := sorted({file.parent.name for file in files if file.parent != path}):
            source.notes.append(f"folders are not classes; all files form one text: {shortened(folders, 5)}")
        return source
    if "" in by_split:
        raise DataError.at(by_split[""][0], "belongs to no split", remedy="move it, or name it after a split")
    return TextStream(
        path, {split: by_split[split] for split in ("train", "val", "test") if split in by_split}, options
    )


FORMAT = Format(
    ".txt, a folder of text files (a stream of characters or words)",
    lambda place: place.is_file(*SUFFIXES) or place.holds_only(*SUFFIXES),
    open_text,
    order=90,
)
