"""Brains of eight worms (Caenorhabditis elegans): graphs of cells and their chemical synapses.

D. Witvliet et al., Connectomes across development reveal principles of brain maturation, Nature
596, 2021, as shipped by the C. elegans Connectome Toolbox (cect). Its LICENSE says MIT; it states
no license of the data themselves. The kind of each cell is taken from its table
``all_cell_info.csv``, after WormAtlas and S. J. Cook et al., Whole-animal connectomes of both
Caenorhabditis elegans sexes, Nature 571, 2019. Synapses are active zones that two of three
annotators saw. Gap junctions are omitted: the authors call theirs incomplete.

A sample is one animal. The six larvae are for training, one adult for validation, the other adult
for the test: a new animal, older than those in training. Every worm has nearly the same cells: the
test animal is new, but only 6 of its 219 cells are in no larva. The two sexes of Cook et al. cannot
serve as such a pair: of the connections that both have with a weight of at least five in the
toolbox, 53% have exactly the same weight; for any two of these worms, at most 16% do.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpc_dl.data.sources import Source

if TYPE_CHECKING:
    from collections.abc import Mapping

_PACKAGE = "pypi:cect==0.3.5"
_GRAPHS = "WitvlietDataReader{}.json"
_TABLE = "all_cell_info.csv"
_SHA256 = {
    _TABLE: "63c6fc5f55c90df092b24afe1cbfc96da63f577288e74621d6395fc195e6221d",
    "WitvlietDataReader1.json": "2656a6c34944bb84f1b8eed8ec5666016fbfd0b8d8db02bb160746c5afa02687",
    "WitvlietDataReader2.json": "ac972ce70e6a569d7c120f66dae535e20527293c1463f366fbe3e6fe44345d90",
    "WitvlietDataReader3.json": "e7c1b023c18402037b4499956642721126b946ff516024de19335855183c89d3",
    "WitvlietDataReader4.json": "8e6b5ca9afcaf58834aacc74cb9784a634947b2eed5238395e281f2cae4e680c",
    "WitvlietDataReader5.json": "34511bf183edecb2ed9109b17b5b33499dbc6556637fa265008a13e0ce517e7d",
    "WitvlietDataReader6.json": "e3b73f6e976e37d737ae5530933eb2d7f8e8fe80ca0b554116136ad2da1319eb",
    "WitvlietDataReader7.json": "aeff178edcc14f5e818f6c54a138bffcfd5aab27dd8153e2906de1fd6cd8669f",
    "WitvlietDataReader8.json": "3d2de8dc9e23f663d074dfbb2371367d64ec64ebc8469234e4f14ef78d539ad7",
}
_SPLITS = {"train": (1, 2, 3, 4, 5, 6), "val": (7,), "test": (8,)}  # by age: four L1 larvae, one L2, one L3, two adults
_CLASSES = ("sensory neuron", "interneuron", "motor neuron", "muscle", "other cell")
# The cell types of the table that occur in these brains, by class.
_TYPES = {
    "sensory neuron": (
        "Amphid",
        "Amphid, nociceptive",
        "Cephalic",
        "Mechanosensory",
        "O2, CO2, social signals, touch",
        "Touch",
    ),
    "interneuron": (
        "Category 4 interneuron",
        "Layer 1 interneuron",
        "Layer 1 interneuron; motorneuron in White et al., 1986",
        "Layer 2 interneuron",
        "Layer 3 interneuron",
        "Linker to pharynx",
    ),
    "motor neuron": (
        "Head motor neuron",
        "Hermaphrodite specific motor neuron",
        "Sublateral motor neuron",
        "Sublateral motor neuron; interneuron in White et al., 1986",
        "Ventral cord motor neuron",
    ),
    "muscle": ("Head muscle", "Main body muscle"),
    "other cell": (
        "Canal neuron",  # its function is unknown
        "Excretory gland",
        "GLR cell",
        "Sheath cell other than amphid sheath and phasmid",
    ),
}


def _make(path: Path, given: Path | None) -> None:
    from hpc_dl.data.sources import _connectomes
    from hpc_dl.data.sources._fetch import checked, find_file, package_files

    with package_files(SOURCE.name, _PACKAGE, given) as (folder, origin):
        files = {name: checked(find_file(folder, name), digest) for name, digest in _SHA256.items()}
        with files[_TABLE].open(newline="", encoding="utf-8") as table:
            types = {row["Cell name"]: row["Type"] for row in csv.DictReader(table)}
        animals = [animal for split_animals in _SPLITS.values() for animal in split_animals]
        graphs = [_graph(json.loads(files[_GRAPHS.format(animal)].read_bytes()), types) for animal in animals]
    rows = {split: [animals.index(animal) for animal in split_animals] for split, split_animals in _SPLITS.items()}
    SOURCE.write(
        path,
        _connectomes.split_graphs(graphs, rows),
        url="https://doi.org/10.1038/s41586-021-03778-8",
        provenance=f"{origin}; nodes: ln(1 + x) of cells before and after, chemical synapses from and to; edges from "
        "the cell before a synapse to the one after; edge_features: ln of the synapses; data sets 1 to 6 (larvae): "
        "train, 7 (adult): val, 8 (adult): test",
        class_names=_CLASSES,
        input_units="ln(1 + count)",
        inputs=_connectomes.INPUTS,
    )


def _graph(stored: Mapping[str, Any], types: Mapping[str, str]) -> dict[str, Any]:
    """Build the graph of one animal.

    Args:
        stored: ``nodes``, the names of the cells; ``connections``, by kind a matrix (from, to).
        types: cell type by cell name.
    """
    import numpy as np

    from hpc_dl.data.sources._connectomes import graph_of

    class_of = {cell_type: _CLASSES.index(name) for name, cell_types in _TYPES.items() for cell_type in cell_types}
    synapses = np.array(stored["connections"]["Generic_CS"], np.int64)
    targets = np.array([class_of[types[name]] for name in stored["nodes"]], np.int64)
    return graph_of(synapses) | {"targets": targets}


SOURCE = Source(
    name="c_elegans",
    title="Cells in the brains of eight worms (C. elegans) and their synapses, by kind of cell (Witvliet et al., 2021)",
    task="node_classification",
    size="8 graphs of 187 to 222 nodes, 4 features of a node, 1 of an edge, 5 classes of nodes",
    license="LicenseRef-unknown AND MIT",
    shared="atlas",  # the test animal is new, but 213 of its 219 cells are also in larvae
    fetched="Python package cect 0.3.5, 14 MB",
    make=_make,
)
