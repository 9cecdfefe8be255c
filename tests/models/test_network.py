"""Plain networks with loss, optimizer and metrics of the YAML."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hpc_dl.data.ragged import Ragged
from hpc_dl.data.spec import DataSpec, FieldSpec
from hpc_dl.errors import ConfigError
from hpc_dl.models.construction import import_object
from hpc_dl.models.network import Network, NetworkModelConfig
from hpc_dl.schema import import_paths, parse
from tests.experiments import spec, training_recipe

MODULES = Path(__file__).with_name("modules")
FLAT = {"class": "torch.nn.Flatten"}


def built(network: str, args: Any = None, data: DataSpec | None = None, **keys: Any) -> Network:
    data = data or spec()
    section = parse(NetworkModelConfig, {"network": network, "args": args or {}, **keys}, "model")
    return section.build(data, training_recipe(data))


def wrapped(network: nn.Module, data: DataSpec | None = None, output: str | None = None) -> Network:
    return Network(network, output, training_recipe(data or spec()))


def test_arguments_are_objects_positional_or_named() -> None:
    model = built("torch.nn.Sequential", [FLAT, {"class": "torch.nn.Linear", "args": [64, 3]}])
    assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 3)
    layer = {"d_model": 8, "nhead": 2, "activation": {"object": "torch.nn.functional.gelu"}}
    encoder = built(
        "torch.nn.TransformerEncoder",
        {"encoder_layer": {"class": "torch.nn.TransformerEncoderLayer", "args": layer}, "num_layers": 2},
    )
    assert encoder.network.layers[1].linear1.in_features == 8  # type: ignore[union-attr,index]


def test_data_may_be_part_of_the_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(MODULES)
    data = spec(input_shape=(5,))
    assert built("factory_of_networks.make", {"width": 2}, data)(torch.zeros(2, 5)).shape == (2, 3)


def test_lazy_layers_get_their_shapes() -> None:
    model = built("torch.nn.Sequential", [FLAT, {"class": "torch.nn.LazyLinear", "args": [3]}])
    assert model.network[1].weight.shape == (3, 64)  # type: ignore[index,union-attr]


@pytest.mark.parametrize(
    ("network", "args", "message"),
    [
        ("torch.nn.Linearr", {}, "model.network: torch.nn has no Linearr (got 'torch.nn.Linearr'). Did you mean"),
        ("no_such_package.Net", {}, "model.network: cannot import no_such_package: ModuleNotFoundError"),
        ("torch.nn.Linear", {"in_features": 3}, "model.args: do not fit torch.nn.Linear: missing a required argument"),
        ("torch.zeros", [2], "model.network: returns a Tensor, which is not a torch.nn.Module"),
        ("torch.pi", {}, "model.network: is neither a class nor a function"),
        ("pytorch_lightning.LightningModule", {}, "model.network: is a LightningModule, which brings its own loss"),
        (
            "torch.nn.Sequential",
            [{"class": "torch.nn.Linear", "args": [3]}],
            "model.args.0.args: do not fit torch.nn.Linear: missing a required argument: 'out_features'",
        ),
        ("torch.nn.Sequential", [{"class": "torch.nn.Liner"}], "model.args.0.class: torch.nn has no Liner"),
        ("torch.nn.TransformerEncoder", {"encoder_layer": {"class": "torch.nn.ReLU", "args": {}}, "num_layers": -1.5},
         "model.args: torch.nn.TransformerEncoder raised "),
        ("torch.nn.Conv2d", ["a", 1, 3], "model.args: torch.nn.Conv2d raised "),
    ],
)  # fmt: skip
def test_fault_names_the_key(network: str, args: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        built(network, args)
    assert str(caught.value).startswith(message)


def test_string_for_a_module_suggests_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(MODULES)
    with pytest.raises(ConfigError, match=r"model\.args\.net: must be a module .* net: \{class: torch\.nn\.ReLU"):
        built("wrapper_of_networks.Wrapper", {"net": "torch.nn.ReLU"})


class Returns(nn.Module):
    """Returns a fixed value."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Any) -> Any:
        return self.value


OUTPUT = torch.arange(6.0).reshape(2, 3)


@pytest.mark.parametrize(
    ("value", "output"),
    [
        (OUTPUT, None),
        ({"out": OUTPUT, "aux": OUTPUT + 1}, None),
        ({"aux": OUTPUT + 1, "mine": OUTPUT}, "mine"),
        ({"only": OUTPUT}, None),
        (SimpleNamespace(logits=OUTPUT, loss=None, hidden_states=(OUTPUT + 1,)), None),
        ((OUTPUT, OUTPUT + 1), None),
        ([OUTPUT], None),
    ],
    ids=["tensor", "dictionary", "named", "single", "object", "tuple", "list"],
)
def test_output_for_the_loss_is_found(value: Any, output: str | None) -> None:
    assert torch.equal(wrapped(Returns(value), output=output)(OUTPUT), OUTPUT)


@pytest.mark.parametrize("value", [{"a": OUTPUT, "b": OUTPUT}, {}, None, 3.0])
def test_unknown_output_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"^model\.output: Returns returns a "):
        wrapped(Returns(value))(OUTPUT)


def two_inputs() -> DataSpec:
    fields = (FieldSpec("image", (4,), "float32"), FieldSpec("age", (1,), "float32"))
    return DataSpec(fields, (FieldSpec("targets", (), "int64"),), "classification", 3, ("a", "b", "c"), {"train": 4},
                    "f", "c", "n")  # fmt: skip


class ByName(nn.Module):
    def forward(self, age: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        return image - age


class ByOrder(nn.Module):
    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return first - second


@pytest.mark.parametrize("network", [ByName(), ByOrder()])
def test_several_inputs_go_to_their_parameters(network: nn.Module) -> None:
    x = {"image": torch.full((2, 4), 5.0), "age": torch.full((2, 1), 2.0)}
    assert torch.equal(wrapped(network, two_inputs())(x), torch.full((2, 4), 3.0))


class Messages(nn.Module):
    """As a network of torch_geometric: node features, edges, the graph of each node."""

    def forward(self, x: torch.Tensor, edge_index: torch.Tensor, edge_weight: Any = None, batch: Any = None) -> Any:
        assert batch.tolist() == [0, 0, 1, 1, 1]
        return x.index_add(0, edge_index[1], x[edge_index[0]])


def graphs(task: str) -> DataSpec:
    fields = (FieldSpec("nodes", (3,), "float32", ragged=True), FieldSpec("edges", (2,), "int64", ragged=True))
    return DataSpec(fields, (FieldSpec("targets", (), "int64"),), task, 3, ("a", "b", "c"), {"train": 2},  # type: ignore[arg-type]
                    "f", "c", "n")  # fmt: skip


def test_graphs_become_one_graph_as_in_torch_geometric() -> None:
    nodes = Ragged(torch.eye(5)[:, :3], torch.tensor([0, 2, 5]))
    edges = Ragged(torch.tensor([[0, 1], [0, 2]]), torch.tensor([0, 1, 2]))
    x = {"nodes": nodes, "edges": edges}
    of_nodes = wrapped(Messages(), graphs("node_classification"))(x)
    assert of_nodes.tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 1], [0, 0, 0], [0, 0, 1]]
    of_graphs = wrapped(Messages(), graphs("classification"))(x)
    expected = np.array([[1, 0.5, 0], [0, 0, 2 / 3]])
    np.testing.assert_allclose(of_graphs, expected, rtol=1e-6)


class Masked(nn.Module):
    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return (input_ids * attention_mask).unsqueeze(-1).float().expand(-1, -1, 3)


@pytest.mark.parametrize(("task", "shape"), [("sequence_labeling", (5, 3)), ("language_modeling", (5, 3))])
def test_samples_of_different_lengths_are_masked(task: str, shape: tuple[int, ...]) -> None:
    tokens = (FieldSpec("inputs", (), "int64", ragged=True),)
    data = DataSpec(tokens, tokens, task, 3, ("a", "b", "c"), {"train": 2}, "f", "c", "n")  # type: ignore[arg-type]
    x = Ragged(torch.tensor([1, 2, 3, 4, 5]), torch.tensor([0, 2, 5]))
    outputs = wrapped(Masked(), data)(x)
    assert outputs.shape == shape and outputs[:, 0].tolist() == [1, 2, 3, 4, 5]
    with pytest.raises(ConfigError, match="has no parameter attention_mask or lengths"):
        wrapped(nn.ReLU(), data)(x)


def test_classes_of_steps_become_the_second_axis() -> None:
    data = spec("language_modeling", input_shape=(7,))
    assert wrapped(Returns(torch.zeros(2, 7, 3)), data)(torch.zeros(2, 7)).shape == (2, 3, 7)


def test_import_paths_of_nested_arguments() -> None:
    args = {"a": {"class": "x.Y", "args": [{"object": "z.W"}, 3]}, "class": "plain"}
    assert list(import_paths(args)) == ["x.Y", "z.W"]


def test_import_reaches_methods_of_classes() -> None:
    assert import_object("collections.OrderedDict.fromkeys", "model.network")("ab") == {"a": None, "b": None}
