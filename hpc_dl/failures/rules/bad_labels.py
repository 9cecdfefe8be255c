"""A label or an index is outside of what the model expects."""

from __future__ import annotations

from hpc_dl.failures.rule import Rule


class BadLabels(Rule):
    """What losses and embeddings say on CPUs and GPUs."""

    patterns = (
        r"Assertion `t >= 0 && t < n_classes` failed",
        r"Assertion `.*(?:ind(?:ex)?|srcIndex|input_val|cur_target).*` failed",
        r"^IndexError: Target -?\d+ is out of bounds",
        r"device-side assert triggered",
        r"^IndexError: index out of range in self",
    )
    cause = "a label or index in the data is outside of the range that the model has"
    remedy = (
        "compare the labels with the number of outputs: `hpc-dl data inspect FILE`; "
        "data.classes=remap numbers labels from 0, data.ignore_label leaves some out"
    )
    keys = ("data.classes", "data.ignore_label")
    resume = False
