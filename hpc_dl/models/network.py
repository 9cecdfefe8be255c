"""Any ``torch.nn.Module``: ``model: {network: torchvision.models.resnet18, args: {…}}``."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from hpc_dl.data.ragged import Ragged
from hpc_dl.data.spec import PER_POSITION, DataSpec
from hpc_dl.errors import ConfigError
from hpc_dl.learning.recipe import TrainingRecipe
from hpc_dl.learning.supervised import Supervised
from hpc_dl.models.base import ModelSection
from hpc_dl.models.construction import Args, construct, import_object
from hpc_dl.nn.graphs import Graphs
from hpc_dl.nn.sequences import mask, pad, unpad
from hpc_dl.schema import ImportPath, import_paths

# Where a network that returns several outputs keeps those that the loss takes, in this order.
_OUTPUTS = ("logits", "out", "outputs", "output", "predictions", "prediction", "scores")


class NetworkModelConfig(ModelSection):
    """A ``torch.nn.Module`` with loss, optimizer, schedule and metrics of the YAML."""

    name: Literal["network"] = "network"
    """Always ``network``; not written in the YAML."""
    network: ImportPath
    """Import path of the class of a ``torch.nn.Module``, or of a function that returns one, such as
    ``torchvision.models.resnet18``; the current folder is searched as well."""
    args: Args = Field(default={})
    """Its arguments, by name or as a list; a parameter named ``data`` receives the shapes and
    classes of the data (``DataSpec``). An argument may be an object: ``{class: torch.nn.Linear,
    args: [64, 10]}``, or a class or function itself: ``{object: torch.nn.GELU}``."""
    output: str | None = None
    """Name of the output for the loss, where the network returns several by name; ``logits`` or
    ``out`` if not given."""

    @property
    def fixed_size(self) -> str:
        """Empty: nothing is known of the network; it fails if it does not take a size."""
        return ""

    @property
    def import_paths(self) -> list[str]:
        """The import paths of the network and of the objects in its arguments."""
        return [self.network, *import_paths(self.args)]

    def build(self, data: DataSpec, recipe: TrainingRecipe) -> Network:
        """Build the network, with the weights that it gives itself.

        Raises:
            ConfigError: it cannot be imported, does not accept the arguments, raises an exception,
                or is not a plain ``torch.nn.Module``.
        """
        target = import_object(self.network, "model.network")
        if not callable(target):
            raise ConfigError.at("model.network", "is neither a class nor a function", value=self.network)
        network = construct(target, self.args, "model.args", self.network, data)
        if isinstance(network, Supervised) or hasattr(network, "training_step"):
            raise ConfigError.at(
                "model.network",
                "is a LightningModule, which brings its own loss and optimizer",
                value=self.network,
                remedy=f"write model: {{class: {self.network}, args: {{…}}}}",
            )
        if not isinstance(network, nn.Module):
            raise ConfigError.at(
                "model.network",
                f"returns a {type(network).__name__}, which is not a torch.nn.Module",
                value=self.network,
            )
        return Network(network, self.output, recipe)


class Network(Supervised):
    """A network of the user, called with a batch in the form that its ``forward`` takes."""

    def __init__(self, network: nn.Module, output: str | None, recipe: TrainingRecipe) -> None:
        super().__init__(recipe)
        self.network = network
        self.output = output
        parameters = inspect.signature(network.forward).parameters
        self.names = [name for name, p in parameters.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        data = recipe.data
        if data.is_dense and any(isinstance(p, nn.parameter.UninitializedParameter) for p in self.parameters()):
            with torch.no_grad():  # nn.LazyLinear and others get their shapes
                self.eval()(torch.zeros(2, *data.input_shape))
            self.train()

    def own_names(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename the weights of the network itself, as its library writes them."""
        known = self.network.state_dict()
        return {f"network.{name}" if name in known else name: value for name, value in weights.items()}

    def forward(self, x: Any) -> Tensor:
        """Map a batch to outputs as the task needs them.

        Dense inputs are the first argument. Several inputs go to the parameters of their names, or
        else in their order. Graphs go to ``x``, ``edge_index``, ``batch`` and ``edge_attr``, as in
        torch_geometric; samples of different lengths are padded and go with ``attention_mask`` or
        ``lengths``.

        Returns:
            (B, K); (B, K, *positions) for a class per position, (steps or nodes, K) for samples of
            different lengths.
        """
        if isinstance(x, Ragged):
            return self._of_sequences(x)
        if isinstance(x, Mapping):
            if self.recipe.data.input_kind == "graph":
                return self._of_graphs(x)
            named = all(name in self.names for name in x)
            outputs = self.network(**x) if named else self.network(*x.values())
        else:
            outputs = self.network(x)
        return self._classes_second(self._selected(outputs))

    def _of_graphs(self, x: Mapping[str, Any]) -> Tensor:
        graphs = Graphs.of(x)
        given = {
            "x": graphs.nodes,
            "edge_index": torch.stack([graphs.source, graphs.target]),
            "batch": graphs.graph,
            "edge_attr": graphs.edge_features,
            "num_graphs": graphs.num_graphs,
        }
        arguments = {name: given[name] for name in self.names if given.get(name) is not None}
        if not {"x", "edge_index"} <= arguments.keys():
            raise ConfigError.at(
                "model.network", "its forward has no parameters x and edge_index for graphs", allowed=", ".join(given)
            )
        outputs = self._selected(self.network(**arguments))
        per_graph = self.recipe.task.name != "node_classification"
        if per_graph and len(outputs) == graphs.num_nodes != graphs.num_graphs:  # outputs of nodes: their mean
            sums = outputs.new_zeros(graphs.num_graphs, outputs.shape[1]).index_add(0, graphs.graph, outputs)
            return sums / graphs.graph.bincount(minlength=graphs.num_graphs).clamp(min=1)[:, None]
        return outputs

    def _of_sequences(self, x: Ragged) -> Tensor:
        padded, lengths = pad(x.values, x.offsets)  # (B, T) or (B, T, F)
        if "attention_mask" in self.names:
            outputs = self.network(padded, attention_mask=mask(lengths, padded.shape[1]).long())
        elif "lengths" in self.names:
            outputs = self.network(padded, lengths=lengths)
        else:
            raise ConfigError.at(
                "model.network",
                "its forward has no parameter attention_mask or lengths, and the samples differ in length",
                allowed=", ".join(self.names),
            )
        selected = self._selected(outputs)
        return unpad(selected, lengths) if self.recipe.task.name in PER_POSITION else selected

    def _selected(self, outputs: Any) -> Tensor:
        """The outputs for the loss, of what the network returned."""
        if isinstance(outputs, Tensor):
            return outputs
        plain = self.output is None and isinstance(outputs, (tuple, list)) and not hasattr(outputs, "logits")
        if plain and outputs and isinstance(outputs[0], Tensor):
            return outputs[0]
        known = outputs if isinstance(outputs, Mapping) else getattr(outputs, "__dict__", {})
        for name in (self.output,) if self.output else _OUTPUTS:
            value = known[name] if name in known else getattr(outputs, name, None)
            if isinstance(value, Tensor):
                return value
        tensors = [value for value in known.values() if isinstance(value, Tensor)]
        if self.output is None and len(tensors) == 1:
            return tensors[0]
        raise ConfigError.at(
            "model.output",
            f"{type(self.network).__name__} returns a {type(outputs).__name__} without this tensor",
            value=self.output or "logits or out",
            allowed=", ".join(map(str, known)),
        )

    def _classes_second(self, outputs: Tensor) -> Tensor:
        """Move the classes of each step from the last axis to the second, as the loss has them."""
        classes = self.recipe.task.num_outputs
        if self.recipe.task.name in PER_POSITION and outputs.ndim == 3 and outputs.shape[1] != classes:
            return outputs.transpose(1, 2) if outputs.shape[2] == classes else outputs
        return outputs
