"""Augmentation: the effect of each setting, and the same images in a resumed run."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from hpc_dl.data.config import Augmentation, DataConfig
from hpc_dl.data.datamodule import HDF5DataModule
from hpc_dl.data.open_spec import open_spec
from hpc_dl.data.preprocessing.augmentation import augment
from hpc_dl.errors import ConfigError
from hpc_dl.training.train import train
from tests import experiments
from tests.training.attempts import Stop, attempt

IMAGES = torch.rand(64, 2, 6, 9, generator=torch.Generator().manual_seed(0))
VOLUMES = torch.rand(8, 1, 4, 6, 5, generator=torch.Generator().manual_seed(0))


def changed(x: torch.Tensor, **settings: Any) -> torch.Tensor:
    torch.manual_seed(1)
    return augment(Augmentation(**settings), x)[0]


def test_default_changes_nothing() -> None:
    assert changed(IMAGES) is IMAGES


@pytest.mark.parametrize("axis", [-1, -2])
def test_half_of_the_images_are_mirrored(axis: int) -> None:
    result = changed(IMAGES, mirror=[axis])
    mirrored = [torch.equal(new, old.flip(axis)) for new, old in zip(result, IMAGES, strict=True)]
    same = [torch.equal(new, old) for new, old in zip(result, IMAGES, strict=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True)) and 16 < sum(mirrored) < 48


def test_labels_move_with_the_pixels() -> None:
    # Labels equal the pixel values, and must still do so after both have moved.
    for x in (torch.arange(4 * 8 * 8.0).reshape(4, 1, 8, 8) // 8, VOLUMES.mul(10).round()):
        labels = x[:, 0].long()
        torch.manual_seed(3)
        result, moved = augment(Augmentation(mirror=[-1, -2]), x, labels)
        assert moved is not None and torch.equal(result[:, 0].long(), moved)
        torch.manual_seed(3)
        result, moved = augment(Augmentation(shift=0.4, rotate=90.0, scale=0.2), x, labels)
        assert moved is not None and moved.dtype == torch.int64
        assert set(moved.unique().tolist()) <= set(labels.unique().tolist()), "no new classes"
        assert not torch.equal(moved, labels)


def test_shift_is_a_fraction_of_the_size() -> None:
    x = torch.zeros(200, 1, 1, 41)
    x[..., 20] = 1
    places = (changed(x, shift=0.25)[:, 0, 0] * torch.arange(41)).sum(1)
    assert places.min() >= 20 - 0.25 * 41 - 0.5 and places.max() <= 20 + 0.25 * 41 + 0.5
    assert places.std() > 3  # uniform over ±10 pixels: 5.9


def test_rotation_keeps_lengths_in_any_aspect_ratio() -> None:
    # A disc stays a disc of the same extent along both axes.
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(80.0), indexing="ij")
    disc = (((y - 19.5) ** 2 + (x - 39.5) ** 2) < 12**2).float().expand(16, 1, 40, 80)
    result = changed(disc, rotate=180.0) > 0.5
    rows, columns = result.any(3).sum(2).flatten(), result.any(2).sum(2).flatten()
    assert (rows - 24).abs().max() <= 1 and (columns - 24).abs().max() <= 1


def test_scale_changes_the_area() -> None:
    square = torch.zeros(300, 1, 64, 64)
    square[..., 16:48, 16:48] = 1
    sides = changed(square, scale=0.25).sum((1, 2, 3)).sqrt() / 32
    assert 0.74 < sides.min() < 0.8 and 1.2 < sides.max() < 1.26


def test_shear_keeps_the_area() -> None:
    square = torch.zeros(50, 1, 64, 64)
    square[..., 20:44, 20:44] = 1
    result = changed(square, shear=0.3)
    assert not torch.allclose(result, square, atol=0.1)
    torch.testing.assert_close(result.sum((1, 2, 3)), square.sum((1, 2, 3)), rtol=0.02, atol=0)


def test_brightness_contrast_and_noise() -> None:
    added = changed(IMAGES, brightness=0.2) - IMAGES
    torch.testing.assert_close(added, added[:, :1, :1, :1].expand_as(added), atol=1e-6, rtol=0)
    assert added.abs().max() <= 0.2 and added.flatten(1)[:, 0].std() > 0.05
    result = changed(IMAGES, contrast=0.5)
    torch.testing.assert_close(result.mean((1, 2, 3)), IMAGES.mean((1, 2, 3)))
    factors = result.std((1, 2, 3)) / IMAGES.std((1, 2, 3))
    assert 0.5 <= factors.min() < 0.7 and 1.3 < factors.max() <= 1.5
    noise = changed(IMAGES, noise=0.1) - IMAGES
    assert noise.std().item() == pytest.approx(0.1, rel=0.03)


def test_volumes_are_augmented_along_all_axes() -> None:
    result = changed(VOLUMES, rotate=30.0, shift=0.1, scale=0.1, shear=0.1, mirror=[-3], noise=0.01)
    assert result.shape == VOLUMES.shape and result.isfinite().all()
    assert not torch.allclose(result, VOLUMES, atol=0.05)


@pytest.mark.parametrize("smoothness", [2.0, 8.0])
def test_elastic_shifts_are_smooth_and_as_large_as_configured(smoothness: float) -> None:
    sizes = (48, 80)
    places = torch.stack(torch.meshgrid(*[torch.arange(float(n)) for n in sizes], indexing="ij")).expand(24, 2, *sizes)
    shifts = changed(places, elastic=1.5, elastic_smoothness=smoothness) - places
    shifts = shifts[..., 8:-8, 8:-8]  # pixels from beyond the edge repeat the edge
    assert shifts.std().item() == pytest.approx(1.5, rel=0.1)
    for axis in (-1, -2):
        # A Gaussian filter of σ gives neighbors a correlation of exp(-1 / 4σ²).
        difference = shifts.diff(dim=axis).square().mean() / (2 * shifts.square().mean())
        assert 1 - difference.item() == pytest.approx(math.exp(-1 / (4 * smoothness**2)), abs=0.01)


def test_labels_follow_elastic_shifts() -> None:
    x = torch.arange(32.0).expand(8, 1, 32, 32)
    torch.manual_seed(0)
    moved, labels = augment(Augmentation(elastic=2.0), x, x[:, 0].long())
    assert labels is not None and not torch.equal(labels, x[:, 0].long())
    assert (moved[:, 0] - labels).abs().max() <= 0.5 + 1e-4, "the nearest pixel of the same place"


def test_box_is_set_to_the_mean_of_the_image() -> None:
    for x in (IMAGES, VOLUMES):
        result = changed(x, occlude=0.5)
        means = x.mean(dim=tuple(range(1, x.ndim)), keepdim=True).expand_as(x)
        box = result != x
        assert torch.equal(result[box], means[box])
        side = [round(0.5 * n) for n in x.shape[2:]]
        sizes = box[:, 0].flatten(1).sum(1)
        assert sizes.max() == math.prod(side) and sizes.min() < math.prod(side), "at the edge a part is outside"
        assert (box.any(dim=1) == box.all(dim=1)).all(), "all channels"


def test_evaluation_is_not_augmented(tmp_path: Path) -> None:
    file = experiments.classification_file(tmp_path)
    plain, augmented = (
        HDF5DataModule(file, batch_size=8, augmentation=section) for section in (None, {"shift": 0.3, "noise": 0.5})
    )
    for one, other in zip(plain.val_dataloader(), augmented.val_dataloader(), strict=True):
        assert torch.equal(augmented.on_after_batch_transfer(other, 0)[0], plain.on_after_batch_transfer(one, 0)[0])


@pytest.mark.slow
def test_resumed_run_sees_the_same_images(tmp_path: Path) -> None:
    file = experiments.classification_file(tmp_path)
    section = {"rotate": 20.0, "shift": 0.2, "noise": 0.3, "mirror": [-1], "elastic": 1.0, "occlude": 0.3}
    content = experiments.raw(file, data={"augmentation": section}, loss={"mixup": 0.4}, trainer={"max_epochs": 2})
    uninterrupted, stopped, without = (
        experiments.prepared(tmp_path, c) for c in (content, content, experiments.raw(file, trainer={"max_epochs": 2}))
    )
    for run in (uninterrupted, without):
        train(run)
    assert attempt(stopped, Stop(3)) == 75
    assert attempt(stopped) == 0
    weights = [
        torch.load(r.last_checkpoint, weights_only=True)["state_dict"] for r in (uninterrupted, stopped, without)
    ]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    assert not torch.equal(weights[0]["head.weight"], weights[2]["head.weight"])


def test_vectors_cannot_be_augmented(tmp_path: Path) -> None:
    config = DataConfig(file=str(experiments.regression_file(tmp_path)), augmentation=Augmentation(rotate=10.0))
    with pytest.raises(ConfigError, match=r"data\.augmentation: works on images and volumes only"):
        open_spec(config)
