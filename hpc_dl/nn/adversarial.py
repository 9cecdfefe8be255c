"""Losses of a generator of samples and of a discriminator of real and generated samples."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

AdversarialLoss = Literal["plain", "relativistic"]


def discriminator_loss(kind: AdversarialLoss, real: Tensor, fake: Tensor) -> Tensor:
    """Return the mean loss of the discriminator, a scalar.

    Args:
        kind: ``plain``: −log σ(real) − log(1 − σ(fake)) (Goodfellow et al., 2014);
            ``relativistic``: −log σ(real − fake) of pairs (Jolicoeur-Martineau, 2019).
        real: (B,) logits of real samples; high means real.
        fake: (B,) logits of generated samples.
    """
    if kind == "plain":
        return functional.softplus(-real).mean() + functional.softplus(fake).mean()
    return functional.softplus(fake - real).mean()


def generator_loss(kind: AdversarialLoss, real: Tensor, fake: Tensor) -> Tensor:
    """Return the mean loss of the generator, a scalar; see :func:`discriminator_loss`.

    ``plain`` is the non-saturating loss: −log σ(fake) in place of log(1 − σ(fake)).
    """
    if kind == "plain":
        return functional.softplus(-fake).mean()
    return functional.softplus(real - fake).mean()


def gradient_penalty(logits: Tensor, samples: Tensor) -> Tensor:
    """Return the mean of ½‖∇D(x)‖², which can be differentiated again.

    R1 for real and R2 for generated samples (Mescheder et al., 2018).

    Args:
        logits: (B,) of the samples; each depends on its own sample only.
        samples: (B, …), require gradients.
    """
    (gradients,) = torch.autograd.grad(logits.sum(), samples, create_graph=True)
    return gradients.flatten(1).square().sum(1).mean() / 2
