"""The batches of a LightningModule that has its own data loaders, where the YAML names no data."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl


class OwnLoaders(pl.LightningDataModule):
    """Gives Lightning the module's own loaders."""

    test_split = "test"

    def __init__(self, model: pl.LightningModule) -> None:
        """Load nothing yet.

        Args:
            model: the module; Lightning calls its ``prepare_data`` and ``setup``.
        """
        super().__init__()
        self._model = model

    def train_dataloader(self) -> Any:
        """The module's training batches."""
        return self._model.train_dataloader()

    def val_dataloader(self) -> Any:
        """The module's validation batches; none where it has no such loader."""
        return self._model.val_dataloader() if has_loader(type(self._model), "val") else []

    def test_dataloader(self) -> Any:
        """The module's test batches; none where it has no such loader."""
        return self._model.test_dataloader() if has_loader(type(self._model), "test") else []

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
