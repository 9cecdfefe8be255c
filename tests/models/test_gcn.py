"""The graph convolutional network: the formula of a layer, directions, and edge weights."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hpc_dl.data.ragged import Ragged
from hpc_dl.data.spec import DataSpec, FieldSpec
from hpc_dl.errors import ConfigError
from hpc_dl.models.gcn import GCN, GCNConfig
from tests.experiments import training_recipe
from tests.models.graphs import batch, graph_data, permuted


def built(data: DataSpec, **parameters: Any) -> GCN:
    torch.manual_seed(0)
    return GCNConfig(**parameters).module(data, training_recipe(data)).eval()


def dense(model: GCN, nodes: Tensor, adjacency: np.ndarray) -> Tensor:
    """Compute Kipf and Welling's equation with matrices.

    ``adjacency[v, u]`` is the weight of the edge from u to v.
    """
    hidden = nodes
    for number, layers in enumerate(model.layers):
        matrices = [adjacency, adjacency.T] if len(layers) == 2 else [(adjacency + adjacency.T) / 2]
        total = layers[0].bias
        for layer, matrix in zip(layers, matrices, strict=True):
            a = matrix + model.self_weight * np.eye(len(matrix))
            spread = a / np.sqrt(a.sum(1)[:, None] * a.sum(0)[None])
            total = total + torch.from_numpy(spread).float() @ hidden @ layer.weight.T
        hidden = total if number == len(model.layers) - 1 else model.activations[number](total)
    return hidden


@pytest.mark.parametrize("parameters", [{}, {"directed": True}, {"self_weight": 3.0, "depth": 3}])
def test_layer_matches_the_formula(parameters: dict[str, Any]) -> None:
    data = graph_data("node_classification")
    model, x = built(data, width=8, **parameters), batch(seed=1)
    for layers in model.layers:
        torch.nn.init.normal_(layers[0].bias)
    graphs = np.split(np.arange(len(x["nodes"].values)), x["nodes"].offsets[1:-1].tolist())
    expected = []
    for number, nodes in enumerate(graphs):
        adjacency = np.zeros((len(nodes), len(nodes)))
        source, target = x["edges"].part(slice(number, number + 1)).values.numpy().T
        adjacency[target, source] = 1
        expected.append(dense(model, x["nodes"].values[nodes], adjacency))
    torch.testing.assert_close(model(x), torch.cat(expected))


def test_undirected_graph_with_edges_in_both_directions() -> None:
    data = graph_data("node_classification")
    model, x = built(data, width=8), batch(seed=2)
    edges = x["edges"].part(slice(0, 1)).values
    nodes = x["nodes"].part(slice(0, 1))
    doubled = x | {"nodes": nodes, "edges": Ragged(torch.cat([edges, edges]), torch.tensor([0, 2 * len(edges)]))}
    both = x | {"nodes": nodes, "edges": Ragged(torch.cat([edges, edges.flip(1)]), torch.tensor([0, 2 * len(edges)]))}
    torch.testing.assert_close(model(doubled), model(both))


@pytest.mark.parametrize("task", ["classification", "regression", "multilabel"])
@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_order_of_nodes_has_no_effect(task: str, pooling: str) -> None:
    data = graph_data(task)
    model, x = built(data, pooling=pooling, edge_weights=True), batch(seed=3)
    assert model(x).shape == (4, 3)
    torch.testing.assert_close(model(permuted(x)), model(x))


def test_edge_weights_are_used() -> None:
    x = batch(seed=4)
    data = graph_data("node_classification")
    other = x | {"edge_features": Ragged(x["edge_features"].values * 5, x["edge_features"].offsets)}
    assert not torch.allclose(built(data, edge_weights=True)(x), built(data, edge_weights=True)(other))
    assert torch.equal(built(data)(x), built(data)(other))


def test_last_convolution_outputs_the_classes() -> None:
    model = built(graph_data("node_classification"), width=8, depth=2)
    assert [tuple(layers[0].weight.shape) for layers in model.layers] == [(8, 5), (3, 8)]
    assert model.head is None


def test_linear_layer_can_output_the_classes() -> None:
    model = built(graph_data("node_classification"), width=8, depth=1, output="linear")
    assert [tuple(layers[0].weight.shape) for layers in model.layers] == [(8, 5)]
    x = batch(seed=1)
    assert model(x).shape == (len(x["nodes"].values), 3)


def test_dropout_acts_on_the_inputs_of_each_layer() -> None:
    model, x = built(graph_data("node_classification"), dropout=0.9, depth=1).train(), batch(seed=5)
    torch.manual_seed(0)
    first = model(x)
    assert not torch.equal(first, model(x))  # one layer only: the dropout is on the features


def test_dropout_acts_in_training_only() -> None:
    model, x = built(graph_data("node_classification"), dropout=0.5), batch(seed=5)
    assert torch.equal(model(x), model(x))
    assert not torch.equal(model.train()(x), model(x))


def test_vectors_raise() -> None:
    data = graph_data("node_classification")
    table = DataSpec(**vars(data) | {"inputs": (FieldSpec("inputs", (5,), "float32"),)})
    with pytest.raises(ConfigError, match=r"model.name: does not support inputs of kind vector"):
        GCNConfig().build(table, training_recipe(data))


def test_edge_weights_need_features() -> None:
    data = graph_data("node_classification")
    bare = DataSpec(**vars(data) | {"inputs": data.inputs[:2]})
    with pytest.raises(ConfigError, match=r"model.edge_weights: needs edge features, and these data have none"):
        GCNConfig(edge_weights=True).build(bare, training_recipe(bare))
