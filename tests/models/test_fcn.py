"""The fully convolutional network: strides, scores of several stages, upsampling."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from hpc_dl.data.spec import DataSpec, FieldSpec
from hpc_dl.errors import ConfigError
from hpc_dl.models.fcn import FCN, FCNConfig
from tests.experiments import spec, training_recipe


def labeled(shape: tuple[int, ...]) -> DataSpec:
    target = FieldSpec("targets", shape[1:], "int64")
    return replace(spec(input_shape=shape, num_outputs=3), task="segmentation", targets=(target,))


def built(config: FCNConfig, shape: tuple[int, ...]) -> FCN:
    torch.manual_seed(0)
    data = labeled(shape)
    model = config.build(data, training_recipe(data))
    assert isinstance(model, FCN)
    return model.eval()


@pytest.mark.parametrize("shape", [(1, 20, 14, 25), (2, 17, 13), (3, 29)])
@pytest.mark.parametrize("skips", [0, 1, 3])
def test_outputs_have_the_size_of_the_inputs(shape: tuple[int, ...], skips: int) -> None:
    model = built(FCNConfig(channels=[2, 3, 4, 4], skips=skips), shape)
    with torch.no_grad():
        assert model(torch.rand(2, *shape)).shape == (2, 3, *shape[1:])


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_number_of_parameters(axes: int) -> None:
    def stage(num_in: int, num_out: int) -> int:
        return 3**axes * (num_in * num_out + num_out**2) + 4 * num_out

    stages = stage(2, 4) + stage(4, 5) + stage(5, 6)
    shape = (2, *[8] * axes)
    model = built(FCNConfig(channels=[4, 5, 6], skips=0), shape)
    one_head = (6 * 3 + 3) + 3 * 3 * 8**axes + 3  # scores, then a kernel of twice the factor 4
    assert sum(parameter.numel() for parameter in model.parameters()) == stages + one_head
    model = built(FCNConfig(channels=[4, 5, 6], skips=1), shape)
    two_heads = (6 * 3 + 3) + (5 * 3 + 3) + 2 * (3 * 3 * 4**axes + 3)
    assert sum(parameter.numel() for parameter in model.parameters()) == stages + two_heads


def test_no_skips_interpolates_coarse_scores() -> None:
    model = built(FCNConfig(channels=[4, 4, 4], skips=0), (1, 32, 32))
    coarse = []
    model.scores[0].register_forward_hook(lambda module, inputs, outputs: coarse.append(outputs))
    with torch.no_grad():
        model.last.bias.zero_()  # type: ignore[union-attr, operator]
        outputs = model(torch.rand(2, 1, 32, 32))
    assert coarse[0].shape == (2, 3, 8, 8)
    expected = functional.interpolate(coarse[0], scale_factor=4, mode="bilinear", align_corners=False)
    torch.testing.assert_close(outputs[..., 4:-4, 4:-4], expected[..., 4:-4, 4:-4])


def test_every_score_is_used() -> None:
    model, x = built(FCNConfig(channels=[4, 4, 4], skips=2), (1, 8, 8)), torch.rand(1, 1, 8, 8)
    complete = model(x)
    for score in model.scores:
        kept = {key: value.clone() for key, value in score.state_dict().items()}
        with torch.no_grad():
            score.weight.zero_()  # type: ignore[union-attr, operator]
            assert not torch.allclose(model(x), complete)
        score.load_state_dict(kept)
    assert torch.equal(model(x), complete)


def test_dropout_acts_in_training_only() -> None:
    model, x = built(FCNConfig(channels=[4, 4], dropout=0.9, norm="group"), (1, 8, 8)), torch.rand(2, 1, 8, 8)
    assert torch.equal(model(x), model(x))
    assert not torch.equal(model.train()(x), model(x))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            FCNConfig(channels=[2] * 5),
            "model.channels: halves the inputs 4 times, but 8×8 can be halved only 3 times "
            "(got [2, 2, 2, 2, 2]; allowed: at most 3 halvings)",
        ),
        (
            FCNConfig(channels=[2, 2], skips=2),
            "model.skips: exceeds the number of stages before the last one (got 2; allowed: at most 1)",
        ),
        (FCNConfig(kernel_size=4), "model.kernel_size: must be odd (got 4)"),
    ],
)
def test_invalid_options_raise(config: FCNConfig, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        built(config, (1, 8, 8))
    assert str(caught.value) == message
