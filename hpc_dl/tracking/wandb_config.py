"""The ``wandb`` section: whether and where a run reports to Weights & Biases."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator

from hpc_dl.schema import Section

_NOT_IN_NAMES = "/\\#?%:"
_MOST_CHARACTERS, _MOST_OF_TAG = 128, 64


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

    @field_validator("project", "entity")
    @classmethod
    def _is_name(cls, name: str | None) -> str | None:
        """Refuse what W&B refuses, before a job has waited in the queue."""
        if name is not None and (not name.strip() or not name.isprintable() or set(name) & set(_NOT_IN_NAMES)):
            raise ValueError(f"must be a name without any of {' '.join(_NOT_IN_NAMES)}")
        return cls._is_short(name)

    @field_validator("group")
    @classmethod
    def _is_short(cls, name: str | None) -> str | None:
        if name is not None and len(name) > _MOST_CHARACTERS:
            raise ValueError(f"must have at most {_MOST_CHARACTERS} characters")
        return name

    @field_validator("tags")
    @classmethod
    def _are_tags(cls, tags: list[str]) -> list[str]:
        if not all(1 <= len(tag) <= _MOST_OF_TAG for tag in tags):
            raise ValueError(f"must have tags of 1 to {_MOST_OF_TAG} characters")
        return tags
