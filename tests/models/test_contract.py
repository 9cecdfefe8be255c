"""The contract of every architecture, for each kind of inputs and each task that it supports.

A new file in hpc_dl/models is tested without a change here.
"""

import copy
import functools
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from packaging.version import Version
from torch import nn

from hpc_dl import models
from hpc_dl.cluster.rendezvous_port import free_port
from hpc_dl.data.spec import PER_POSITION, InputKind, TaskName
from hpc_dl.errors import ConfigError
from hpc_dl.inference.onnx_export import to_onnx
from hpc_dl.learning.training_module import TrainingModule
from hpc_dl.schema import help_texts
from tests.conftest import PROJECT
from tests.experiments import training_recipe
from tests.models.golden import GOLDEN, SEED, summary_of
from tests.models.samples import (
    CLASSES,
    Combination,
    batch_of,
    combinations,
    data_of,
    model_class,
    possible,
    single_sample,
    small,
)

ALL = combinations()
SUPERVISED = [combination for combination in ALL if combination.is_supervised]
MAPPING = [combination for combination in ALL if combination.maps_samples]
# The last task of each kind of inputs: the task changes the last layer only.
ONE_PER_KIND = list({(c.name, c.kind): c for c in MAPPING}.values())
# ONNX has arrays of one shape for all samples. An export takes seconds, and the kinds of inputs
# differ little: the last kind of each architecture, and all kinds of one of each family.
EXPORTABLE = [c for c in ONE_PER_KIND if c.data.is_dense and not models.config_class(c.name).no_export]
WITH_ALL_KINDS = ("cnn", "gru", "transformer")
EXPORTED = list({(c.name, c.kind if c.name in WITH_ALL_KINDS else ""): c for c in EXPORTABLE}.values())
QUICK = {(c.name, c.kind): c for c in ALL}.values()
# Each kind of inputs and each task of an architecture, but not each pair of them.
EACH_KIND_AND_TASK = list(
    dict.fromkeys(c for key in ("kind", "task") for c in {(c.name, getattr(c, key)): c for c in SUPERVISED}.values())
)
ONE_PER_ARCHITECTURE = {c.name: c for c in reversed(SUPERVISED)}.values()


def parametrize(
    selected: Iterable[Combination], quick: Iterable[Combination] = QUICK, group: str = ""
) -> pytest.MarkDecorator:
    """Run a test for each combination; all but the ``quick`` ones are marked as slow.

    All tests of a combination run in the same worker, which builds its model once, unless another
    group is named.
    """
    fast = set(quick)
    parameters = [_parameter(c, slow=c not in fast, group=group or str(c)) for c in selected]
    return pytest.mark.parametrize("combination", parameters)


def _parameter(combination: Combination, slow: bool, group: str) -> Any:
    marks = [pytest.mark.xdist_group(group), *([pytest.mark.slow] if slow else [])]
    return pytest.param(combination, id="-".join(combination), marks=marks)


@functools.cache
def initial_model(combination: Combination) -> Any:
    """The model with initial weights, in evaluation mode. Shared by all tests: do not change it."""
    return combination.build(SEED).eval()


@pytest.mark.parametrize("name", models.names())
def test_every_parameter_is_documented(name: str) -> None:
    section = models.config_class(name)
    assert section.model_fields["name"].default == name
    assert models.summary(name).endswith((".", ")")) and len(models.summary(name)) > 20
    documented = help_texts(section)
    for key, field in section.model_fields.items():
        assert documented.get(key), f"{name}.{key} has no docstring: `hpc-dl models {name}` shows it"
        assert not field.is_required(), f"{name}.{key} has no default"
    assert any(combination.name == name for combination in ALL), "it supports no kind of inputs, or no task"


@pytest.mark.parametrize("name", models.names())
def test_unsupported_data_raise_one_error(name: str) -> None:
    section = models.config_class(name)
    kinds: tuple[InputKind, ...] = ("vector", "image", "tokens", "graph")
    tasks: tuple[TaskName, ...] = ("classification", "embedding", "sequence_to_sequence")
    for kind in kinds:
        for task in tasks:
            if kind in section.inputs and task in section.tasks:
                continue
            data = data_of(kind, task)
            with pytest.raises(ConfigError, match=r"^model\.name: ") as caught:
                small(name).build(data, training_recipe(data))
            assert name in str(caught.value)


@parametrize(ALL)
def test_initial_weights(combination: Combination) -> None:
    model = initial_model(combination)
    assert isinstance(model, TrainingModule) and isinstance(model, model_class(combination.name))
    parameters = dict(model.named_parameters())
    assert all(parameter.isfinite().all() for parameter in parameters.values())
    assert any(parameter.requires_grad for parameter in parameters.values())

    same, other = (dict(combination.build(seed).named_parameters()) for seed in (SEED, SEED + 1))
    assert all(torch.equal(value, same[key]) for key, value in parameters.items()), "the seed does not fix the weights"
    if any(value.std() > 0 for value in parameters.values() if value.numel() > 1 and value.ndim > 1):
        assert not all(torch.equal(value, other[key]) for key, value in parameters.items())


@parametrize(ALL)
def test_building_without_memory(combination: Combination) -> None:
    with torch.device("meta"):
        model = combination.build(SEED)
        if combination in MAPPING and combination.data.is_dense:
            dtype = torch.int64 if combination.kind == "tokens" else torch.float32
            x = torch.zeros(2, *combination.data.input_shape, dtype=dtype)
            assert model.eval()(x).shape == (2, *model.recipe.task.output_shape)
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
    shapes = {key: value.shape for key, value in initial_model(combination).named_parameters()}
    assert {key: value.shape for key, value in model.named_parameters()} == shapes


@parametrize(MAPPING)
def test_shapes(combination: Combination) -> None:
    model, data = initial_model(combination), combination.data
    for size in (1, 5):
        x, y = model.inputs_and_targets(batch_of(data, size))
        with torch.no_grad():
            outputs = model(x)
        positions = model.recipe.task.weight(y)
        dense = data.is_dense or combination.task not in PER_POSITION
        assert outputs.shape == (positions, *(model.recipe.task.output_shape if dense else (CLASSES,)))
        assert outputs.dtype == torch.float32
        assert outputs.isfinite().all()


@parametrize(MAPPING)
def test_samples_of_a_batch_are_independent(combination: Combination) -> None:
    model, batch = initial_model(combination), batch_of(combination.data)
    with torch.no_grad():
        batched = model(model.inputs_and_targets(batch)[0])
        single = [model(model.inputs_and_targets(single_sample(batch, index))[0]) for index in range(4)]
    torch.testing.assert_close(batched, torch.cat(single), rtol=1e-3, atol=1e-5)


@parametrize(MAPPING)
def test_golden_values(combination: Combination) -> None:
    golden = _golden()
    assert str(combination) in golden, "run `python -m tests.models.golden`, and check the difference"
    summary = summary_of(initial_model(combination))
    assert summary["parameters"] == golden[str(combination)]["parameters"]
    if str(combination).startswith("vit ") and Version(torch.__version__) < Version("2.12"):
        pytest.skip("torch 2.11 draws other numbers in trunc_normal_")
    assert summary["outputs"] == pytest.approx(golden[str(combination)]["outputs"], rel=1e-3, abs=1e-4)


@functools.cache
def _golden() -> dict[str, Any]:
    golden: dict[str, Any] = json.loads(GOLDEN.read_text(encoding="utf-8"))
    return golden


@parametrize(SUPERVISED)
def test_every_parameter_gets_a_gradient(combination: Combination) -> None:
    model = copy.deepcopy(initial_model(combination)).train()
    # Several batches: a unit that is inactive for one of them is active for another.
    for seed in range(4):
        model.training_step(batch_of(combination.data, seed=seed), 0).backward()
    parameters = {key: p for key, p in model.named_parameters() if p.requires_grad}
    assert parameters
    for key, parameter in parameters.items():
        assert parameter.grad is not None, f"{key} is not used"
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.count_nonzero() > 0, f"the gradient of {key} is 0"


@parametrize(ALL)
def test_state_dict_restores_the_model(combination: Combination) -> None:
    model, restored = copy.deepcopy(initial_model(combination)).train(), combination.build(seed=9)
    if combination.is_supervised:
        model.training_step(batch_of(combination.data), 0)  # changes running statistics, too
    state = copy.deepcopy(model.state_dict())
    restored.load_state_dict(state, strict=True)
    assert all(torch.equal(value, restored.state_dict()[key]) for key, value in state.items())
    if combination in MAPPING:
        x, _ = model.inputs_and_targets(batch_of(combination.data))
        with torch.no_grad():
            assert torch.equal(model.eval()(x), restored.eval()(x))


@parametrize(dict.fromkeys([*ONE_PER_ARCHITECTURE, *EACH_KIND_AND_TASK]), quick=ONE_PER_ARCHITECTURE)
def test_training_overfits_one_batch(combination: Combination) -> None:
    model = combination.build(seed=0)
    batch = batch_of(combination.data)  # four samples: few enough for a linear function to fit them

    def loss() -> float:
        # As in training, but without dropout: batch statistics of four samples are too noisy for
        # evaluation mode.
        for layer in model.modules():
            if isinstance(layer, (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)):
                layer.eval()
        with torch.no_grad():
            value = model.training_step(batch, 0).item()
        model.train()
        return float(value)

    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    model.train()
    goal = 0.2 * loss()
    for _ in range(60):
        for _ in range(10):
            optimizer.zero_grad()
            model.training_step(batch, 0).backward()
            optimizer.step()
        if loss() <= goal:
            break
    assert loss() <= goal


@pytest.fixture(scope="module")
def shared_onnx_operators() -> Iterator[None]:
    """Torch builds its table of ONNX operators once, not for each export: most of the time."""
    from torch.onnx._internal.exporter import _registration  # imports sympy and onnxscript

    with pytest.MonkeyPatch.context() as patch:
        build = functools.cache(_registration.ONNXRegistry.from_torchlib)
        patch.setattr(_registration.ONNXRegistry, "from_torchlib", staticmethod(build))
        yield


@pytest.mark.usefixtures("shared_onnx_operators")
@parametrize(EXPORTED, quick=[], group="onnx")  # in the worker that built the table
def test_onnx_computes_the_same(combination: Combination, tmp_path: Path) -> None:
    import onnxruntime

    model = copy.deepcopy(initial_model(combination))
    x, _ = model.inputs_and_targets(batch_of(combination.data))
    to_onnx(model, x, tmp_path / "model.onnx", "outputs")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    for size in (1, 5):
        x, _ = model.inputs_and_targets(batch_of(combination.data, size, seed=size))
        (outputs,) = session.run(None, {"inputs": x.numpy()})
        with torch.no_grad():
            torch.testing.assert_close(torch.from_numpy(outputs), model(x), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_two_ranks_learn_the_same_weights() -> None:
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.models.two_ranks", str(number), str(port)],
            cwd=PROJECT,
            env=environment | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    try:
        printed = [rank.communicate(timeout=240)[0] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [0, 0], printed
    first, second = (json.loads(output) for output in printed)
    assert set(first) == {str(c) for c in {(c.name, c.kind): c for c in SUPERVISED}.values()}
    assert first == second
    assert all(before != after for before, after in first.values())


def test_sample_data_match_their_kind_and_task() -> None:
    for _, kind, task in ALL:
        data = data_of(kind, task)
        assert (data.input_kind, data.task) == (kind, task)
    kinds_and_tasks = {(c.kind, c.task) for c in ALL}
    assert all(possible(kind, task) for kind, task in kinds_and_tasks)
    assert {c.name for c in ALL} == set(models.names())


def test_golden_values_belong_to_known_combinations() -> None:
    assert set(_golden()) == set(map(str, MAPPING))
