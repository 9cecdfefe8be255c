"""Graph neural network with node states at a fixed point (Scarselli et al., 2009)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torchmetrics import MaxMetric, MeanMetric

from hpc_dl.data.spec import DataSpec
from hpc_dl.learning.recipe import TrainingRecipe
from hpc_dl.learning.supervised import Supervised
from hpc_dl.models.base import ModelConfig
from hpc_dl.nn.activations import ActivationSetting, activation
from hpc_dl.nn.dense import dense_block
from hpc_dl.nn.fixed_point import FixedPoint, fixed_point
from hpc_dl.nn.graphs import GraphHead, Graphs, PoolingName, feature_counts, scatter_sum
from hpc_dl.nn.initialization import initialized
from hpc_dl.schema import Unit


class FixedPointConfig(ModelConfig):
    """Node states iterated to the fixed point of H ← F(H, X), then a hidden and a linear layer."""

    inputs = ("graph",)
    tasks = ("node_classification", "classification", "multilabel", "regression")
    small = {"width": 16}
    metrics = ("iterations", "residual")

    name: Literal["fixed_point"] = "fixed_point"
    """Name of the architecture."""
    width: Annotated[int, Field(ge=1), Unit("numbers of a node's state")] = 32
    """Size of the state of a node, and of the hidden layer."""
    contraction: Annotated[float, Field(gt=0, lt=1)] = 0.9
    """Upper bound of F's Lipschitz constant: each iteration brings two states closer by at least
    this factor. Nearer to 1, information travels farther through the graph, and more iterations are
    needed."""
    directed: bool = True
    """Use separate weights for the two directions of an edge; false uses the same weights for
    both."""
    state_activation: Literal["tanh", "relu", "elu", "leaky_relu", "sigmoid"] = "tanh"
    """Activation inside F; its slope must not exceed 1."""
    activation: ActivationSetting = "relu"
    """Activation of the hidden layer."""
    tolerance: Annotated[float, Field(gt=0)] = 1e-6
    """Stop when the largest change of an entry, relative to the largest entry, falls below this."""
    max_iterations: Annotated[int, Field(ge=1), Unit("iterations")] = 300
    """Maximum number of iterations; ``val/residual`` shows whether the states have converged."""
    dropout: Annotated[float, Field(ge=0, lt=1), Unit("probability")] = 0.0
    """Dropout probability of the hidden layer (Srivastava et al., 2014)."""
    pooling: PoolingName = "mean"
    """How the nodes of a graph are combined for a target per graph."""

    def module(self, data: DataSpec, recipe: TrainingRecipe) -> FixedPointNetwork:
        """Build the module for graphs, with or without edge features.

        Raises:
            ConfigError: the inputs are not those of a graph.
        """
        return FixedPointNetwork(self, data, recipe)


class FixedPointNetwork(Supervised):
    """Node states at the fixed point, a hidden layer, a linear layer on nodes or graphs.

    The hidden layer reads the states and the node features. Evaluations also log ``iterations``
    (mean over batches) and ``residual`` (maximum) of the states.

    Attributes:
        solved: the fixed point of the last batch.
    """

    solved: FixedPoint

    def __init__(self, config: FixedPointConfig, data: DataSpec, recipe: TrainingRecipe) -> None:
        super().__init__(recipe)
        num_features, num_edge_features = feature_counts({field.name: field.shape for field in data.inputs})
        self.config = config
        self.transition = Transition(config, num_features, num_edge_features)
        self.hidden = nn.Sequential(
            *dense_block(config.width + num_features, config.width, config.activation), nn.Dropout(config.dropout)
        )
        self.head = GraphHead(
            config.width, data.num_outputs, None if data.task == "node_classification" else config.pooling
        )
        self.convergence = nn.ModuleDict(
            {f"{split}_iterations": MeanMetric() for split in ("val", "test")}
            | {f"{split}_residual": MaxMetric() for split in ("val", "test")}
        )

    def forward(self, x: Mapping[str, Any], start: Tensor | None = None) -> Tensor:
        """Map graphs (ragged ``nodes``, ``edges``, optional ``edge_features``) to outputs.

        Args:
            x: the graphs, N nodes in total.
            start: (N, width) initial states, zeros by default; the outputs do not depend on them.

        Returns:
            (N, num_outputs) for ``node_classification``, else (B, num_outputs).
        """
        graphs = Graphs.of(x)
        # In half precision the iterations would not converge.
        with torch.autocast(graphs.nodes.device.type, enabled=False):
            function = self.transition(graphs)
            if start is None:
                start = graphs.nodes.new_zeros(graphs.num_nodes, self.config.width)
            self.solved = fixed_point(function, start, self.config.tolerance, self.config.max_iterations)
        hidden = self.hidden(torch.cat([self.solved.state, graphs.nodes], 1))
        outputs: Tensor = self.head(hidden, graphs)
        return outputs

    def log_evaluation(self, split: str, values: Mapping[str, Tensor]) -> None:
        """Log the results of an evaluation, and how well its states converged."""
        convergence = {}
        for name in ("iterations", "residual"):
            metric = self.convergence[f"{split}_{name}"]
            convergence[f"{split}/{name}"] = metric.compute()  # type: ignore[operator]
            metric.reset()  # type: ignore[operator]
        super().log_evaluation(split, {**values, **convergence})

    def _evaluate(self, split: str, batch: Any) -> None:
        super()._evaluate(split, batch)
        self.convergence[f"{split}_iterations"].update(self.solved.iterations)  # type: ignore[operator]
        self.convergence[f"{split}_residual"].update(self.solved.residual)  # type: ignore[operator]


class Transition(nn.Module):
    """F: the new state h_v = φ(A x_v + mean of neighbors u of (B x_u + C e_uv + g(e_uv) ⊙ W h_u)).

    It depends on what Scarselli et al. (2009) name: the features x_v of the node, e_uv of its edges
    and x_u of its neighbors, and their states h_u. F is a contraction on every graph, in the norm
    max over nodes of ‖h‖₂: φ has slopes of at most 1, a mean is no longer than the longest of its
    parts, the gates g(e_uv) are between 0 and 1, and the spectral norm of W is at most
    ``contraction``. Two directions of edges have separate weights and contribute half each.
    """

    def __init__(self, config: FixedPointConfig, num_features: int, num_edge_features: int) -> None:
        """Build the layers.

        Args:
            config: the parameters.
            num_features: features of a node.
            num_edge_features: features of an edge, 0 for none.
        """
        super().__init__()

        def layer(num_in: int) -> nn.Linear:
            return initialized(nn.Linear(num_in, config.width, bias=False), config.state_activation)

        directions = range(2 if config.directed else 1)
        with_features = directions if num_edge_features else ()
        self.directed = config.directed
        self.contraction = config.contraction
        self.input = initialized(nn.Linear(num_features, config.width), config.state_activation)
        self.neighbor_input = nn.ModuleList(layer(num_features) for _ in directions)
        self.edge_input = nn.ModuleList(layer(num_edge_features) for _ in with_features)
        self.gate = nn.ModuleList(
            initialized(nn.Linear(num_edge_features, config.width), "sigmoid") for _ in with_features
        )
        self.influence = nn.ModuleList(layer(config.width) for _ in directions)
        self.phi = activation(config.state_activation, config.width)

    def forward(self, graphs: Graphs) -> Callable[[Tensor], Tensor]:
        """Return F for these graphs, from (N, width) to (N, width).

        What depends on the features only is computed once.
        """
        source, target, features = graphs.source, graphs.target, graphs.edge_features
        if self.directed:
            ends = [(source, target), (target, source)]
        else:
            ends = [(torch.cat([source, target]), torch.cat([target, source]))]
            features = None if features is None else torch.cat([features, features])
        size = graphs.num_nodes
        inputs = self.input(graphs.nodes)
        parts = []
        for direction, (near, far) in enumerate(ends):
            # Each neighbor's share of the mean, (E, 1), or (E, width) with the gates.
            count = scatter_sum(torch.ones_like(near, dtype=inputs.dtype), far, size)
            share = (1 / (len(ends) * count)).index_select(0, far)[:, None]
            neighbors = self.neighbor_input[direction](graphs.nodes).index_select(0, near)
            inputs = inputs + scatter_sum(neighbors * share, far, size)
            if features is not None:
                inputs = inputs + scatter_sum(self.edge_input[direction](features) * share, far, size)
                share = share * self.gate[direction](features).sigmoid()
            parts.append((self._bounded_weight(direction), near, far, share))

        def step(state: Tensor) -> Tensor:
            total = inputs
            for weight, near, far, share in parts:
                messages = nn.functional.linear(state, weight).index_select(0, near)
                total = total + scatter_sum(messages * share, far, size)
            new: Tensor = self.phi(total)
            return new

        return step

    def _bounded_weight(self, direction: int) -> Tensor:
        """Return W of a direction, scaled down if its spectral norm exceeds ``contraction``."""
        weight: Tensor = self.influence[direction].weight  # type: ignore[assignment]
        norm: Tensor = torch.linalg.matrix_norm(weight.to(torch.promote_types(weight.dtype, torch.float32)), 2)
        return weight * (self.contraction / norm.clamp(min=self.contraction)).to(weight.dtype)
