"""The sections of a report, one file each; each has ``section(material)``."""

from __future__ import annotations

import importlib

from hpc_dl.report.blocks import Section
from hpc_dl.report.material import Material

#: In the order of the page.
SECTIONS = (
    "summary", "results", "failures", "sweep", "curves", "fit", "baselines", "cost", "configuration", "provenance",
)  # fmt: skip


def sections(material: Material) -> list[Section]:
    """Return the sections that have something to show.

    Args:
        material: the runs.
    """
    modules = [importlib.import_module(f"{__name__}.{name}") for name in SECTIONS]
    made: list[Section] = [module.section(material) for module in modules]
    return [section for section in made if section.blocks]
