"""The checks of a job, one file each. To add one, add a file here; nothing else needs to change.

A file ``NAME.py`` contains a :class:`hpc_dl.cluster.doctor.job_check.JobCheck`; the first line of
its docstring says what it looks at.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from hpc_dl.cluster.doctor.check import Finding
from hpc_dl.cluster.doctor.job_check import JobCheck, Measured, Rank, places
from hpc_dl.one_class_per_file import class_in

if TYPE_CHECKING:
    from hpc_dl.config.experiment import Experiment

_MOST_MESSAGE = 300


def names() -> list[str]:
    """Return the names of all checks, sorted, without importing them."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str) -> JobCheck:
    """Return the check of a name."""
    return class_in(__name__, name, JobCheck)()  # type: ignore[type-abstract]


def measure(rank: Rank, report: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Measure everything in one rank; return the measurements, by the name of the check.

    Args:
        rank: the rank.
        report: gets all measurements so far after each one: a later check may crash or hang.
    """
    measured: dict[str, Any] = {}
    for name in names():
        check = load(name)
        if check.once_per_node and rank.local_rank:
            continue
        try:
            measured[name] = {"values": check.measure(rank)}
        except Exception as error:  # a broken node may fail in any way
            measured[name] = {"error": _in_one_line(error)}
        report(measured)
    return measured


def judge(name: str, reports: Sequence[dict[str, Any]], experiment: Experiment) -> tuple[list[Finding], str]:
    """Judge the measurements of one check.

    Args:
        name: the name of the check.
        reports: of all ranks that wrote one: ``rank``, ``node``, ``measured`` by name of the check.
        experiment: the experiment.

    Returns:
        The findings, and the measured values in a few words.
    """
    check = load(name)
    answers = [(report, report["measured"].get(name, {})) for report in reports]
    found = list(_failures(check, answers))
    measured = [
        Measured(report["rank"], report["node"], answer["values"]) for report, answer in answers if answer.get("values")
    ]
    if not measured:
        return found, "nothing to measure here"
    return [*found, *check.findings(measured, experiment)], check.summary(measured)


def _failures(check: JobCheck, answers: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> Iterator[Finding]:
    """One finding for each message, which names all ranks that had it."""
    failed: dict[str, list[Measured]] = {}
    for report, answer in answers:
        if "error" in answer:
            failed.setdefault(answer["error"], []).append(Measured(report["rank"], report["node"], {}))
    for message, ranks in failed.items():
        yield Finding(f"{places(ranks)}: {message}", check.why, check.remedy)


def _in_one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _MOST_MESSAGE else text[:_MOST_MESSAGE] + " …"
