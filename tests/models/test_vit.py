"""The Vision Transformer: patches, positions, and image sizes."""

import pytest
import torch

from hpc_dl.errors import ConfigError
from hpc_dl.models.vit import ViT, ViTConfig
from tests.experiments import spec, training_recipe

IMAGES = spec(input_shape=(2, 8, 12))


def vit(**options: object) -> ViT:
    torch.manual_seed(0)
    config = ViTConfig.model_validate(ViTConfig.small | options)
    return config.build(IMAGES, training_recipe(IMAGES)).eval()  # type: ignore[return-value]


@pytest.mark.parametrize("read_out", ["mean", "class_token"])
def test_number_of_patches(read_out: str) -> None:
    model = vit(patch_size=4, read_out=read_out)
    steps: list[torch.Size] = []
    model.encoder.register_forward_pre_hook(lambda _, given: steps.append(given[0].shape))
    assert model(torch.rand(5, 2, 8, 12)).shape == (5, 3)
    assert steps == [(5, 2 * 3 + (read_out == "class_token"), 16)]


def test_patch_embedding_is_linear() -> None:
    model, x = vit(patch_size=4), torch.rand(1, 2, 8, 12)
    second = x[0, :, :4, 4:8].flatten()
    expected = model.patches.weight.flatten(1) @ second + model.patches.bias
    torch.testing.assert_close(model.patches(x).flatten(2).mT[0, 1], expected)


def test_patch_position_matters() -> None:
    x = torch.rand(1, 2, 8, 12)
    model = vit(patch_size=4)
    assert not torch.allclose(model(x), model(x.roll(4, -1)), atol=1e-6)


@pytest.mark.parametrize("size", [3, 8, 12])
def test_image_size_must_be_a_multiple_of_the_patch_size(size: int) -> None:
    with pytest.raises(ConfigError) as caught:
        vit(patch_size=size)
    message = "model.patch_size: does not divide images of 8×12 pixels (got {}; allowed: 1, 2, 4)"
    assert str(caught.value) == message.format(size)
