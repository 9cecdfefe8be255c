"""Tiny data files, and the folder of users' own modules."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import experiments
from tests.training import modules


@pytest.fixture(scope="session")
def image_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 / 13 / 11 images of 1 × 8 × 8 bytes in three classes."""
    return experiments.classification_file(tmp_path_factory.mktemp("images"))


@pytest.fixture
def user_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes tests/training/modules the current folder: ``model.class`` can be ``file.Class``."""
    modules.enter(monkeypatch)


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    """A function that writes a user's module with a class ``Net`` and returns its import path.

    The module is in the current folder. The source is the body of a class that has a linear
    layer, ``forward`` and an optimizer.
    """
    folder = tmp_path / "user"
    folder.mkdir()
    monkeypatch.chdir(folder)
    before_path, before = list(sys.path), set(sys.modules)
    name = f"usernet_{abs(hash(tmp_path))}"

    def write(body: str) -> str:
        (folder / f"{name}.py").write_text(
            "import pytorch_lightning as pl\nimport torch\n"
            "class Net(pl.LightningModule):\n"
            "    def __init__(self, data):\n"
            "        super().__init__()\n"
            "        self.layer = torch.nn.Linear(64, data.num_outputs)\n"
            "    def loss(self, batch):\n"
            "        return torch.nn.functional.cross_entropy(self.layer(batch[0].flatten(1)), batch[1])\n"
            "    def configure_optimizers(self):\n"
            "        return torch.optim.SGD(self.parameters(), lr=0.1)\n" + body
        )
        return f"{name}.Net"

    yield write
    sys.path[:] = before_path
    for module in set(sys.modules) - before:
        if module.startswith(name):
            del sys.modules[module]
