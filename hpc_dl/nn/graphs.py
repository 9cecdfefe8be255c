"""Message passing on a batch of graphs, which is one graph whose parts are not connected.

Letters: N nodes and E edges of all graphs of a batch, B graphs, F features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from hpc_dl.errors import ConfigError

#: The inputs of a batch of graphs by their names; each has ``values`` and the graphs' ``offsets``
#: in them.
NODES, EDGES, EDGE_FEATURES = "nodes", "edges", "edge_features"

PoolingName = Literal["mean", "max"]


class Graphs(NamedTuple):
    """A batch of directed graphs as one.

    Attributes:
        nodes: (N, F) features of the nodes of all graphs.
        source: (E,) int64, the node from which each edge comes, counted over all graphs.
        target: (E,) int64, the node to which it leads.
        edge_features: (E, F'), or None where edges have none.
        graph: (N,) int64, which graph a node belongs to.
        num_graphs: B.
    """

    nodes: Tensor
    source: Tensor
    target: Tensor
    edge_features: Tensor | None
    graph: Tensor
    num_graphs: int

    @classmethod
    def of(cls, x: Mapping[str, Any]) -> Graphs:
        """The batch that a network gets: ragged ``nodes``, ``edges`` and perhaps ``edge_features``.

        Raises:
            ConfigError: the numbers of nodes were scaled.
        """
        nodes, edges, features = x[NODES], x[EDGES], x.get(EDGE_FEATURES)
        if edges.values.is_floating_point():
            raise ConfigError.at(
                "data.scaling", "scales the numbers of nodes in `edges`, too", remedy="leave it at auto for graphs"
            )
        num_nodes = len(nodes.values)
        # The nodes before those of an edge's graph; with the size known, a GPU need not be waited
        # for.
        before = torch.repeat_interleave(
            nodes.offsets[:-1], edges.offsets.diff(), output_size=len(edges.values)
        )  # (E,)
        source, target = (edges.values + before[:, None]).unbind(1)
        num_graphs = len(nodes.offsets) - 1
        graph = torch.repeat_interleave(
            torch.arange(num_graphs, device=source.device), nodes.offsets.diff(), output_size=num_nodes
        )
        table = None if features is None else _as_table(features.values)
        return cls(_as_table(nodes.values), source, target, table, graph, num_graphs)

    @property
    def num_nodes(self) -> int:
        """N."""
        return len(self.nodes)


def feature_counts(shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, int]:
    """Features of a node, and of an edge (0 for none).

    Args:
        shapes: of one node, edge, … by the names of the inputs.

    Raises:
        ConfigError: the inputs are not those of a graph.
    """
    for name, shape in shapes.items():
        if name not in (NODES, EDGES, EDGE_FEATURES):
            problem, value = "a graph has no such input", name
        elif len(shape) > 1 or (name == EDGES and shape != (2,)):
            problem, value = f"`{name}` has the wrong shape for a graph", f"{name} {shape} each"
        else:
            continue
        raise ConfigError.at(
            "data.inputs", problem, value=value, allowed=f"{NODES} (n, F), {EDGES} (e, 2), {EDGE_FEATURES} (e, F')"
        )
    nodes, edges = (shapes.get(name) for name in (NODES, EDGE_FEATURES))
    return sum(nodes or (1,)), 0 if edges is None else sum(edges or (1,))


def summed(messages: Tensor, index: Tensor, size: int) -> Tensor:
    """Add up messages (E, F) or (E,) by their index (E,), to (size, …); 0 where none arrives."""
    return messages.new_zeros(size, *messages.shape[1:]).index_add(0, index, messages)


def averaged(messages: Tensor, index: Tensor, size: int, weights: Tensor | None = None) -> Tensor:
    """The mean of the messages (E, F) of each index, weighted by (E,) positive numbers; 0 where
    none arrives.
    """
    if weights is None:
        weights = messages.new_ones(len(messages))
    share = weights / summed(weights, index, size).index_select(0, index)
    return summed(messages * share[:, None], index, size)


def largest(messages: Tensor, index: Tensor, size: int) -> Tensor:
    """The largest of the messages (E, F) of each index, feature by feature; 0 where none arrives."""
    zeros = messages.new_zeros(size, *messages.shape[1:])
    places = index[:, None].expand_as(messages)
    return zeros.scatter_reduce(0, places, messages, "amax", include_self=False)


class EdgeWeights(nn.Module):
    """One positive number for each edge, softplus of a linear function of its features."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(num_features, 1)

    def forward(self, graphs: Graphs) -> Tensor:
        """The weights (E,)."""
        weights: Tensor = functional.softplus(self.linear(graphs.edge_features)).squeeze(1)
        return weights


def edge_weights(wanted: bool, num_features: int) -> EdgeWeights | None:
    """What weighs the edges, if that is wanted.

    Raises:
        ConfigError: edges have no features.
    """
    if wanted and not num_features:
        raise ConfigError.at(
            "model.edge_weights",
            "the edges of these data have no features",
            value=True,
            remedy=f"set it to false, or add `{EDGE_FEATURES}` to data.inputs",
        )
    return EdgeWeights(num_features) if wanted else None


class GraphHead(nn.Module):
    """The outputs of a graph's nodes, or of whole graphs, from the nodes' hidden features."""

    def __init__(self, width: int, num_outputs: int, pooling: PoolingName | None) -> None:
        """Build.

        Args:
            width: hidden features of a node.
            num_outputs: numbers to give for each node, or graph.
            pooling: how the nodes of a graph become one; None for outputs of each node.
        """
        super().__init__()
        self.pool = {"mean": averaged, "max": largest}[pooling] if pooling else None
        self.linear = nn.Linear(width, num_outputs)

    def forward(self, hidden: Tensor, graphs: Graphs) -> Tensor:
        """Map (N, width) to (N, num_outputs), or to (B, num_outputs) by pooling."""
        if self.pool is not None:
            hidden = self.pool(hidden, graphs.graph, graphs.num_graphs)
        outputs: Tensor = self.linear(hidden)
        return outputs


def _as_table(values: Tensor) -> Tensor:
    """(N, F) floats of (N, F) or (N,) numbers."""
    table = values[:, None] if values.ndim == 1 else values
    return table if table.is_floating_point() else table.to(torch.get_default_dtype())
