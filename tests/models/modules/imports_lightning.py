"""Imports Lightning by the name of the package that is not installed."""

import lightning.pytorch as pl  # type: ignore[import-not-found]  # noqa: F401
