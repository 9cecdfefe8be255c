"""The autoencoder: its code, principal components, and curves."""

from dataclasses import replace

import pytest
import torch

from hpc_dl.data.spec import DataSpec
from hpc_dl.errors import ConfigError
from hpc_dl.learning.losses import LossConfig
from hpc_dl.learning.task import Task
from hpc_dl.models.autoencoder import Autoencoder, AutoencoderConfig
from tests.experiments import spec, training_recipe


def unlabeled(shape: tuple[int, ...]) -> DataSpec:
    return replace(spec(input_shape=shape), task="reconstruction", targets=(), class_names=())


def built(config: AutoencoderConfig, shape: tuple[int, ...]) -> Autoencoder:
    torch.manual_seed(0)
    data = unlabeled(shape)
    model = config.build(data, training_recipe(data))
    assert isinstance(model, Autoencoder)
    return model.eval()


@pytest.mark.parametrize("channels", [[], [2], [3, 4]])
@pytest.mark.parametrize("shape", [(2, 11), (1, 9, 6), (1, 5, 6, 7)])
def test_encoder_and_decoder_shapes(shape: tuple[int, ...], channels: list[int]) -> None:
    model, x = built(AutoencoderConfig(widths=[7], code=3, channels=channels), shape), torch.rand(4, *shape)
    code = model.encode(x)
    assert code.shape == (4, 3)
    assert model(x).shape == x.shape
    assert torch.equal(model.decoder(code), model(x))


def test_number_of_parameters() -> None:
    model = built(AutoencoderConfig(widths=[10, 5], code=2), (1, 4, 4))
    expected = (16 * 10 + 10) + (10 * 5 + 5) + (5 * 2 + 2) + (2 * 5 + 5) + (5 * 10 + 10) + (10 * 16 + 16)
    assert sum(parameter.numel() for parameter in model.parameters()) == expected
    model = built(AutoencoderConfig(widths=[], code=2, channels=[3]), (1, 4, 5))
    expected = (9 * 3 + 3) + (3 * 2 * 3 * 2 + 2) + (2 * 18 + 18) + (9 * 3 + 1)
    assert sum(parameter.numel() for parameter in model.parameters()) == expected


def test_linear_autoencoder_finds_principal_components() -> None:
    """Its error has a single minimum, that of PCA (Bourlard and Kamp, 1988)."""
    torch.manual_seed(1)
    x = torch.randn(200, 6) @ torch.randn(6, 6) + torch.randn(6)
    _, singular, directions = torch.linalg.svd(x - x.mean(0))
    pca_error = singular[2:].square().sum() / len(x)
    model = built(AutoencoderConfig(widths=[], code=2, activation="none"), (6,)).train()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=500, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = model.training_step((x,), 0)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)
    error = (model(x) - x).square().sum() / len(x)
    assert error.item() == pytest.approx(pca_error.item(), rel=1e-3)
    decoded = torch.linalg.qr(model.decoder[0].weight.detach()).Q
    torch.testing.assert_close(decoded @ decoded.T, directions[:2].T @ directions[:2], rtol=0, atol=0.02)


def test_nonlinear_autoencoder_fits_a_curve() -> None:
    """One number determines a point on a parabola, but not by a linear function."""
    t = torch.linspace(-1, 1, 64)[:, None]
    x = torch.cat([t, 2 * t**2], 1)
    errors = []
    for name in ("none", "tanh"):
        model = built(AutoencoderConfig(widths=[16], code=1, activation=name), (2,)).train()  # type: ignore[arg-type]
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        for _ in range(300):
            optimizer.zero_grad()
            loss = model.training_step((x,), 0)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        errors.append(loss.item())
    assert errors[1] < errors[0] / 4


def test_sigmoid_bounds_the_outputs() -> None:
    model = built(AutoencoderConfig(output="sigmoid"), (1, 4, 4))
    outputs = model(100 * torch.randn(8, 1, 4, 4))
    assert outputs.min() >= 0 and outputs.max() <= 1
    plain = built(AutoencoderConfig(), (1, 4, 4))(100 * torch.randn(8, 1, 4, 4))
    assert plain.min() < 0


def test_dropout_acts_on_the_inputs_in_training_only() -> None:
    model, x = built(AutoencoderConfig(dropout=0.5), (1, 4, 4)), torch.rand(2, 1, 4, 4)
    assert torch.equal(model(x), model(x))
    assert not torch.equal(model.train()(x), model(x))


def test_invalid_options_raise() -> None:
    for config, shape, message in [
        (
            AutoencoderConfig(channels=[2]),
            (8,),
            r"model\.channels: needs inputs with an axis to convolve along.*\(got \[2\]; allowed: \[\]\)",
        ),
        (AutoencoderConfig(channels=[2], kernel_size=2), (1, 8, 8), r"model\.kernel_size: must be odd \(got 2\)"),
    ]:
        with pytest.raises(ConfigError, match=message):
            built(config, shape)
    data = unlabeled((1, 8, 8))
    with_bce = replace(training_recipe(data), task=Task(LossConfig(name="bce"), data))
    with pytest.raises(ConfigError, match=r"model\.output: has no effect: the loss bce applies a sigmoid"):
        AutoencoderConfig(output="sigmoid").build(data, with_bce)
