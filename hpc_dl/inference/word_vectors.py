"""Word vectors: similar words, analogies, and a file of the vectors."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from hpc_dl.data.files.format import staged
from hpc_dl.inference.output_file import check_output
from hpc_dl.inference.trained_model import TrainedModel
from hpc_dl.learning.abilities import ComparesWords


def similar_words(trained: TrainedModel, words: Sequence[str], count: int = 10) -> dict[str, Any]:
    """Find the words with the most similar vectors.

    Args:
        trained: a model with the ability ``compare words``.
        words: the words.
        count: number of similar words for each.

    Returns:
        ``run``, ``checkpoint``, and ``similar``: for each word a list of ``word`` and ``cosine``,
        the nearest first.

    Raises:
        DataError: a word is not in the vocabulary.
    """
    model = cast(ComparesWords, trained.model)
    return {**_origin(trained), "similar": {word: _listed(model.nearest(word, count)) for word in words}}


def complete_analogy(trained: TrainedModel, a: str, b: str, c: str, count: int = 5) -> dict[str, Any]:
    """Find the answers to "a is to b as c is to …".

    Returns:
        ``run``, ``checkpoint``, ``analogy``, and ``answers``: a list of ``word`` and ``cosine``,
        the nearest first.

    Raises:
        DataError: a word is not in the vocabulary.
    """
    model = cast(ComparesWords, trained.model)
    return {**_origin(trained), "analogy": [a, b, c], "answers": _listed(model.analogy(a, b, c, count))}


def export_vectors(trained: TrainedModel, out: Path, *, force: bool = False) -> dict[str, Any]:
    """Write the vectors in the text format of word2vec, which gensim and others read.

    The first line has the numbers of words and of dimensions, each other line a word and its
    vector. A line break in the vocabulary is written as ``</s>``, other white space as ``_``.

    Args:
        trained: a model with the ability ``compare words``.
        out: the file to write; it appears only when it is complete.
        force: replace an existing file.

    Returns:
        ``run``, ``checkpoint``, ``out``, and the numbers of ``words`` and ``dimensions``.

    Raises:
        RunError: the file exists.
    """
    check_output(out, force=force)
    vectors = cast(ComparesWords, trained.model).vectors().cpu()
    words, dimensions = vectors.shape
    with staged(out) as temporary, temporary.open("x", encoding="utf-8") as file:
        file.write(f"{words} {dimensions}\n")
        for name, vector in zip(trained.data.class_names, vectors.tolist(), strict=True):
            word = "</s>" if name == "\n" else re.sub(r"\s", "_", name)
            file.write(f"{word} {' '.join(f'{value:.7g}' for value in vector)}\n")
    return {**_origin(trained), "out": str(out), "words": words, "dimensions": dimensions}


def _origin(trained: TrainedModel) -> dict[str, Any]:
    return {"run": trained.run.name, "checkpoint": trained.checkpoint.path.name}


def _listed(found: list[tuple[str, float]]) -> list[dict[str, Any]]:
    return [{"word": word, "cosine": cosine} for word, cosine in found]
