"""What neurons have to say by their synapses alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def graph_of(synapses: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """A directed graph of neurons.

    Args:
        synapses: (n, n) how many there are (from, to).

    Returns:
        ``nodes`` (n, 4): ln(1 + x) of the neurons before and after, and of the synapses from and
            to; ``edges`` (e, 2)
        from the neuron before a synapse to the one after; ``edge_features`` (e, 1): ln of the
        synapses.
    """
    connected = synapses > 0
    counts = [connected.sum(0), connected.sum(1), synapses.sum(0), synapses.sum(1)]
    return {
        "nodes": np.log1p(np.stack(counts, 1)).astype(np.float32),
        "edges": np.argwhere(connected),
        "edge_features": np.log(synapses[connected])[:, None].astype(np.float32),
    }
