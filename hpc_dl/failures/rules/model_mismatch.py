"""Stored weights do not fit the model."""

from __future__ import annotations

from hpc_dl.failures.rule import Rule


class ModelMismatch(Rule):
    """torch's message."""

    patterns = (
        r"Error\(s\) in loading state_dict for (?P<name>\w+)",
        r"size mismatch for (?P<name>[\w.]+): copying a param",
        r"(?:Missing|Unexpected) key\(s\) in state_dict",
    )
    cause = "stored weights do not fit the model ({name})"
    remedy = "give the model the settings that the weights were trained with, or other weights with model.init_from"
    keys = ("model.init_from", "model")
    resume = False
