"""The container image or Apptainer itself is missing on the node."""

from __future__ import annotations

from hpc_dl.failures.rule import Rule


class MissingImage(Rule):
    """What Apptainer, Singularity and the shell say."""

    patterns = (
        r"FATAL:\s+(?:[Cc]ould not open image|[Uu]nable to (?:open|find|handle))\D*?(?P<name>/\S+?)?(?::|\s|$)",
        r"FATAL:.*?(?P<name>/\S+\.(?:sif|simg|img))\b.*(?:no such file|does not exist|not found)",
        r"(?:apptainer|singularity): (?:command )?not found",
        r"execve\(\): (?:apptainer|singularity): No such file",
    )
    sources = ("output", "log")
    cause = "the container image {name} or Apptainer itself cannot be found on the node"
    remedy = (
        "correct `container: {{image: …}}` in the site profile to a path that the compute nodes see; "
        "where Apptainer comes from a module, add that to `modules`"
    )
    keys = ("container", "modules")
