"""A Python package is not installed where the job runs."""

from __future__ import annotations

from hpc_dl.failures.evidence import Evidence
from hpc_dl.failures.rule import Advice, Finding, Rule


class MissingPackage(Rule):
    """Python's own message."""

    patterns = (
        r"^(?:ModuleNotFoundError|ImportError): No module named '?(?!tomllib\b)(?P<name>[\w.]+)'?",
        r"(?:python\S*): No module named '?(?P<name>[\w.]+)'?",
        r"importlib\.metadata\.PackageNotFoundError: No package metadata was found for (?P<name>\S+)",
    )

    def advice(self, finding: Finding, evidence: Evidence) -> Advice:
        """Name the environment that lacks it."""
        name = finding.groups["name"]
        package = name.partition(".")[0]
        if package == "hpc_dl":
            remedy = "install hpc_dl in the Python that the job starts: the image of `container` in the site profile, "
            remedy += "or an environment that the compute nodes can read"
            return Advice(f"the Python of the job has no package {package}", remedy, ("container",))
        remedy = (
            f"install it with `pip install {package}` in the environment that you submit from, or in the image of "
            f"`container`; if {package} is your own file, submit from its folder"
        )
        return Advice(f"the Python package {name} is not installed where the job runs", remedy, ("container",))
