"""Some parameters of the model get no gradient, which DDP waits for."""

from __future__ import annotations

from hpc_dl.failures.rule import Rule


class UnusedParameters(Rule):
    """torch's message."""

    patterns = (
        r"Expected to have finished reduction in the prior iteration",
        r"module has parameters that were not used in producing (?:the )?loss",
    )
    cause = "some parameters of the model were not used for the loss in a step, and DDP waits for their gradients"
    remedy = (
        "use all parameters in each step, or resume with trainer.strategy=ddp_find_unused_parameters_true, which is "
        "slower"
    )
    keys = ("trainer.strategy",)
    overrides = ("trainer.strategy=ddp_find_unused_parameters_true",)
