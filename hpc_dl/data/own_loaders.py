"""The batches of a user's own data loaders, in the LightningModule or in a LightningDataModule."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl


class OwnLoaders(pl.LightningDataModule):
    """What both have in common: nothing is known of the samples but what the loaders return.

    A user's data module may have attributes such as ``test_split`` or ``example_batch``, so the
    names here are others.
    """

    evaluated_split = "test"  # whose samples the model is tested on

    def has_loader(self, split: str) -> bool:
        """Whether there are batches of a split (train, val or test)."""
        raise NotImplementedError

    def first_training_batch(self) -> Any:
        """A training batch."""
        return next(iter(self.train_dataloader()))

    def start_at(self, epoch: int, batch: int) -> None:
        """Do nothing: the loop over the batches skips those that are done."""

    def describe_missing_values(self) -> list[str]:
        """Nothing is known of the data."""
        return []


class LoadersOfModule(OwnLoaders):
    """Gives Lightning the loaders of a LightningModule."""

    def __init__(self, model: pl.LightningModule) -> None:
        """Load nothing yet.

        Args:
            model: the module; Lightning calls its ``prepare_data`` and ``setup``.
        """
        super().__init__()
        self._model = model

    def has_loader(self, split: str) -> bool:
        """Whether the module has such a loader."""
        return has_loader(type(self._model), split)

    def setup(self, stage: str) -> None:
        """Have the module set up the loaders of the training where it is tested on one of them.

        Args:
            stage: what Lightning is about to do; it sets up the module for that itself.
        """
        if stage == "test" and self.evaluated_split != "test":
            self._model.setup("fit")

    def train_dataloader(self) -> Any:
        """The module's training batches."""
        return self._model.train_dataloader()

    def val_dataloader(self) -> Any:
        """The module's validation batches; none where it has no such loader."""
        return self._model.val_dataloader() if self.has_loader("val") else []

    def test_dataloader(self) -> Any:
        """The batches of :attr:`evaluated_split`; none where the module has no such loader."""
        split = self.evaluated_split
        return getattr(self._model, f"{split}_dataloader")() if self.has_loader(split) else []


class _LoadersOfDataModule(OwnLoaders):
    """Precedes a user's class among the bases, so that ``super()`` is the user's."""

    def has_loader(self, split: str) -> bool:
        return has_loader(type(self).__bases__[1], split)

    def setup(self, stage: str) -> None:
        super().setup(stage)
        if stage == "test" and self.evaluated_split != "test":
            super().setup("fit")

    def test_dataloader(self) -> Any:
        return getattr(super(), f"{self.evaluated_split}_dataloader")()


def loaders_of(module: pl.LightningDataModule) -> OwnLoaders:
    """Return a user's data module, the same object, with what hpc_dl asks of its batches.

    Lightning treats a hook that a data module defines differently from one that it inherits. So
    it gets the user's own module, whose class gains a base, and not another one that calls it.
    """
    kind = type(module)
    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    module.__class__ = type(kind.__name__, (_LoadersOfDataModule, kind), names)
    assert isinstance(module, OwnLoaders)
    return module


def has_loader(module: type[pl.LightningModule | pl.LightningDataModule], split: str) -> bool:
    """Whether a module has its own loader of a split (train, val or test)."""
    name = f"{split}_dataloader"
    return getattr(module, name) is not getattr(pl.LightningModule, name)
