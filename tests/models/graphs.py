"""Small random graphs for the tests of graph neural networks."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from hpc_dl.data.ragged import Ragged
from hpc_dl.data.spec import DataSpec, FieldSpec

NUM_FEATURES, NUM_EDGE_FEATURES, NUM_OUTPUTS = 5, 2, 3
SIZES = (6, 1, 9, 4)


def graph_data(task: str) -> DataSpec:
    """The specification of graphs whose nodes and edges have features."""
    several = {"node_classification": (), "classification": ()}.get(task, (NUM_OUTPUTS,))
    return DataSpec(
        inputs=(
            FieldSpec("nodes", (NUM_FEATURES,), "float32", ragged=True),
            FieldSpec("edges", (2,), "int64", ragged=True),
            FieldSpec("edge_features", (NUM_EDGE_FEATURES,), "float32", ragged=True),
        ),
        targets=(FieldSpec("targets", several, "int64", ragged=task == "node_classification"),),
        task=task,  # type: ignore[arg-type]
        num_outputs=NUM_OUTPUTS,
        class_names=("a", "b", "c"),
        sizes={"train": 4},
        file="/data/graphs.h5",
        checksum="sha256:0",
        name="graphs",
    )


def batch(seed: int, sizes: tuple[int, ...] = SIZES, density: float = 0.4) -> dict[str, Any]:
    """Random directed graphs; one has a single node and no edge."""
    generator = np.random.default_rng(seed)
    nodes = [generator.normal(size=(size, NUM_FEATURES)) for size in sizes]
    edges = [np.argwhere((generator.random((size, size)) < density) & ~np.eye(size, dtype=bool)) for size in sizes]
    features = [generator.normal(size=(len(part), NUM_EDGE_FEATURES)) for part in edges]
    return {
        "nodes": _ragged(nodes, torch.float32),
        "edges": _ragged(edges, torch.int64),
        "edge_features": _ragged(features, torch.float32),
    }


def permuted(x: dict[str, Any], seed: int = 0) -> dict[str, Any]:
    """The same graphs with nodes and edges in another order."""
    generator = np.random.default_rng(seed)
    nodes, edges, features = [], [], []
    for number in range(len(x["nodes"].offsets) - 1):
        part = {name: value.part(slice(number, number + 1)).values.numpy() for name, value in x.items()}
        order, shuffled = (generator.permutation(len(part[name])) for name in ("nodes", "edges"))
        nodes.append(part["nodes"][order])
        edges.append(np.argsort(order)[part["edges"]][shuffled])
        features.append(part["edge_features"][shuffled])
    return {
        "nodes": _ragged(nodes, torch.float32),
        "edges": _ragged(edges, torch.int64),
        "edge_features": _ragged(features, torch.float32),
    }


def _ragged(parts: list[Any], dtype: torch.dtype) -> Ragged:
    offsets = torch.tensor(np.cumsum([0, *map(len, parts)]))
    return Ragged(torch.from_numpy(np.concatenate(parts)).to(dtype), offsets)
