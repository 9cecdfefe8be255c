"""What every architecture must do, for each kind of inputs and each task that it says it is for.

A new file in hpc_dl/models is tested without touching this one.
"""

import copy
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from torch import nn

from hpc_dl import models
from hpc_dl.data.spec import PER_POSITION, DataSpec, InputKind, TaskName
from hpc_dl.errors import ConfigError
from hpc_dl.inference.onnx_export import to_onnx
from hpc_dl.learning.learner import Learner
from hpc_dl.learning.supervised import Supervised
from tests.conftest import PROJECT
from tests.experiments import learning
from tests.models.golden import GOLDEN, summary_of
from tests.models.samples import CLASSES, STEPS, batch_of, combinations, data_of, one_of, small

Combination = tuple[str, InputKind, TaskName]
ALL: list[Combination] = list(combinations())


def build(name: str, data: DataSpec, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return small(name).build(data, learning(data))


def is_supervised(name: str) -> bool:
    """Whether it is one network with one loss; others train in their own way, and have tests of
    their own for it."""
    _, kind, task = next(combination for combination in ALL if combination[0] == name)
    return isinstance(build(name, data_of(kind, task)), Supervised)


SUPERVISED = [c for c in ALL if is_supervised(c[0])]
MAPPING = [
    c for c in SUPERVISED if c[2] != "sequence_to_sequence"
]  # an output for each input: not sequences to sequences
every = pytest.mark.parametrize(("name", "kind", "task"), ALL)
supervised = pytest.mark.parametrize(("name", "kind", "task"), SUPERVISED)
mapping = pytest.mark.parametrize(("name", "kind", "task"), MAPPING)


@pytest.mark.parametrize("name", models.names())
def test_its_file_says_what_it_is(name: str) -> None:
    section = models.config_class(name)
    assert section.model_fields["name"].default == name
    assert models.summary(name).endswith((".", ")")) and len(models.summary(name)) > 20
    for key, field in section.model_fields.items():
        assert field.description, f"{name}.{key} has no docstring: `hpc-dl models {name}` shows it"
        assert not field.is_required(), f"{name}.{key} has no default"
    assert any(combination[0] == name for combination in ALL), "it takes nothing, or is for nothing"


@every
def test_it_is_a_learner_of_known_parameters(name: str, kind: InputKind, task: TaskName) -> None:
    model = build(name, data_of(kind, task))
    assert isinstance(model, Learner)
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    assert any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("name", models.names())
def test_other_data_are_refused_in_one_line(name: str) -> None:
    section = models.config_class(name)
    for kind in ("vector", "image", "tokens", "graph"):
        for task in ("classification", "embedding", "sequence_to_sequence"):
            if kind in section.inputs and task in section.tasks:
                continue
            data = data_of(kind, task)  # type: ignore[arg-type]
            with pytest.raises(ConfigError, match=r"^model\.name: ") as caught:
                small(name).build(data, learning(data))
            assert name in str(caught.value)


@mapping
def test_shapes(name: str, kind: InputKind, task: TaskName) -> None:
    data = data_of(kind, task)
    model = build(name, data).eval()
    for size in (1, 5):
        batch = batch_of(data, size)
        x, y = model.inputs_and_targets(batch)
        outputs = model(x)
        positions = model.learning.task.weight(y)
        shape = model.learning.task.output_shape if data.is_dense or task not in PER_POSITION else (CLASSES,)
        assert outputs.shape == (positions, *shape)
        assert outputs.dtype == torch.float32
        assert outputs.isfinite().all()


@mapping
def test_every_sample_is_judged_by_itself(name: str, kind: InputKind, task: TaskName) -> None:
    data = data_of(kind, task)
    model, batch = build(name, data).eval(), batch_of(data)
    with torch.no_grad():
        together = model(model.inputs_and_targets(batch)[0])
        alone = [model(model.inputs_and_targets(one_of(batch, number))[0]) for number in range(4)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-3, atol=1e-5)


@supervised
def test_every_parameter_gets_a_finite_gradient(name: str, kind: InputKind, task: TaskName) -> None:
    data = data_of(kind, task)
    model = build(name, data)
    # Several batches: a unit that is dead for one lives in another.
    for seed in range(4):
        model.training_step(batch_of(data, seed=seed), 0).backward()
    parameters = {key: p for key, p in model.named_parameters() if p.requires_grad}
    assert parameters
    for key, parameter in parameters.items():
        assert parameter.grad is not None, f"{key} takes no part"
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.count_nonzero() > 0, f"{key} gets no gradient"


@every
def test_the_seed_fixes_the_weights(name: str, kind: InputKind, task: TaskName) -> None:
    data = data_of(kind, task)
    first, same, other = (dict(build(name, data, seed).named_parameters()) for seed in (3, 3, 4))
    assert all(torch.equal(value, same[key]) for key, value in first.items())
    if any(value.std() > 0 for value in first.values() if value.numel() > 1 and value.ndim > 1):
        assert not all(torch.equal(value, other[key]) for key, value in first.items())


@supervised
def test_it_can_learn_one_batch_by_heart(name: str, kind: InputKind, task: TaskName) -> None:
    data = data_of(kind, task)
    model, batch = build(name, data), batch_of(data)  # four samples: so few that a linear function fits them

    def judged() -> float:
        # As it trains, but without dropout: batch statistics of so few samples say nothing in
        # evaluation.
        for layer in model.modules():
            if isinstance(layer, (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)):
                layer.eval()
        with torch.no_grad():
            found = model.training_step(batch, 0).item()
        model.train()
        return float(found)

    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    model.train()
    goal = 0.2 * judged()
    for _ in range(60):
        for _ in range(10):
            optimizer.zero_grad()
            model.training_step(batch, 0).backward()
            optimizer.step()
        if judged() <= goal:
            break
    assert judged() <= goal


@every
def test_its_state_brings_it_back(name: str, kind: InputKind, task: TaskName) -> None:
    data = data_of(kind, task)
    model, again = build(name, data), build(name, data, seed=9)
    if isinstance(model, Supervised):
        model.training_step(batch_of(data), 0)  # running statistics move, too
    state = copy.deepcopy(model.state_dict())
    again.load_state_dict(state, strict=True)
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in state.items())
    if (name, kind, task) in MAPPING:
        x, _ = model.inputs_and_targets(batch_of(data))
        with torch.no_grad():
            assert torch.equal(model.eval()(x), again.eval()(x))


@every
def test_it_can_be_built_without_memory(name: str, kind: InputKind, task: TaskName) -> None:
    data = data_of(kind, task)
    with torch.device("meta"):
        model = build(name, data)
        if (name, kind, task) in MAPPING and data.is_dense:
            tokens = data.input_kind == "tokens"
            x = torch.zeros(2, *data.input_shape, dtype=torch.int64 if tokens else torch.float32)
            assert model.eval()(x).shape == (2, *model.learning.task.output_shape)
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
    real = {key: value.shape for key, value in build(name, data).named_parameters()}
    assert {key: value.shape for key, value in model.named_parameters()} == real


@mapping
def test_it_computes_what_it_computed(name: str, kind: InputKind, task: TaskName) -> None:
    golden = json.loads(GOLDEN.read_text())
    key = f"{name} {kind} {task}"
    assert key in golden, "run `python -m tests.models.golden`, and look at what it changes"
    found = summary_of(name, kind, task)
    assert found["parameters"] == golden[key]["parameters"]
    assert found["outputs"] == pytest.approx(golden[key]["outputs"], rel=1e-3, abs=1e-4)


# One task for each kind of inputs: the task changes the last layer only.
KINDS = list({(name, kind): (name, kind, task) for name, kind, task in MAPPING}.values())


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind", "task"), KINDS)
def test_its_onnx_computes_the_same(name: str, kind: InputKind, task: TaskName, tmp_path: Path) -> None:
    data = data_of(kind, task)
    model = build(name, data).eval()
    if reason := models.config_class(name).no_export:
        pytest.skip(reason)
    if not data.is_dense:
        pytest.skip("ONNX has arrays of one shape for all samples, and these differ in length")
    x, _ = model.inputs_and_targets(batch_of(data))
    to_onnx(model, x, tmp_path / "model.onnx", "outputs")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    for size in (1, 5):
        x, _ = model.inputs_and_targets(batch_of(data, size, seed=size))
        (found,) = session.run(None, {"inputs": x.numpy()})
        with torch.no_grad():
            torch.testing.assert_close(torch.from_numpy(found), model(x), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_two_ranks_learn_the_same_weights() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    outside = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.models.two_ranks", str(number), str(port)],
            cwd=PROJECT,
            env=outside | {"OMP_NUM_THREADS": "1"},
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
    one, other = (json.loads(output) for output in printed)
    assert set(one) == {" ".join(combination) for combination in SUPERVISED}
    assert one == other
    assert all(before != after for before, after in one.values())


def test_the_samples_are_what_they_are_called() -> None:
    for _, kind, task in ALL:
        data = data_of(kind, task)
        assert (data.input_kind, data.task) == (kind, task)
    assert STEPS > 1 and Path(GOLDEN).exists()
