"""How far generated samples are from real ones."""

from __future__ import annotations

import torch
from torch import Tensor

_NEIGHBORS = 5
_DEVIATIONS = 3.0
_SHARE = 0.1


def energy_distance(real: Tensor, fake: Tensor) -> Tensor:
    """2 E‖X − Y‖ − E‖X − X'‖ − E‖Y − Y'‖ of (N, F) and (M, F): 0 only if they are alike (Székely,
    Rizzo, 2013).
    """
    between, within, among = (torch.cdist(a, b).mean() for a, b in ((real, fake), (real, real), (fake, fake)))
    return 2 * between - within - among


def coverage(real: Tensor, fake: Tensor) -> Tensor:
    """Share of the real samples (N, F) that have a generated one (M, F) nearer than their fifth
    real neighbor.

    0 where the generator misses all, about 1 − 2⁻⁵ for equal distributions and N = M (Naeem et al.,
    2020).
    """
    neighbors = min(_NEIGHBORS, len(real) - 1)
    radius = torch.cdist(real, real).kthvalue(neighbors + 1, dim=1).values  # the first is the sample itself
    return (torch.cdist(real, fake).amin(1) < radius).float().mean()


def modes_found(fake: Tensor, modes: Tensor, deviations: Tensor) -> tuple[Tensor, Tensor]:
    """Compare generated samples with the Gaussians that the real ones come from, all equally
    likely.

    Args:
        fake: (M, F) generated samples.
        modes: (K, F) centers.
        deviations: (K,) standard deviations.

    Returns:
        How many modes get a tenth or more of their fair share of samples within three standard
        deviations, and the share of the samples that are within three of some mode.
    """
    distance, nearest = (torch.cdist(fake, modes) / deviations).min(1)
    good = nearest[distance <= _DEVIATIONS]
    found = torch.bincount(good, minlength=len(modes)) >= max(1.0, _SHARE * len(fake) / len(modes))
    return found.sum().float(), torch.tensor(len(good) / len(fake), device=fake.device)
