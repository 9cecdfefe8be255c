"""Losses of two networks that compete: a generator of samples and a discriminator that tells them
from real ones.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

AdversarialLoss = Literal["plain", "relativistic"]


def discriminator_loss(kind: AdversarialLoss, real: Tensor, fake: Tensor) -> Tensor:
    """What the discriminator minimizes, the mean of a batch.

    Args:
        kind: ``plain``: −log σ(real) − log(1 − σ(fake)) (Goodfellow et al., 2014);
            ``relativistic``: −log σ(real − fake) of pairs (Jolicoeur-Martineau, 2019).
        real: (B,) judgments of real samples, high where they are taken for real.
        fake: (B,) judgments of generated ones.
    """
    if kind == "plain":
        return functional.softplus(-real).mean() + functional.softplus(fake).mean()
    return functional.softplus(fake - real).mean()


def generator_loss(kind: AdversarialLoss, real: Tensor, fake: Tensor) -> Tensor:
    """What the generator minimizes, the mean of a batch; see :func:`discriminator_loss`.

    ``plain`` does not saturate: −log σ(fake), where the discriminator has the opposite of log(1 −
    σ(fake)).
    """
    if kind == "plain":
        return functional.softplus(-fake).mean()
    return functional.softplus(real - fake).mean()


def gradient_penalty(judgments: Tensor, samples: Tensor) -> Tensor:
    """Mean of ½‖∇D(x)‖², R1 on real and R2 on generated samples (Mescheder et al., 2018); with a
    graph.

    Args:
        judgments: (B,) of the samples, each of its own sample alone.
        samples: (B, …) that require gradients.
    """
    (gradients,) = torch.autograd.grad(judgments.sum(), samples, create_graph=True)
    return gradients.flatten(1).square().sum(1).mean() / 2
