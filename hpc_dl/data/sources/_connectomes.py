"""Graphs of neurons or brain regions, shared by the connectome data sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.ragged import Ragged

#: Package of the fly's and the mice's connectomes.
GRASPOLOGIC = "pypi:graspologic==3.4.4"
#: Datasets that form the input of a graph.
INPUTS = ("nodes", "edges", "edge_features")

Graph = Mapping[str, NDArray[Any]]


def graph_of(synapses: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Build a directed graph of neurons from the numbers of synapses between them.

    Args:
        synapses: (n, n) number of synapses (from, to).

    Returns:
        ``nodes`` (n, 4): ln(1 + x) of the number of presynaptic and postsynaptic partners, and of
        the number of incoming and outgoing synapses; ``edges`` (e, 2), from the presynaptic to the
        postsynaptic neuron; ``edge_features`` (e, 1): ln of the number of synapses.
    """
    connected = synapses > 0
    counts = [connected.sum(0), connected.sum(1), synapses.sum(0), synapses.sum(1)]
    return {
        "nodes": np.log1p(np.stack(counts, 1)).astype(np.float32),
        "edges": np.argwhere(connected),
        "edge_features": np.log(synapses[connected])[:, None].astype(np.float32),
    }


def split_graphs(graphs: Sequence[Graph], rows: Mapping[str, Sequence[int]]) -> dict[str, dict[str, Ragged]]:
    """Return the datasets of each split.

    Args:
        graphs: one sample each, arrays by dataset name.
        rows: which of the graphs belong to which split.
    """
    return {
        split: {name: Ragged.of([graphs[row][name] for row in chosen]) for name in graphs[0]}
        for split, chosen in rows.items()
    }
