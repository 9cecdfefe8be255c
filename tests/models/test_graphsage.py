"""GraphSAGE: the formula of a layer, directions, and edge weights."""

from typing import Any

import pytest
import torch
from torch import Tensor

from hpc_dl.data.ragged import Ragged
from hpc_dl.data.spec import DataSpec
from hpc_dl.errors import ConfigError
from hpc_dl.models.graphsage import GraphSAGE, GraphSAGEConfig
from tests.experiments import training_recipe
from tests.models.graphs import batch, graph_data, permuted

NODE_CLASSES = graph_data("node_classification")


def built(data: DataSpec = NODE_CLASSES, **parameters: Any) -> GraphSAGE:
    torch.manual_seed(0)
    return GraphSAGEConfig(**parameters).module(data, training_recipe(data)).eval()


def by_hand(model: GraphSAGE, x: dict[str, Any], aggregation: str, directed: bool) -> Tensor:
    """Compute a layer for a batch of one graph, neighbor by neighbor."""
    hidden, edges = x["nodes"].values, x["edges"].values.tolist()
    for layer in model.layers:
        near = hidden if layer.pool is None else layer.pool(hidden)

        def summary(neighbors: list[int], near: Tensor = near) -> Tensor:
            if not neighbors:
                return torch.zeros_like(near[0])
            return near[neighbors].mean(0) if aggregation == "mean" else near[neighbors].amax(0)

        rows = []
        for node in range(len(hidden)):
            before, after = [u for u, v in edges if v == node], [v for u, v in edges if u == node]
            if directed:
                around = layer.incoming(summary(before)) + layer.outgoing(summary(after))
            else:
                around = layer.incoming(summary(before + after))
            rows.append(layer.own(hidden[node]) + around)
        hidden = torch.stack(rows).relu()
    return model.head.linear(hidden)


@pytest.mark.parametrize("aggregation", ["mean", "max"])
@pytest.mark.parametrize("directed", [True, False])
def test_layer_matches_the_formula(aggregation: str, directed: bool) -> None:
    model = built(aggregation=aggregation, directed=directed, width=8)
    x = batch(seed=1, sizes=(7,), density=0.3)
    torch.testing.assert_close(model(x), by_hand(model, x, aggregation, directed))


@pytest.mark.parametrize("directed", [True, False])
def test_edge_direction_matters_if_directed(directed: bool) -> None:
    model, x = built(directed=directed), batch(seed=2)
    turned = x | {"edges": Ragged(x["edges"].values.flip(1), x["edges"].offsets)}
    assert torch.allclose(model(x), model(turned), atol=1e-6) != directed


def test_normalized_hidden_features() -> None:
    model, x = built(normalize=True, width=8), batch(seed=3)
    seen: list[Tensor] = []
    model.head.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    model(x)
    torch.testing.assert_close(seen[0].norm(dim=1), torch.ones(len(seen[0])))


@pytest.mark.parametrize("task", ["classification", "regression", "multilabel"])
@pytest.mark.parametrize("parameters", [{"aggregation": "max", "pooling": "max"}, {"edge_weights": True}])
def test_order_of_nodes_has_no_effect(task: str, parameters: dict[str, Any]) -> None:
    model, x = built(graph_data(task), **parameters), batch(seed=4)
    assert model(x).shape == (4, 3)
    torch.testing.assert_close(model(permuted(x)), model(x))


@pytest.mark.parametrize("directed", [True, False])
def test_edge_with_weight_0_has_no_effect(directed: bool) -> None:
    model, x = built(edge_weights=True, directed=directed), batch(seed=5, sizes=(6,))
    assert model.weigh is not None
    with torch.no_grad():
        model.weigh.linear.weight.fill_(1)
        model.weigh.linear.bias.fill_(0)
    kept = torch.arange(len(x["edges"].values)) % 2 == 0
    features = torch.where(kept[:, None], 1.0, -40.0).expand(-1, 2)
    light = x | {"edge_features": Ragged(features, x["edge_features"].offsets)}
    offsets = torch.tensor([0, int(kept.sum())])
    without = x | {"edges": Ragged(x["edges"].values[kept], offsets), "edge_features": Ragged(features[kept], offsets)}
    # The mean over edges of nearly zero weight alone is not zero: only nodes that keep an edge in
    # each direction are compared.
    source, target = x["edges"].values[kept].T
    safe = [node for node in range(6) if node in source and node in target]
    assert safe
    layer, args = model.layers[0], (x["nodes"].values,)
    both = [
        layer(*args, *g["edges"].values.T, torch.nn.functional.softplus(g["edge_features"].values.sum(1)))[safe]  # type: ignore[operator]
        for g in (light, without)
    ]
    torch.testing.assert_close(*both)


def test_edge_weights_need_mean_aggregation() -> None:
    with pytest.raises(ConfigError, match=r"model.edge_weights: requires `aggregation: mean`"):
        built(aggregation="max", edge_weights=True)
