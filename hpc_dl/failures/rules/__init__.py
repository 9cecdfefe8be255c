"""The causes of failures, one file each. To add one, add a file here; nothing else needs to change.

A file ``NAME.py`` contains a :class:`hpc_dl.failures.rule.Rule`. Examples of its messages go to
``tests/failures/cases/NAME-….txt``, where a test finds them.
"""

from __future__ import annotations

import functools
import pkgutil
from collections.abc import Mapping
from typing import TYPE_CHECKING

from hpc_dl.one_class_per_file import class_in

if TYPE_CHECKING:
    from hpc_dl.failures.rule import Rule


def names() -> list[str]:
    """Return the names of all rules, sorted, without importing them."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


@functools.cache
def all_rules() -> Mapping[str, Rule]:
    """Return all rules by their names."""
    return {name: _rule(name) for name in names()}


def _rule(name: str) -> Rule:
    from hpc_dl.failures.rule import Rule

    return class_in(__name__, name, Rule)()
