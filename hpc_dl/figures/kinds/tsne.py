"""Learned representations with neighbors kept together (t-SNE; van der Maaten and Hinton, 2008)."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from hpc_dl.figures.kind import FigureKind
from hpc_dl.figures.kinds.embeddings import scatter
from hpc_dl.figures.representations import no_representations, representations

if TYPE_CHECKING:
    from hpc_dl.figures.subject import Subject

_PERPLEXITY = 30  # the number of neighbors that count, as in scikit-learn and in the paper's examples


class NeighborEmbedding(FigureKind):
    """The same vectors as in ``embeddings``.

    Only who is close to whom has a meaning, not the axes, nor the distance or size of groups.
    """

    def unfit(self, subject: Subject) -> str:
        """Whether the model has vectors of words or of samples, and scikit-learn is installed."""
        if reason := no_representations(subject):
            return reason
        if subject.spec.sizes[subject.split] < 2:
            return "needs two samples"
        return "" if find_spec("sklearn") else "needs scikit-learn: `pip install 'hpc_dl[baseline]'`"

    def draw(self, subject: Subject) -> Figure:
        """Draw a point for each word or sample."""
        from sklearn.manifold import TSNE

        found = representations(subject)
        perplexity = min(_PERPLEXITY, (len(found.points) - 1) / 3)
        projection = TSNE(init="random", perplexity=perplexity, random_state=0)
        return scatter(found, projection.fit_transform(found.points), ("t-SNE 1", "t-SNE 2"))
