"""ResNet-18 in plain torch, and one training step of it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.gpu.setting import Setting

CLASSES = 10


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut around them."""

    def __init__(self, num_in: int, num_out: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(num_in, num_out, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(num_out),
            nn.ReLU(inplace=True),
            nn.Conv2d(num_out, num_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(num_out),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or num_in != num_out:
            self.shortcut = nn.Sequential(nn.Conv2d(num_in, num_out, 1, stride, bias=False), nn.BatchNorm2d(num_out))

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, num_in, height, width) to (batch, num_out, height/stride, width/stride)."""
        return torch.relu(self.body(x) + self.shortcut(x))


def resnet18(channels: int, width: int = 64) -> nn.Sequential:
    """Return the 18-layer residual network (He et al., 2016).

    Args:
        channels: of the images.
        width: of the first blocks; 64 in the paper.
    """
    widths = [width, width, 2 * width, 4 * width, 8 * width]
    blocks = [
        ResidualBlock(num_in if first else num_out, num_out, 2 if first and num_in != num_out else 1)
        for num_in, num_out in itertools.pairwise(widths)
        for first in (True, False)
    ]
    return nn.Sequential(
        nn.Conv2d(channels, width, 7, stride=2, padding=3, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, stride=2, padding=1),
        *blocks,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8 * width, CLASSES),
    )


def training_step(setting: Setting, channels: int, *, bf16: bool) -> Callable[[Tensor, Tensor], None]:
    """Return a training step: channels last, SGD with momentum.

    Args:
        setting: of the part.
        channels: of the images.
        bf16: compute in bfloat16 by autocast; else in float32, with TF32 where the GPU has it.
    """
    # Not 4: with 4 channels, a 1×1 convolution of stride 2 in channels_last corrupts memory on some
    # CPUs (torch 2.13.0).
    network: Any = resnet18(channels, setting.choose(64, 8))
    network = network.to(setting.device, memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)

    def step(x: Tensor, y: Tensor) -> None:
        optimizer.zero_grad()
        with torch.autocast(setting.device.type, torch.bfloat16, enabled=bf16):
            loss: Any = nn.functional.cross_entropy(network(x.to(memory_format=torch.channels_last)), y)
        loss.backward()
        optimizer.step()

    return step
