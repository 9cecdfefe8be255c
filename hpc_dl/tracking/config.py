"""The ``wandb`` section: whether and how a run reports to Weights & Biases."""

from __future__ import annotations

from typing import Literal

from hpc_dl.schema import Section


class WandbConfig(Section):
    """Where a run reports to W&B. The API key is never written here: ``wandb login`` or
    ``WANDB_API_KEY`` holds it.
    """

    project: str = "hpc_dl"
    """W&B project that the run belongs to; made there when it does not exist."""
    entity: str | None = None
    """W&B user or team that owns the project; the account's default entity when not given."""
    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    """``auto`` reports online where there is an API key and a network, else records offline for a
    later ``wandb sync``; ``disabled`` does without W&B. The journal in the run folder is written in
    every mode."""
    group: str | None = None
    """Name that groups runs in W&B's tables, for example the seeds of one experiment."""
    tags: list[str] = []
    """Labels to filter runs by."""
