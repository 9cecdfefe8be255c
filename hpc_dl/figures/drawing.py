"""Drawing the figures of a run into a folder."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hpc_dl.figures import kinds

if TYPE_CHECKING:
    from hpc_dl.figures.subject import Subject

MOST_AT_END = 4


def draw(subject: Subject, names: Sequence[str], folder: Path, suffix: str = "png") -> list[Path]:
    """Draw figures into a folder, which is created; existing files are replaced.

    Args:
        subject: what is drawn.
        names: of kinds that apply to it.
        folder: gets ``NAME.png``, or with another suffix.
        suffix: ``png`` or ``svg``, or ``gif`` for kinds that are animated.

    Returns:
        The files.

    Raises:
        OSError: a file cannot be written.
    """
    from hpc_dl.figures.style import save, save_animation, style

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    with style(), _undisturbed(subject):
        for name in names:
            paths.append(folder / f"{name}.{suffix}")
            kind = kinds.kind(name)
            if suffix == "gif":
                save_animation(kind.animation(subject), paths[-1])
            else:
                save(kind.draw(subject), paths[-1])
    return paths


def fitting(subject: Subject) -> list[str]:
    """The names of the kinds of figures that a run has."""
    with _undisturbed(subject):
        return [name for name in kinds.names() if not _unfit(subject, name)]


def at_end(subject: Subject) -> list[str]:
    """The names of the few figures that say most about a finished run."""
    places = {name: kinds.kind(name).at_end for name in kinds.names()}
    first = sorted((name for name in places if places[name]), key=lambda name: (places[name], name))
    with _undisturbed(subject):
        chosen = (name for name in first if not _unfit(subject, name))
        return list(itertools.islice(chosen, MOST_AT_END))


def _unfit(subject: Subject, name: str) -> str:
    kind = kinds.kind(name)
    if kind.needs_model and subject.model is None:
        return "needs the model"
    return kind.unfit(subject)


@contextmanager
def _undisturbed(subject: Subject) -> Iterator[None]:
    """Keep the random state, and the mode of the model; no gradients are left."""
    if subject.model is None:
        yield
        return
    from hpc_dl.figures.undisturbed import undisturbed

    try:
        with undisturbed(subject.model):
            yield
    finally:
        subject.model.zero_grad(set_to_none=True)
