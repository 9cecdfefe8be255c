"""Modules that cannot be built, each for another reason; tests/training/test_trial.py."""

import os
import time
from typing import Any

from linear_net import LinearNet


class Crashes(LinearNet):
    def __init__(self, data: Any) -> None:
        super().__init__(data)
        os.abort()


class Ends(LinearNet):
    def __init__(self, data: Any) -> None:
        super().__init__(data)
        os._exit(0)


class Interrupts(LinearNet):
    def __init__(self, data: Any) -> None:
        super().__init__(data)
        raise KeyboardInterrupt


class Hangs(LinearNet):
    def __init__(self, data: Any) -> None:
        super().__init__(data)
        while True:
            time.sleep(0.1)


class Asks(LinearNet):
    def __init__(self, data: Any) -> None:
        super().__init__(data)
        self.width = input()
