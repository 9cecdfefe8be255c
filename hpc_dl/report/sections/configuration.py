"""The configuration: what differs between the runs first, then what all of them have."""

from __future__ import annotations

from hpc_dl.formatting import text_of
from hpc_dl.report.blocks import Block, Section, Table
from hpc_dl.report.material import Material

_MOST_ROWS = 100


def section(material: Material) -> Section:
    """Return the section.

    Args:
        material: the runs.
    """
    settings = [values for values in material.settings.values() if values]
    if not settings:
        return Section("configuration", "Configuration")
    blocks: list[Block] = []
    if material.keys:
        rows = [[key, _values(values.get(key) for values in settings)] for key in material.keys[:_MOST_ROWS]]
        blocks.append(Table(("setting", "values"), rows, "What differs between the runs"))
    first = settings[0]
    same = [[key, text_of(value)] for key, value in first.items() if all(other.get(key) == value for other in settings)]
    caption = "What all runs have" if len(settings) > 1 else "All settings"
    blocks.append(Table(("setting", "value"), same, caption, folded=True))
    return Section("configuration", "Configuration", blocks)


def _values(values: object) -> str:
    from hpc_dl.formatting import shortened

    return shortened(list(dict.fromkeys(map(text_of, values))), most=12)  # type: ignore[call-overload]
