"""What every architecture must do; a new file in hpc_dl/models is tested without touching this one."""

import copy

import pytest
import torch

from hpc_dl import models
from hpc_dl.data.spec import DataSpec
from hpc_dl.errors import ConfigError
from hpc_dl.learning.supervised import Supervised
from tests.experiments import learning, spec

DATA = {
    "grey-images": spec(input_shape=(1, 12, 12), num_outputs=4),
    "colour-images": spec(input_shape=(3, 8, 12), num_outputs=2),
    "vectors": spec(input_shape=(6,), num_outputs=3),
    "one-value": spec("regression", input_shape=(1, 8, 8), num_outputs=1),
    "two-values": spec("regression", input_shape=(6,), num_outputs=2),
}


def build(name: str, data: DataSpec, seed: int = 0) -> Supervised:
    torch.manual_seed(seed)
    model = models.config_class(name)(name=name).build(data, learning(data))
    assert isinstance(model, Supervised)
    return model


def batch(data: DataSpec, size: int = 8, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(size, *data.input_shape, generator=generator)
    if data.task == "classification":
        return x, torch.arange(size) % data.num_outputs
    return x, torch.randn(size, data.num_outputs, generator=generator)


def pairs() -> list[tuple[str, DataSpec]]:
    """Each architecture with each data that it accepts; it must accept some of these."""
    found = []
    for name in models.names():
        fitting = []
        for key, data in DATA.items():
            try:
                build(name, data)
            except ConfigError:
                continue
            fitting.append(pytest.param(name, data, id=f"{name}-{key}"))
        found += fitting or [pytest.param(name, DATA["grey-images"], id=f"{name}-nothing-fits")]
    return found  # type: ignore[return-value]


every = pytest.mark.parametrize(("name", "data"), pairs())


@pytest.mark.parametrize("name", models.names())
def test_its_file_says_what_it_is(name: str) -> None:
    section = models.config_class(name)
    assert section.model_fields["name"].default == name
    assert models.summary(name).endswith((".", ")")) and len(models.summary(name)) > 20
    for key, field in section.model_fields.items():
        assert field.description, f"{name}.{key} has no docstring: `hpc-dl models {name}` shows it"
        assert not field.is_required(), f"{name}.{key} has no default"


@every
def test_shapes(name: str, data: DataSpec) -> None:
    model = build(name, data).eval()
    for size in (1, 5):
        outputs = model(batch(data, size)[0])
        assert outputs.shape == (size, data.num_outputs)
        assert outputs.dtype == torch.float32
        assert outputs.isfinite().all()


@every
def test_every_sample_is_judged_by_itself(name: str, data: DataSpec) -> None:
    model = build(name, data).eval()
    x, _ = batch(data, 4)
    with torch.no_grad():
        torch.testing.assert_close(model(x)[2:3], model(x[2:3]), rtol=1e-4, atol=1e-5)


@every
def test_every_parameter_gets_a_finite_gradient(name: str, data: DataSpec) -> None:
    model = build(name, data)
    model.training_step(batch(data), 0).backward()
    parameters = dict(model.named_parameters())
    assert parameters
    for key, parameter in parameters.items():
        assert parameter.grad is not None, f"{key} takes no part"
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.count_nonzero() > 0, f"{key} gets no gradient"


@every
def test_the_seed_fixes_the_weights(name: str, data: DataSpec) -> None:
    first, same, other = (dict(build(name, data, seed).named_parameters()) for seed in (3, 3, 4))
    assert all(torch.equal(value, same[key]) for key, value in first.items())
    assert not all(torch.equal(value, other[key]) for key, value in first.items())


@every
def test_it_can_learn_one_batch_by_heart(name: str, data: DataSpec) -> None:
    model, (x, y) = build(name, data), batch(data, 4)  # four samples: so few that a linear function fits them
    criterion = model.learning.task.loss

    def judged() -> float:
        model.eval()
        with torch.no_grad():
            found = criterion(model(x), y).item()
        model.train()
        return found

    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    goal = 0.2 * judged()
    for _ in range(60):
        for _ in range(10):
            optimizer.zero_grad()
            model.training_step((x, y), 0).backward()
            optimizer.step()
        if judged() < goal:
            break
    assert judged() < goal
    if data.task == "classification":
        with torch.no_grad():
            assert (model.eval()(x).argmax(1) == y).all()


@every
def test_its_state_brings_it_back(name: str, data: DataSpec) -> None:
    model, x = build(name, data), batch(data)[0]
    model(x)  # running statistics move, too
    state = copy.deepcopy(model.state_dict())
    again = build(name, data, seed=9)
    again.load_state_dict(state, strict=True)
    with torch.no_grad():
        assert torch.equal(model.eval()(x), again.eval()(x))


@every
def test_it_can_be_built_without_memory(name: str, data: DataSpec) -> None:
    with torch.device("meta"):
        model = build(name, data)
        outputs = model.eval()(torch.empty(2, *data.input_shape))
    assert outputs.shape == (2, data.num_outputs)
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
    real = {key: value.shape for key, value in build(name, data).named_parameters()}
    assert {key: value.shape for key, value in model.named_parameters()} == real
