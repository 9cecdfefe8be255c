"""Message passing on a batch of graphs, treated as one graph with unconnected parts.

Shapes: N nodes and E edges of all graphs in the batch, B graphs, F features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from hpc_dl.errors import ConfigError

#: Names of the inputs of a batch of graphs; each has ``values`` and the ``offsets`` of the graphs.
NODES, EDGES, EDGE_FEATURES = "nodes", "edges", "edge_features"

PoolingName = Literal["mean", "max"]


class Graphs(NamedTuple):
    """A batch of directed graphs as one graph.

    Attributes:
        nodes: (N, F) features of the nodes of all graphs.
        source: (E,) int64, index of the node at which each edge starts, counted over all graphs.
        target: (E,) int64, index of the node at which it ends.
        edge_features: (E, F'), or None.
        graph: (N,) int64, index of the graph of each node.
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
        """Combine a batch of ragged ``nodes``, ``edges`` and optional ``edge_features``.

        Raises:
            ConfigError: the node indices in ``edges`` were scaled.
        """
        nodes, edges, features = x[NODES], x[EDGES], x.get(EDGE_FEATURES)
        if edges.values.is_floating_point():
            raise ConfigError.at(
                "data.scaling", "also scales the node indices in `edges`", remedy="leave it at `auto` for graphs"
            )
        num_nodes = len(nodes.values)
        # The index of the first node of each edge's graph. With `output_size`, the host need not
        # wait for the GPU.
        first_node = torch.repeat_interleave(
            nodes.offsets[:-1], edges.offsets.diff(), output_size=len(edges.values)
        )  # (E,)
        source, target = (edges.values + first_node[:, None]).unbind(1)
        num_graphs = len(nodes.offsets) - 1
        graph = torch.repeat_interleave(
            torch.arange(num_graphs, device=source.device), nodes.offsets.diff(), output_size=num_nodes
        )
        table = None if features is None else _as_table(features.values)
        return cls(_as_table(nodes.values), source, target, table, graph, num_graphs)

    @property
    def num_nodes(self) -> int:
        """N, the number of nodes."""
        return len(self.nodes)


def feature_counts(shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, int]:
    """Return the number of features of a node and of an edge (0 for none).

    Args:
        shapes: shape of one node, edge, … by the name of the input.

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


def scatter_sum(messages: Tensor, index: Tensor, size: int) -> Tensor:
    """Sum messages (E, F) or (E,) by their index (E,) into (size, …); 0 without messages."""
    return messages.new_zeros(size, *messages.shape[1:]).index_add(0, index, messages)


def scatter_mean(messages: Tensor, index: Tensor, size: int, weights: Tensor | None = None) -> Tensor:
    """Average messages (E, F) by their index (E,) into (size, F); 0 without messages.

    Args:
        messages: (E, F).
        index: (E,) int64.
        size: number of indices.
        weights: (E,) positive weights of the messages; None for equal ones.
    """
    if weights is None:
        weights = messages.new_ones(len(messages))
    share = weights / scatter_sum(weights, index, size).index_select(0, index)
    return scatter_sum(messages * share[:, None], index, size)


def scatter_max(messages: Tensor, index: Tensor, size: int) -> Tensor:
    """Take the maximum of messages (E, F) by their index (E,), per feature; 0 without messages."""
    zeros = messages.new_zeros(size, *messages.shape[1:])
    places = index[:, None].expand_as(messages)
    return zeros.scatter_reduce(0, places, messages, "amax", include_self=False)


class EdgeWeights(nn.Module):
    """A positive weight for each edge: softplus of a linear function of its features."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(num_features, 1)

    def forward(self, graphs: Graphs) -> Tensor:
        """Return the weights (E,)."""
        weights: Tensor = functional.softplus(self.linear(graphs.edge_features)).squeeze(1)
        return weights


def edge_weights(requested: bool, num_features: int) -> EdgeWeights | None:
    """Return the layer that weights the edges, or None if it is not requested.

    Raises:
        ConfigError: the edges have no features.
    """
    if requested and not num_features:
        raise ConfigError.at(
            "model.edge_weights",
            "needs edge features, and these data have none",
            value=True,
            remedy=f"set it to false, or add `{EDGE_FEATURES}` to data.inputs",
        )
    return EdgeWeights(num_features) if requested else None


class GraphHead(nn.Module):
    """The outputs of nodes, or of whole graphs, computed from the hidden features of the nodes."""

    def __init__(self, width: int, num_outputs: int, pooling: PoolingName | None) -> None:
        """Build the layer.

        Args:
            width: hidden features of a node.
            num_outputs: outputs of each node, or of each graph.
            pooling: how the nodes of a graph are combined; None for outputs of each node.
        """
        super().__init__()
        self.pool = {"mean": scatter_mean, "max": scatter_max}[pooling] if pooling else None
        self.linear = nn.Linear(width, num_outputs)

    def forward(self, hidden: Tensor, graphs: Graphs) -> Tensor:
        """Map (N, width) to (N, num_outputs), or with pooling to (B, num_outputs)."""
        if self.pool is not None:
            hidden = self.pool(hidden, graphs.graph, graphs.num_graphs)
        outputs: Tensor = self.linear(hidden)
        return outputs


def _as_table(values: Tensor) -> Tensor:
    """Convert (N, F) or (N,) numbers to floats (N, F)."""
    table = values[:, None] if values.ndim == 1 else values
    return table if table.is_floating_point() else table.to(torch.get_default_dtype())
