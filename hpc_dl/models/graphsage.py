"""GraphSAGE: combines each node with a summary of its neighbors (Hamilton et al., 2017)."""

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
from hpc_dl.nn.activations import ActivationSetting, activation, pieces
from hpc_dl.nn.graphs import GraphHead, Graphs, PoolingName, edge_weights, feature_counts, scatter_max, scatter_mean
from hpc_dl.nn.initialization import initialized
from hpc_dl.schema import Unit

Aggregation = Literal["mean", "max"]


class GraphSAGEConfig(ModelConfig):
    """Layers that add a linear function of each node and one of its neighbors' mean or maximum."""

    inputs = ("graph",)
    tasks = ("node_classification", "classification", "multilabel", "regression")
    small = {"depth": 2, "width": 16}

    name: Literal["graphsage"] = "graphsage"
    """Name of the architecture."""
    depth: Annotated[int, Field(ge=1), Unit("layers")] = 2
    """Number of layers; a node is influenced by nodes up to this many edges away."""
    width: Annotated[int, Field(ge=1), Unit("features of a node")] = 64
    """Hidden features of each node."""
    aggregation: Aggregation = "mean"
    """How neighbors are combined: their ``mean``, or the ``max`` of a dense layer with ReLU on
    each. All neighbors are used; the paper samples some of them, for very large neighborhoods."""
    directed: bool = True
    """Combine predecessors and successors separately, with separate weights (Rossi et al., 2023);
    false treats all neighbors alike."""
    edge_weights: bool = False
    """Weight the neighbors in the mean by a learned function of the edge features
    (``edge_features``): softplus of a linear function."""
    normalize: bool = False
    """Normalize the hidden features of each node to length 1 after each layer, as in the paper."""
    activation: ActivationSetting = "relu"
    """Activation after each layer."""
    dropout: Annotated[float, Field(ge=0, lt=1), Unit("probability")] = 0.0
    """Dropout probability of the hidden features (Srivastava et al., 2014)."""
    pooling: PoolingName = "mean"
    """How the nodes of a graph are combined for a target per graph."""

    def module(self, data: DataSpec, recipe: TrainingRecipe) -> GraphSAGE:
        """Build the module for graphs.

        Raises:
            ConfigError: the edges cannot be weighted, or the inputs are not those of a graph.
        """
        return GraphSAGE(self, data, recipe)


class GraphSAGE(Supervised):
    """Aggregation layers, then a linear layer on each node or on each graph."""

    def __init__(self, config: GraphSAGEConfig, data: DataSpec, recipe: TrainingRecipe) -> None:
        super().__init__(recipe)
        num_features, num_edge_features = feature_counts({field.name: field.shape for field in data.inputs})
        if config.edge_weights and config.aggregation != "mean":
            raise ConfigError.at("model.edge_weights", "requires `aggregation: mean`", value=True)
        self.weigh = edge_weights(config.edge_weights, num_edge_features)
        sizes = [num_features, *[config.width] * config.depth]
        self.layers = nn.ModuleList(SAGELayer(num_in, num_out, config) for num_in, num_out in itertools.pairwise(sizes))
        self.dropout = nn.Dropout(config.dropout)
        self.normalize = config.normalize
        self.head = GraphHead(
            config.width, data.num_outputs, None if data.task == "node_classification" else config.pooling
        )

    def forward(self, x: Mapping[str, Any]) -> Tensor:
        """Map graphs (ragged ``nodes``, ``edges``, optional ``edge_features``) to outputs.

        Returns:
            (N, num_outputs) for ``node_classification``, else (B, num_outputs).
        """
        graphs = Graphs.of(x)
        weights = None if self.weigh is None else self.weigh(graphs)
        hidden = graphs.nodes
        for layer in self.layers:
            hidden = layer(hidden, graphs.source, graphs.target, weights)
            if self.normalize:
                hidden = functional.normalize(hidden)
            hidden = self.dropout(hidden)
        outputs: Tensor = self.head(hidden, graphs)
        return outputs


class SAGELayer(nn.Module):
    """φ of a linear function of each node plus one of its neighbors' summary for each direction."""

    def __init__(self, num_in: int, num_out: int, config: GraphSAGEConfig) -> None:
        """Build the layer.

        Args:
            num_in: features of a node, before.
            num_out: features of a node, after.
            config: the parameters.
        """
        super().__init__()
        setting = config.activation
        width = num_out * pieces(setting)
        self.own = initialized(nn.Linear(num_in, width), setting)
        self.pool = None
        if config.aggregation == "max":
            self.pool = nn.Sequential(initialized(nn.Linear(num_in, num_in), "relu"), nn.ReLU())
        self.incoming = initialized(nn.Linear(num_in, width, bias=False), setting)
        self.outgoing = initialized(nn.Linear(num_in, width, bias=False), setting) if config.directed else None
        self.activation = activation(setting, num_out)

    def forward(self, hidden: Tensor, source: Tensor, target: Tensor, weights: Tensor | None) -> Tensor:
        """Map (N, num_in) to (N, num_out).

        Args:
            hidden: (N, num_in) features of the nodes.
            source: (E,) index of the node at which each edge starts.
            target: (E,) index of the node at which it ends.
            weights: (E,) weights of the edges in the mean, or None.
        """
        neighbors = hidden if self.pool is None else self.pool(hidden)
        if self.outgoing is not None:
            around = self.incoming(self._summary(neighbors, source, target, weights))
            around = around + self.outgoing(self._summary(neighbors, target, source, weights))
        else:
            both_weights = None if weights is None else torch.cat([weights, weights])
            ends = torch.cat([source, target]), torch.cat([target, source])
            around = self.incoming(self._summary(neighbors, *ends, both_weights))
        outputs: Tensor = self.activation(self.own(hidden) + around)
        return outputs

    def _summary(self, neighbors: Tensor, source: Tensor, target: Tensor, weights: Tensor | None) -> Tensor:
        messages = neighbors.index_select(0, source)
        if self.pool is not None:
            return scatter_max(messages, target, len(neighbors))
        return scatter_mean(messages, target, len(neighbors), weights)
