"""The batches of a LightningModule that has its own data loaders, where the YAML names no data."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl


class OwnLoaders(pl.LightningDataModule):
    """Gives Lightning the module's own loaders."""

    test_split = "test"  # whose samples the module is tested on

    def __init__(self, model: pl.LightningModule) -> None:
        """Load nothing yet.

        Args:
            model: the module; Lightning calls its ``prepare_data`` and ``setup``.
        """
        super().__init__()
        self._model = model

    def setup(self, stage: str) -> None:
        """Have the module set up the loaders of the training where it is tested on one of them.

        Args:
            stage: what Lightning is about to do; it sets up the module for that itself.
        """
        if stage == "test" and self.test_split != "test":
            self._model.setup("fit")

    def train_dataloader(self) -> Any:
        """The module's training batches."""
        return self._model.train_dataloader()

    def val_dataloader(self) -> Any:
        """The module's validation batches; none where it has no such loader."""
        return self._model.val_dataloader() if has_loader(type(self._model), "val") else []

    def test_dataloader(self) -> Any:
        """The module's test batches, or those of :attr:`test_split`; none without such a loader."""
        has_one = has_loader(type(self._model), self.test_split)
        return getattr(self._model, f"{self.test_split}_dataloader")() if has_one else []

    def example_batch(self) -> Any:
        """A training batch."""
        return next(iter(self.train_dataloader()))

    def start_at(self, epoch: int, batch: int) -> None:
        """Do nothing: the loop over the batches skips those that are done."""

    def describe_missing_values(self) -> list[str]:
        """Nothing is known of the data."""
        return []


def has_loader(module: type[pl.LightningModule], split: str) -> bool:
    """Whether a LightningModule has its own loader of a split (train, val or test)."""
    name = f"{split}_dataloader"
    return getattr(module, name) is not getattr(pl.LightningModule, name)
