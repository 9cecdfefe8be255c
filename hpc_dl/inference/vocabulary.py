"""Tokens as text, and text as tokens, for language models of characters and of words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from hpc_dl.data.packing.formats.text import UNKNOWN, WORD
from hpc_dl.errors import DataError, nearest


class Vocabulary:
    """The tokens of a data set by their numbers.

    Args:
        names: the token with number 0, 1, …; if all are single characters, a text is read as
            characters, otherwise as words.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.of_characters = all(len(name) == 1 for name in self.names if name != UNKNOWN)
        self._number = {name: number for number, name in enumerate(self.names)}

    def __contains__(self, token: str) -> bool:
        return token in self._number

    def tokens(self, text: str, where: str) -> list[int]:
        """Return the numbers of the tokens of a text; unknown ones get the number of ``<unknown>``.

        Args:
            text: not empty.
            where: what the text is, for messages.

        Raises:
            DataError: the text is empty, or a token is unknown and the vocabulary has no number for
                unknown ones.
        """
        found = list(text) if self.of_characters else WORD.findall(text)
        if not found:
            raise DataError.at(where, "contains no tokens", value=text)
        for token in found:
            if token not in self and UNKNOWN not in self:
                kind = "character" if self.of_characters else "word"
                raise DataError.at(
                    where,
                    f"contains a {kind} that the training data do not have",
                    value=token,
                    remedy=nearest(token, self.names),
                )
        return [self._number[token if token in self else UNKNOWN] for token in found]

    def text(self, tokens: Iterable[int]) -> str:
        """Return the text of tokens; words are separated by spaces, except around punctuation."""
        names = [self.names[token] for token in tokens]
        if self.of_characters:
            return "".join(names)
        spaced = re.sub(r" *\n *", "\n", " ".join(names))
        return re.sub(r" (?=[,.;:!?)\]])|(?<=[(\[]) ", "", spaced)
