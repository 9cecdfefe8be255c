"""Scores of each class against all others, for ROC and precision-recall curves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from hpc_dl.data.spec import IGNORED

if TYPE_CHECKING:
    from hpc_dl.figures.subject import Subject

_MOST_CLASSES = 10


def no_scores(subject: Subject) -> str:
    """Why there are no scores of a few classes or labels; empty if there are."""
    if reason := subject.no_outputs("classification", "multilabel"):
        return reason
    if (count := subject.spec.num_outputs) > _MOST_CLASSES:
        return f"applies to at most {_MOST_CLASSES} classes, not to {count}"
    return "" if next(one_against_rest(subject), None) else f"needs two classes among the {subject.split_name} samples"


def one_against_rest(subject: Subject) -> Iterator[tuple[str, NDArray[Any], NDArray[Any]]]:
    """Yield name, scores (n,) and membership (n,) bool of each class that some samples have.

    Of two classes that exclude each other, only the second is yielded.
    """
    observed, names = subject.observations, subject.class_names
    if subject.spec.task == "multilabel":
        for number, name in enumerate(names):
            known = (observed.targets[:, number] != IGNORED).numpy()
            scores = observed.outputs[:, number].numpy()[known]
            positive = observed.targets[:, number].numpy()[known] > 0
            if 0 < positive.sum() < len(positive):
                yield name, scores, positive
        return
    probabilities, classes = observed.probabilities()
    for number in range(1 if len(names) == 2 else 0, len(names)):
        positive = classes == number
        if 0 < positive.sum() < len(positive):
            yield names[number], probabilities[:, number], positive
