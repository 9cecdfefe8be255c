"""A folder that the container should see does not exist on the node."""

from __future__ import annotations

from hpc_dl.failures.rule import Rule


class ContainerMount(Rule):
    """What Apptainer says about a bind."""

    patterns = (
        r"FATAL:.*container creation failed: (?:mount|hook).*",
        r"mount source (?P<name>\S+) doesn't exist",
    )
    sources = ("output", "log")
    cause = "the container could not start: a folder to bind does not exist on the node ({name})"
    remedy = "correct `container: {{binds: […]}}` in the site profile"
    keys = ("container",)
