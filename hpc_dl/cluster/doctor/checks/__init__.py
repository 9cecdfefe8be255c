"""The checks, one file each. To add one, add a file here; nothing else needs to change.

A file ``NAME.py`` contains a :class:`hpc_dl.cluster.doctor.check.Check`; the first line of its
docstring says what it looks at.
"""

from __future__ import annotations

import pkgutil

from hpc_dl.cluster.doctor.check import Check, Finding, Situation, of_faults
from hpc_dl.errors import HpcDlError
from hpc_dl.one_class_per_file import class_in


def names() -> list[str]:
    """Return the names of all checks, sorted, without importing them."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def run(situation: Situation, only: str | None = None) -> dict[str, list[Finding]]:
    """Run the checks that apply.

    Args:
        situation: what is examined.
        only: the name of the only check to run; ``None`` for all.

    Returns:
        The findings of each check that ran, by its name.
    """
    found: dict[str, list[Finding]] = {}
    for name in names() if only is None else [only]:
        check = _check(name)
        if check.needs_experiment and situation.experiment is None:
            continue
        found[name] = []
        try:
            found[name].extend(check.findings(situation))
        except HpcDlError as error:
            found[name] += of_faults(error)
    return found


def _check(name: str) -> Check:
    return class_in(__name__, name, Check)()  # type: ignore[type-abstract]
