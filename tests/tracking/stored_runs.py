"""The runs that the W&B server of the tests has stored, and how it shows them."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any


class StoredRuns:
    """Runs by their ids.

    Attributes:
        rows: the history of each run id, in order of arrival.
        dropped: rows whose ``_step`` did not increase, by run id.
        summaries: the last summary of each run id.
        upserts: the variables of each ``UpsertBucket``, in which a run describes itself.
        exit_codes: exit codes of the runs that ended and have not resumed.
        preempting: ids of the preempted runs.
        deleted: ids of deleted runs.
        events: measurements of the system by run id.
    """

    def __init__(self) -> None:
        self.rows: dict[str, list[dict[str, Any]]] = {}
        self.dropped: dict[str, list[dict[str, Any]]] = {}
        self.summaries: dict[str, dict[str, Any]] = {}
        self.events: dict[str, list[dict[str, Any]]] = {}
        self.upserts: list[dict[str, Any]] = []
        self.exit_codes: dict[str, int] = {}
        self.preempting: set[str] = set()
        self.deleted: set[str] = set()

    def delete(self, run_id: str) -> None:
        """Delete a run; W&B does not give its id to another one."""
        self.upserts = [variables for variables in self.upserts if variables["name"] != run_id]
        self.rows.pop(run_id, None)
        self.deleted.add(run_id)

    def run(self, run_id: str) -> dict[str, Any]:
        """Return a run's description: its variables merged, with the config as a plain mapping."""
        merged: dict[str, Any] = {}
        for variables in self.upserts:
            if variables.get("name") == run_id:
                merged.update({key: value for key, value in variables.items() if value is not None})
        merged["config"] = {key: entry["value"] for key, entry in json.loads(merged.get("config", "{}")).items()}
        return merged

    def state(self, run_id: str) -> str:
        """The state that the dashboard shows."""
        if run_id not in self.exit_codes:
            return "running"
        if self.exit_codes[run_id] == 0:
            return "finished"
        return "preempted" if run_id in self.preempting else "failed"

    def values(self, run_id: str) -> dict[int, dict[str, Any]]:
        """The values of each step, as charts show them."""
        steps: dict[int, dict[str, Any]] = {}
        for row in self.rows.get(run_id, []):
            named = {name: value for name, value in row.items() if name[0] != "_" and name != "trainer/global_step"}
            steps.setdefault(row["trainer/global_step"], {}).update(named)
        return steps

    def duplicates(self, run_id: str) -> int:
        """The number of values that arrived more than once for their step."""
        seen: Counter[tuple[int, str]] = Counter()
        for row in [*self.rows.get(run_id, []), *self.dropped.get(run_id, [])]:
            step = row["trainer/global_step"]
            seen.update((step, name) for name in row if name[0] != "_" and name not in ("epoch", "trainer/global_step"))
        return sum(count - 1 for count in seen.values())

    def _shown(self, run_id: str) -> dict[str, Any] | None:
        """What W&B's public API shows of a run."""
        if all(variables["name"] != run_id for variables in self.upserts):
            return None
        rows = self.rows.get(run_id, [])
        names = {name: {} for row in rows for name in row}
        return {
            "id": f"id-{run_id}", "name": run_id, "displayName": self.run(run_id).get("displayName"),
            "state": self.state(run_id), "config": (self.run(run_id) and self.upserts[-1].get("config")) or "{}",
            "summaryMetrics": json.dumps(self.summaries.get(run_id, {})), "historyLineCount": len(rows),
            "historyKeys": {"sets": [], "keys": names, "lastStep": rows[-1]["_step"] if rows else -1},
            "tags": [], "sweepName": None, "group": None, "jobType": None, "commit": None, "readOnly": False,
            "createdAt": "2026-01-01T00:00:00", "heartbeatAt": "2026-01-01T00:00:00", "description": "",
            "notes": None, "systemMetrics": "{}", "user": {"name": "u", "username": "u"}, "projectId": "1",
        }  # fmt: skip

    def _past_of(self, run_id: str) -> dict[str, Any] | None:
        """Return what a resuming run receives about its past; ``None`` for a new run."""
        if all(variables["name"] != run_id for variables in self.upserts):
            return None
        history = self.rows.get(run_id, [])
        return {
            "id": f"id-{run_id}", "name": run_id, "displayName": run_id, "logLineCount": 0,
            "summaryMetrics": json.dumps(self.summaries.get(run_id, {})), "historyLineCount": len(history),
            "historyTail": json.dumps([json.dumps(row) for row in history[-1:]]), "eventsTail": "[]",
            "eventsLineCount": len(self.events.get(run_id, [])), "config": "{}", "tags": [],
            "wandbConfig": json.dumps({"t": {}}),
        }  # fmt: skip
