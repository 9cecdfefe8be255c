"""Why a run waits, or why it ended; verdicts stay in the run folder, so that tables are fast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import hpc_dl
from hpc_dl.atomic_files import write_json
from hpc_dl.cluster.follow import has_ended
from hpc_dl.cluster.status import is_final, status, statuses
from hpc_dl.cluster.waiting import waiting_of
from hpc_dl.errors import HpcDlError
from hpc_dl.failures.evidence import Evidence
from hpc_dl.failures.verdict import UNKNOWN, Quote, Verdict, judge
from hpc_dl.regular_files import read_json
from hpc_dl.runs.folder import RunFolder

#: The states of a run that has ended without success.
FAILED = frozenset({"failed", "lost", "stopped", "cancelled", "diverged"})
_STAMP = ("state", "time", "attempt", "step", "reason")


def explain(run: RunFolder, facts: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Explain what holds up a run, or why it ended.

    Args:
        run: the run.
        facts: its status; ``None`` if it is not known yet.

    Returns:
        ``run``, ``state`` and ``job``; for one that waits the facts of
        :func:`hpc_dl.cluster.waiting.waiting_of`; for one that ended without success those of
        :class:`hpc_dl.failures.verdict.Verdict`; for any other ``cause``, one sentence.
    """
    facts = status(run) if facts is None else facts
    common = {"run": run.name, "dir": str(run.path), "state": facts["state"], "job": facts["job"]}
    if facts["state"] == "pending":
        return common | waiting_of(run, facts)
    if facts["state"] in FAILED:
        return common | verdict_of(run, facts).to_dict()
    return common | {"cause": facts.get("reason") or _IDLE.get(facts["state"], f"its state is {facts['state']}")}


def explain_failures(runs: Sequence[RunFolder]) -> list[dict[str, Any]]:
    """Explain those of many runs that have ended without success, as :func:`explain` does.

    Args:
        runs: the runs, such as the members of a sweep.
    """
    rows = zip(runs, statuses(runs), strict=True)
    return [explain(run, facts) for run, facts in rows if facts["state"] in FAILED]


_IDLE = {
    "finished": "nothing is wrong",
    "pruned": "its sweep ended it early, which is no failure",
    "running": "nothing is known to be wrong",
    "created": "it was prepared, but never launched; `hpc-dl submit` starts a new run",
}


def verdict_of(run: RunFolder, facts: Mapping[str, Any]) -> Verdict:
    """Return why a run ended, from its folder if that is known already.

    Args:
        run: a run that has ended without success.
        facts: its status.
    """
    if (known := known_verdict(run)) is not None:
        return known
    evidence = Evidence.with_accounting(run)
    return _kept(evidence, is_final=has_ended(dict(facts)))


def quick_verdict_of(run: RunFolder) -> Verdict | None:
    """Return why a run ended if its folder alone says it; never asks Slurm.

    Args:
        run: a run that has ended without success.
    """
    if (known := known_verdict(run)) is not None:
        return known
    with suppress(OSError, HpcDlError):  # a network file system may fail between two files
        evidence = Evidence(run)
        if is_final(evidence.state):  # else Slurm may know more
            verdict = _kept(evidence, is_final=True)
            return None if verdict.rule == UNKNOWN else verdict
    return None


def _kept(evidence: Evidence, *, is_final: bool) -> Verdict:
    """Judge, and keep the verdict in the run folder if nothing can change it."""
    verdict = judge(evidence)
    if verdict.rule != UNKNOWN and is_final:
        content = {"version": hpc_dl.__version__, "of": _stamp(evidence), "verdict": verdict.to_dict()}
        with suppress(OSError):  # the folder may be read-only, or somebody else's
            write_json(evidence.run.verdict, content)
    return verdict


def known_verdict(run: RunFolder) -> Verdict | None:
    """Return the verdict that an earlier command left in the run folder, if it still holds.

    Args:
        run: a run that has ended without success.
    """
    with suppress(OSError, HpcDlError, LookupError, TypeError, ValueError, AttributeError):
        content = read_json(run.verdict)
        if content["version"] == hpc_dl.__version__ and content["of"] == _stamp(Evidence(run)):
            return _checked(content["verdict"])
    return None


def _checked(raw: dict[str, Any]) -> Verdict:
    texts = {key: raw[key] for key in ("rule", "cause", "remedy", "command")}
    keys, quotes = tuple(raw["keys"]), [Quote(**quote) for quote in raw["evidence"]]
    if not all(isinstance(text, str) for text in (*texts.values(), *keys, *(quote.text for quote in quotes))):
        raise TypeError("not a verdict")
    return Verdict(**texts, keys=keys, resume=raw["resume"], rank=raw["rank"], evidence=tuple(quotes))


def _stamp(evidence: Evidence) -> dict[str, Any]:
    """What changes when a run is resumed, requeued or cancelled."""
    state = {key: evidence.state.get(key) for key in _STAMP}
    return {**state, "job": evidence.job.get("job_id"), "submitted": evidence.job.get("submitted"),
            "cancelled": evidence.cancelled_by}  # fmt: skip
