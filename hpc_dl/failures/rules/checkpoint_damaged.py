"""A checkpoint cannot be read."""

from __future__ import annotations

from hpc_dl.failures.rule import Rule


class CheckpointDamaged(Rule):
    """What torch and hpc_dl say about the file."""

    patterns = (
        r"PytorchStreamReader failed",
        r"(?i)failed finding central directory|invalid header or archive is corrupted",
        r"EOFError: Ran out of input",
        r"checkpoint\S* (?:is|are) (?:damaged|incomplete|corrupt)",
    )
    cause = "a checkpoint is damaged or incomplete"
    remedy = "delete that checkpoint; the run resumes from the one before, or from the beginning"
    keys = ("checkpoint.every",)
