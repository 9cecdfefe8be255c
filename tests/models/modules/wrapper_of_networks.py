"""A network that takes another one."""

from torch import nn


class Wrapper(nn.Module):
    """Contains a network."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
