"""The ``wandb`` section: whether and where a run reports to Weights & Biases."""

from __future__ import annotations

from typing import Literal

from hpc_dl.schema import Section


class WandbConfig(Section):
    """Whether and where a run reports to Weights & Biases (W&B).

    The API key does not belong here: store it with ``wandb login`` or in ``WANDB_API_KEY``.
    """

    project: str = "hpc_dl"
    """W&B project of the run; W&B creates it if it does not exist."""
    entity: str | None = None
    """W&B user or team that owns the project; the default entity of the account if not given."""
    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    """``auto``: online if there is an API key, else offline. ``offline``: record in the run folder
    for a later ``hpc-dl sync``. ``disabled``: no W&B. The journal in the run folder is written in
    every mode."""
    group: str | None = None
    """Name of a group of runs in W&B's tables, such as the seeds of one experiment."""
    tags: list[str] = []
    """Labels by which W&B can filter runs."""
