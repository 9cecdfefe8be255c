"""Measures of how similar generated samples are to real ones."""

from __future__ import annotations

import torch
from torch import Tensor

_NEIGHBORS = 5
_DEVIATIONS = 3.0
_SHARE = 0.1


def energy_distance(real: Tensor, fake: Tensor) -> Tensor:
    """Return 2 E‖X − Y‖ − E‖X − X'‖ − E‖Y − Y'‖, which is 0 only for equal distributions.

    Energy distance of Székely and Rizzo (2013).

    Args:
        real: (N, F) samples X.
        fake: (M, F) samples Y.
    """
    between, within, among = (torch.cdist(a, b).mean() for a, b in ((real, fake), (real, real), (fake, fake)))
    return 2 * between - within - among


def coverage(real: Tensor, fake: Tensor) -> Tensor:
    """Return the share of real samples (N, F) with a generated one (M, F) in their neighborhood.

    The neighborhood reaches to the fifth nearest real sample. The share is 0 if the generator
    covers no real sample, and about 1 − 2⁻⁵ for equal distributions and N = M (Naeem et al., 2020).
    """
    neighbors = min(_NEIGHBORS, len(real) - 1)
    radius = torch.cdist(real, real).kthvalue(neighbors + 1, dim=1).values  # the first is the sample itself
    return (torch.cdist(real, fake).amin(1) < radius).float().mean()


def modes_found(fake: Tensor, modes: Tensor, deviations: Tensor) -> tuple[Tensor, Tensor]:
    """Compare generated samples with the Gaussians of the real ones, which have equal weights.

    Args:
        fake: (M, F) generated samples.
        modes: (K, F) centers.
        deviations: (K,) standard deviations.

    Returns:
        The number of modes that have at least a tenth of their expected number of samples within
        three standard deviations, and the share of samples within three standard deviations of any
        mode.
    """
    distance, nearest = (torch.cdist(fake, modes) / deviations).min(1)
    close = nearest[distance <= _DEVIATIONS]
    covered = torch.bincount(close, minlength=len(modes)) >= max(1.0, _SHARE * len(fake) / len(modes))
    return covered.sum().float(), torch.tensor(len(close) / len(fake), device=fake.device)
