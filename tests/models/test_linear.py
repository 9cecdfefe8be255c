"""The linear model: least squares, and what it cannot learn."""

import torch

from hpc_dl.models.linear import Linear, LinearConfig
from tests.experiments import spec, training_recipe, values


def test_finds_the_least_squares_solution() -> None:
    data = spec("regression", input_shape=(5,), num_outputs=1)
    samples = values(48, seed=0)
    x, y = torch.from_numpy(samples.inputs), torch.from_numpy(samples.targets)
    model = LinearConfig().build(data, training_recipe(data))
    assert isinstance(model, Linear)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = model.training_step((x, y), 0)
        loss.backward()
        return loss

    optimizer.step(closure)
    exact = torch.linalg.lstsq(torch.cat([x, torch.ones(48, 1)], dim=1), y).solution.flatten()
    torch.testing.assert_close(torch.cat([model.layer.weight[0], model.layer.bias]), exact, rtol=1e-3, atol=1e-4)


def test_cannot_learn_xor() -> None:
    x = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
    y = torch.tensor([0, 1, 1, 0])
    data = spec(input_shape=(2,), num_outputs=2)
    torch.manual_seed(0)
    model = LinearConfig().build(data, training_recipe(data))
    assert isinstance(model, Linear)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    for _ in range(150):
        optimizer.zero_grad()
        loss = model.training_step((x, y), 0)
        loss.backward()
        optimizer.step()
    assert abs(loss.item() - 0.6931) < 1e-3  # ln 2: it ends by saying nothing
