"""Graph neural network whose node states are the fixed point of a contraction (Scarselli et al.,
2009).
"""

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
from hpc_dl.nn.activations import ActivationName, activation
from hpc_dl.nn.fixed_point import FixedPoint, fixed_point
from hpc_dl.nn.graphs import GraphHead, Graphs, PoolingName, feature_counts, scatter_mean, scatter_sum
from hpc_dl.schema import Unit


class FixedPointConfig(ModelConfig):
    """States H(t + 1) = F(H(t), X) of the nodes, iterated until they stay, then a hidden layer and
    a linear one.
    """

    inputs = ("graph",)
    tasks = ("node_classification", "classification", "multilabel", "regression")
    small = {"width": 16}
    metrics = ("iterations", "residual")

    name: Literal["fixed_point"] = "fixed_point"
    """Which architecture."""
    width: Annotated[int, Field(ge=1), Unit("numbers of a node's state")] = 32
    """Size of each node's state, and of the hidden layer after it."""
    contraction: Annotated[float, Field(gt=0, lt=1)] = 0.9
    """Two states come closer by this factor at least in each iteration: the bound on F's Lipschitz
    constant. The nearer to 1, the farther a node sees, and the more iterations it takes."""
    directed: bool = True
    """Let the two ends of an edge influence each other by weights of their own; false treats both
    alike."""
    state_activation: Literal["tanh", "relu", "elu", "leaky_relu", "sigmoid"] = "tanh"
    """Activation inside F; only those whose slope is 1 at most."""
    activation: ActivationName = "relu"
    """Activation of the hidden layer between states and outputs."""
    tolerance: Annotated[float, Field(gt=0)] = 1e-6
    """Stop when no entry changes by more than this share of the largest one."""
    max_iterations: Annotated[int, Field(ge=1), Unit("iterations")] = 300
    """Stop then at the latest; ``val/residual`` tells whether that was too early."""
    dropout: Annotated[float, Field(ge=0, lt=1), Unit("probability")] = 0.0
    """Share of the hidden layer switched off in training (Srivastava et al., 2014)."""
    pooling: PoolingName = "mean"
    """How a graph's nodes become one, where whole graphs are judged."""

    def module(self, data: DataSpec, recipe: TrainingRecipe) -> FixedPointNetwork:
        """The module for graphs; edges may have features.

        Raises:
            ConfigError: the inputs are not those of a graph.
        """
        return FixedPointNetwork(self, data, recipe)


class FixedPointNetwork(Supervised):
    """Node states at the fixed point, a hidden layer on states and features, a linear layer on
    nodes or graphs.

    Evaluations also give ``iterations`` (mean over batches) and ``residual`` (the largest) of the
    states.

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
            nn.Linear(config.width + num_features, config.width),
            activation(config.activation),
            nn.Dropout(config.dropout),
        )
        self.head = GraphHead(
            config.width, data.num_outputs, None if data.task == "node_classification" else config.pooling
        )
        self.convergence = nn.ModuleDict(
            {f"{split}_iterations": MeanMetric() for split in ("val", "test")}
            | {f"{split}_residual": MaxMetric() for split in ("val", "test")}
        )

    def forward(self, x: Mapping[str, Any], start: Tensor | None = None) -> Tensor:
        """Map graphs (``nodes``, ``edges``, perhaps ``edge_features``, all ragged) to outputs.

        Args:
            x: the graphs.
            start: (all nodes, width) states to begin with, zeros when left out; the outputs do not
                depend on it.

        Returns:
            (all nodes, num_outputs) for ``node_classification``, else (graphs, num_outputs).
        """
        graphs = Graphs.of(x)
        # Half precision would never come to rest.
        with torch.autocast(graphs.nodes.device.type, enabled=False):
            function = self.transition(graphs)
            if start is None:
                start = graphs.nodes.new_zeros(graphs.num_nodes, self.config.width)
            self.solved = fixed_point(function, start, self.config.tolerance, self.config.max_iterations)
        hidden = self.hidden(torch.cat([self.solved.state, graphs.nodes], 1))
        outputs: Tensor = self.head(hidden, graphs)
        return outputs

    def log_evaluation(self, split: str, values: Mapping[str, Tensor]) -> None:
        """Write the row of an evaluation, with how its states converged."""
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
    """F: the state of a node v becomes φ(mean over the neighbors u of g(e_uv) ⊙ W h_u, plus what X
    gives at v).

    A contraction on every graph, in the largest Euclidean length of a node's state: φ has slopes of
    1 at most, a mean is no longer than the longest of its parts, the gates g(e_uv) lie between 0
    and 1, and the spectral norm of W is at most ``contraction``. Two directions of edges contribute
    half each.
    """

    def __init__(self, config: FixedPointConfig, num_features: int, num_edge_features: int) -> None:
        """Build.

        Args:
            config: the parameters.
            num_features: features of a node.
            num_edge_features: features of an edge, 0 for none.
        """
        super().__init__()
        self.contraction = config.contraction
        self.input = nn.Linear(num_features, config.width)
        self.phi = activation(config.state_activation)
        self.directed = config.directed
        ways = 2 if config.directed else 1
        self.influence = nn.ModuleList(nn.Linear(config.width, config.width, bias=False) for _ in range(ways))
        with_features = range(ways if num_edge_features else 0)
        self.gate = nn.ModuleList(nn.Linear(num_edge_features, config.width) for _ in with_features)
        self.edge_input = nn.ModuleList(nn.Linear(num_edge_features, config.width, bias=False) for _ in with_features)

    def forward(self, graphs: Graphs) -> Callable[[Tensor], Tensor]:
        """F for these graphs: what depends on features alone is computed once. It maps (N, width)
        to (N, width).
        """
        source, target, features = graphs.source, graphs.target, graphs.edge_features
        if self.directed:
            ends = [(source, target), (target, source)]
        else:
            ends = [(torch.cat([source, target]), torch.cat([target, source]))]
            features = None if features is None else torch.cat([features, features])
        size = graphs.num_nodes
        given = self.input(graphs.nodes)
        parts = []
        for way, (near, far) in enumerate(ends):
            # Each neighbor's share of the mean, (E, 1), or (E, width) with the gates.
            count = scatter_sum(torch.ones_like(near, dtype=given.dtype), far, size)
            share = (1 / (len(ends) * count)).index_select(0, far)[:, None]
            if features is not None:
                given = given + scatter_mean(self.edge_input[way](features), far, size)
                share = share * self.gate[way](features).sigmoid()
            parts.append((self._limited(way), near, far, share))

        def step(state: Tensor) -> Tensor:
            total = given
            for weight, near, far, share in parts:
                messages = nn.functional.linear(state, weight).index_select(0, near)
                total = total + scatter_sum(messages * share, far, size)
            new: Tensor = self.phi(total)
            return new

        return step

    def _limited(self, way: int) -> Tensor:
        """The weight W of a direction, shrunk where its spectral norm is larger than
        ``contraction``.
        """
        weight: Tensor = self.influence[way].weight  # type: ignore[assignment]
        norm: Tensor = torch.linalg.matrix_norm(weight.to(torch.promote_types(weight.dtype, torch.float32)), 2)
        return weight * (self.contraction / norm.clamp(min=self.contraction)).to(weight.dtype)
