"""The mushroom body of a fly larva: graphs of neurons and their synapses, one per hemisphere.

K. Eichler et al., The complete connectome of a learning and memory center in an insect brain,
Nature 548, 2017, as shipped by graspologic. Its LICENSE.txt says MIT; it states no license of the
data themselves. The left hemisphere is for training, the right one for the test. There is no
validation split: it would have to be cut out of the only training graph.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hpc_dl.data.sources import Source

_FOLDER = "graspologic/datasets/drosophila"
_SHA256 = {
    "left_adjacency.csv": "f23ba630f10dff95164ddbbdccf7d4fe1ac01a9a8ed77db26069af4a6248a1cf",
    "left_cell_labels.csv": "a733652a33d5dde5c7cbdc9d8c0e679680cd000dc11edf3ea762a4da43b764c9",
    "right_adjacency.csv": "b9684d323e3f91ac5bf8c3691ff3e0635ef40fa2dee8e048161633760c84791d",
    "right_cell_labels.csv": "80547ac9df6b3fc5abe5844c04bc5da56b48c7cac5eb13ab3cc2f8695cd6de1d",
}
_SPLITS = {"train": "left", "test": "right"}
_CELLS = {"K": "Kenyon cell", "I": "input neuron", "O": "output neuron", "P": "projection neuron"}


def _make(path: Path, given: Path | None) -> None:
    from hpc_dl.data.sources import _connectomes
    from hpc_dl.data.sources._fetch import package_files

    with package_files(SOURCE.name, _connectomes.GRASPOLOGIC, given) as (folder, origin):
        graphs = [_graph(folder / _FOLDER, side) for side in _SPLITS.values()]
    SOURCE.write(
        path,
        _connectomes.split_graphs(graphs, {split: [number] for number, split in enumerate(_SPLITS)}),
        url="https://doi.org/10.1038/nature23455",
        provenance=f"{origin}; nodes: ln(1 + x) of neurons before and after, synapses from and to; edges from the "
        "neuron before a synapse to the one after; edge_features: ln of the synapses; left: train, right: test",
        class_names=tuple(_CELLS.values()),
        input_units="ln(1 + count)",
        inputs=_connectomes.INPUTS,
    )


def _graph(folder: Path, side: str) -> dict[str, Any]:
    """Build the graph of one hemisphere."""
    import numpy as np

    from hpc_dl.data.sources._connectomes import graph_of
    from hpc_dl.data.sources._fetch import checked

    adjacency, cells = (folder / f"{side}_{table}.csv" for table in ("adjacency", "cell_labels"))
    synapses = np.loadtxt(checked(adjacency, _SHA256[adjacency.name]), np.int64)  # (from, to)
    labels = [list(_CELLS).index(cell) for cell in checked(cells, _SHA256[cells.name]).read_text().split()]
    return graph_of(synapses) | {"targets": np.array(labels, np.int64)}


SOURCE = Source(
    name="fly_mushroom_body",
    title="Neurons of a fly larva's mushroom body and their synapses, by type of cell (Eichler et al., 2017)",
    task="node_classification",
    size="2 graphs of 209 and 213 nodes, 4 features of a node, 1 of an edge, 4 classes of nodes",
    license="LicenseRef-unknown AND MIT",
    shared="subject",  # both hemispheres of one larva
    fetched="Python package graspologic 3.4.4, 5 MB",
    make=_make,
)
