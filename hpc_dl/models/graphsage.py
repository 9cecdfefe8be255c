"""GraphSAGE: each node learns from itself and from a summary of its neighbors (Hamilton, Ying and
Leskovec, 2017).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from hpc_dl.data.spec import DataSpec
from hpc_dl.errors import ConfigError
from hpc_dl.learning.recipe import TrainingRecipe
from hpc_dl.learning.supervised import Supervised
from hpc_dl.models.base import ModelConfig
from hpc_dl.nn.activations import ActivationName, activation
from hpc_dl.nn.graphs import GraphHead, Graphs, PoolingName, edge_weights, feature_counts, scatter_max, scatter_mean
from hpc_dl.schema import Unit

Aggregation = Literal["mean", "max"]


class GraphSAGEConfig(ModelConfig):
    """Layers that add a linear function of each node to linear functions of its neighbors' mean or
    maximum.
    """

    inputs = ("graph",)
    tasks = ("node_classification", "classification", "multilabel", "regression")
    small = {"depth": 2, "width": 16}

    name: Literal["graphsage"] = "graphsage"
    """Which architecture."""
    depth: Annotated[int, Field(ge=1), Unit("layers")] = 2
    """Layers: a node sees so many steps far."""
    width: Annotated[int, Field(ge=1), Unit("features of a node")] = 64
    """Hidden features of each node."""
    aggregation: Aggregation = "mean"
    """How neighbors are summed up: their mean, or the maximum of a dense layer and ReLU on each of
    them. All of them are taken; the authors drew some at random, for graphs with nodes of very many
    neighbors."""
    directed: bool = True
    """Sum up the nodes that an edge comes from and those that it leads to separately, with weights
    of their own (Rossi et al., 2023); false takes all neighbors alike."""
    edge_weights: bool = False
    """Let edges count in the mean by their features (``edge_features``): softplus of a linear
    function, which is learned."""
    normalize: bool = False
    """Scale each node's hidden features to length 1 after each layer, as the authors did."""
    activation: ActivationName = "relu"
    """Activation after each layer."""
    dropout: Annotated[float, Field(ge=0, lt=1), Unit("probability")] = 0.0
    """Share of the hidden features switched off in training (Srivastava et al., 2014)."""
    pooling: PoolingName = "mean"
    """How a graph's nodes become one, where whole graphs are judged."""

    def module(self, data: DataSpec, recipe: TrainingRecipe) -> GraphSAGE:
        """The module for graphs.

        Raises:
            ConfigError: edges cannot be weighed, or the inputs are not those of a graph.
        """
        return GraphSAGE(self, data, recipe)


class GraphSAGE(Supervised):
    """Layers of aggregation, then a linear layer on each node or on each graph."""

    def __init__(self, config: GraphSAGEConfig, data: DataSpec, recipe: TrainingRecipe) -> None:
        super().__init__(recipe)
        num_features, num_edge_features = feature_counts({field.name: field.shape for field in data.inputs})
        if config.edge_weights and config.aggregation != "mean":
            raise ConfigError.at("model.edge_weights", "goes with `aggregation: mean` only", value=True)
        self.weigh = edge_weights(config.edge_weights, num_edge_features)
        sizes = [num_features, *[config.width] * config.depth]
        self.layers = nn.ModuleList(
            SAGELayer(num_in, num_out, config.aggregation, config.directed)
            for num_in, num_out in itertools.pairwise(sizes)
        )
        self.activation = activation(config.activation)
        self.dropout = nn.Dropout(config.dropout)
        self.normalize = config.normalize
        self.head = GraphHead(
            config.width, data.num_outputs, None if data.task == "node_classification" else config.pooling
        )

    def forward(self, x: Mapping[str, Any]) -> Tensor:
        """Map graphs (``nodes``, ``edges``, perhaps ``edge_features``, all ragged) to outputs.

        Returns:
            (all nodes, num_outputs) for ``node_classification``, else (graphs, num_outputs).
        """
        graphs = Graphs.of(x)
        weights = None if self.weigh is None else self.weigh(graphs)
        hidden = graphs.nodes
        for layer in self.layers:
            hidden = self.activation(layer(hidden, graphs.source, graphs.target, weights))
            if self.normalize:
                hidden = functional.normalize(hidden)
            hidden = self.dropout(hidden)
        outputs: Tensor = self.head(hidden, graphs)
        return outputs


class SAGELayer(nn.Module):
    """A linear function of each node, plus one of its neighbors' mean or maximum for each
    direction.
    """

    def __init__(self, num_in: int, num_out: int, aggregation: Aggregation, directed: bool) -> None:
        """Build.

        Args:
            num_in: features of a node.
            num_out: features of a node that it gives.
            aggregation: of the neighbors.
            directed: whether both directions have weights of their own.
        """
        super().__init__()
        self.own = nn.Linear(num_in, num_out)
        self.pool = nn.Sequential(nn.Linear(num_in, num_in), nn.ReLU()) if aggregation == "max" else None
        self.incoming = nn.Linear(num_in, num_out, bias=False)
        self.outgoing = nn.Linear(num_in, num_out, bias=False) if directed else None

    def forward(self, hidden: Tensor, source: Tensor, target: Tensor, weights: Tensor | None) -> Tensor:
        """Map (N, num_in) to (N, num_out).

        Args:
            hidden: (N, num_in) features of the nodes.
            source: (E,) where edges come from.
            target: (E,) where they lead to.
            weights: (E,) of the edges in the mean, or None.
        """
        near = hidden if self.pool is None else self.pool(hidden)
        if self.outgoing is not None:
            around = self.incoming(self._summary(near, source, target, weights))
            around = around + self.outgoing(self._summary(near, target, source, weights))
        else:
            twice = None if weights is None else torch.cat([weights, weights])
            ends = torch.cat([source, target]), torch.cat([target, source])
            around = self.incoming(self._summary(near, *ends, twice))
        outputs: Tensor = self.own(hidden) + around
        return outputs

    def _summary(self, near: Tensor, source: Tensor, target: Tensor, weights: Tensor | None) -> Tensor:
        messages = near.index_select(0, source)
        if self.pool is not None:
            return scatter_max(messages, target, len(near))
        return scatter_mean(messages, target, len(near), weights)
