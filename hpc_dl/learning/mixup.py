"""Mixup: training on weighted means of two samples (H. Zhang et al., mixup, ICLR 2018)."""

from __future__ import annotations

import torch
from torch import Tensor


def mixed(x: Tensor, alpha: float) -> tuple[Tensor, Tensor, float]:
    """Mix each sample of a batch with another one of it.

    Random numbers come from the process's CPU generator, whose state is in every checkpoint.

    Args:
        x: (B, ...) inputs.
        alpha: parameter of the Beta(α, α) distribution, above 0.

    Returns:
        The mixed inputs of the same shape; (B,) numbers of the other samples; the share λ of the
        samples themselves, 0 to 1, one for the batch.
    """
    share = float(torch.distributions.Beta(alpha, alpha).sample())
    others = torch.randperm(len(x)).to(x.device)
    return share * x + (1 - share) * x[others], others, share
