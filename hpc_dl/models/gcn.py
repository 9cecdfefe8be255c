"""Graph convolutional network (GCN): averages over neighborhoods (Kipf and Welling, 2017)."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from hpc_dl.data.spec import DataSpec
from hpc_dl.learning.abilities import Ability
from hpc_dl.learning.recipe import TrainingRecipe
from hpc_dl.learning.supervised import Supervised
from hpc_dl.models.base import ModelConfig
from hpc_dl.nn.activations import ActivationSetting, activation, pieces
from hpc_dl.nn.graphs import GraphHead, Graphs, PoolingName, edge_weights, feature_counts, scatter_sum
from hpc_dl.schema import Unit


class GCNConfig(ModelConfig):
    """Layers that map the features of each node, then sum them over its neighborhood, normalized.

    For a target per graph, a linear layer follows the pooled nodes.
    """

    inputs = ("graph",)
    tasks = ("node_classification", "classification", "multilabel", "regression")
    small = {"depth": 2, "width": 16}

    name: Literal["gcn"] = "gcn"
    """Name of the architecture."""
    depth: Annotated[int, Field(ge=1), Unit("layers")] = 2
    """Number of graph convolutions; a node is influenced by nodes up to this many edges away."""
    width: Annotated[int, Field(ge=1), Unit("features of a node")] = 64
    """Hidden features of each node; 16 in the paper."""
    activation: ActivationSetting = "relu"
    """Activation after each graph convolution but one that outputs classes."""
    dropout: Annotated[float, Field(ge=0, lt=1), Unit("probability")] = 0.0
    """Dropout probability of the inputs of each layer, the first included (Srivastava et al.,
    2014); 0.5 in the paper."""
    directed: bool = False
    """Pass messages along edges and against them with separate weights (Rossi et al., 2023). False
    makes the graph undirected first, (A + Aᵀ) / 2, as in the paper; edges that are stored in both
    directions are not changed by this."""
    self_weight: Annotated[float, Field(gt=0)] = 1.0
    """Weight λ of the edge of each node to itself; increase it where nodes have many neighbors."""
    edge_weights: bool = False
    """Weight the edges by a learned function of their features (``edge_features``): softplus of a
    linear function."""
    output: Literal["convolution", "linear"] = "convolution"
    """What outputs the classes of the nodes: the last convolution, as in the paper, or a linear
    layer after it, so that a node's class depends on ``width`` features of its neighborhood."""
    pooling: PoolingName = "mean"
    """How the nodes of a graph are combined for a target per graph."""

    def module(self, data: DataSpec, recipe: TrainingRecipe) -> GCN:
        """Build the module for graphs.

        Raises:
            ConfigError: the edges have no features for their weights, or the inputs are not those
                of a graph.
        """
        return GCN(self, data, recipe)


class GCN(Supervised):
    """Graph convolutions; for a target per graph (or if requested), then a linear layer."""

    def __init__(self, config: GCNConfig, data: DataSpec, recipe: TrainingRecipe) -> None:
        super().__init__(recipe)
        num_features, num_edge_features = feature_counts({field.name: field.shape for field in data.inputs})
        self.weigh = edge_weights(config.edge_weights, num_edge_features)
        self.self_weight = config.self_weight
        self.directed = config.directed
        pooling = None if data.task == "node_classification" else config.pooling
        has_head = pooling is not None or config.output == "linear"
        sizes = [num_features, *[config.width] * config.depth]
        if not has_head:
            sizes[-1] = data.num_outputs
        activated = sizes[1:] if has_head else sizes[1:-1]
        self.activations = nn.ModuleList(activation(config.activation, num_out) for num_out in activated)
        factors = [pieces(config.activation)] * len(activated) + [1]
        self.layers = nn.ModuleList(
            nn.ModuleList(
                nn.Linear(num_in, num_out * factor, bias=number == 0) for number in range(2 if config.directed else 1)
            )
            for (num_in, num_out), factor in zip(itertools.pairwise(sizes), factors, strict=False)
        )
        for layer in self.layers.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        self.dropout = nn.Dropout(config.dropout)
        self.head = GraphHead(config.width, data.num_outputs, pooling) if has_head else None

    @property
    def abilities(self) -> tuple[Ability, ...]:
        """Without a linear layer the outputs are a convolution, and no function of a node alone."""
        return super().abilities if self.head is not None else ("predict",)

    def forward(self, x: Mapping[str, Any]) -> Tensor:
        """Map graphs (ragged ``nodes``, ``edges``, optional ``edge_features``) to outputs.

        Returns:
            (N, num_outputs) for ``node_classification``, else (B, num_outputs).
        """
        graphs = Graphs.of(x)
        adjacencies = self._adjacencies(graphs)
        hidden = graphs.nodes
        for number, directions in enumerate(self.layers):
            assert isinstance(directions, nn.ModuleList)
            hidden = self._convolve(self.dropout(hidden), directions, adjacencies)
            if number < len(self.activations):
                hidden = self.activations[number](hidden)
        return hidden if self.head is None else self.head(self.dropout(hidden), graphs)

    @staticmethod
    def _convolve(hidden: Tensor, directions: nn.ModuleList, adjacencies: list[Adjacency]) -> Tensor:
        """Return Â H W + b, summed over the directions of the edges: (N, F) to (N, F')."""
        first = directions[0]
        assert isinstance(first, nn.Linear)
        sums = [
            adjacency.multiply(functional.linear(hidden, layer.weight))  # type: ignore[arg-type]
            for layer, adjacency in zip(directions, adjacencies, strict=True)
        ]
        return functools.reduce(torch.add, sums) + first.bias

    def _adjacencies(self, graphs: Graphs) -> list[Adjacency]:
        """Return one adjacency matrix for each direction, or a single one for undirected edges."""
        source, target, size = graphs.source, graphs.target, graphs.num_nodes
        weights = self.weigh(graphs) if self.weigh is not None else graphs.nodes.new_ones(len(source))
        if self.directed:
            ends = [(source, target, weights), (target, source, weights)]
        else:
            ends = [(torch.cat([source, target]), torch.cat([target, source]), torch.cat([weights, weights]) / 2)]
        return [Adjacency(*edges, size, self.self_weight) for edges in ends]


class Adjacency:
    """The normalized adjacency matrix Â = D^-1/2 (A + λI) D'^-1/2, as a list of edges (sparse).

    D and D' are the diagonal matrices of the row sums and of the column sums of A + λI.
    """

    def __init__(self, source: Tensor, target: Tensor, weights: Tensor, num_nodes: int, self_weight: float) -> None:
        """Compute the normalized weights.

        Args:
            source: (E,) index of the node at which each edge starts.
            target: (E,) index of the node at which it ends.
            weights: (E,) weights of the edges, not negative.
            num_nodes: N.
            self_weight: λ, positive.
        """
        self.source, self.target = source, target
        rows = (self_weight + scatter_sum(weights, target, num_nodes)).rsqrt()
        columns = (self_weight + scatter_sum(weights, source, num_nodes)).rsqrt()
        self.weights = weights * rows.index_select(0, target) * columns.index_select(0, source)  # (E,)
        self.own = self_weight * rows * columns  # (N,)

    def multiply(self, hidden: Tensor) -> Tensor:
        """Multiply by the features of the nodes, (N, F) to (N, F)."""
        messages = hidden.index_select(0, self.source) * self.weights[:, None]
        return scatter_sum(messages, self.target, len(hidden)) + hidden * self.own[:, None]
