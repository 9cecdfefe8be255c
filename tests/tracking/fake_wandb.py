"""A W&B server on the loopback interface with what wandb needs to run online."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ENTITY = "test-entity"


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Ignore connections that were reset by killed clients."""


class FakeWandb:
    """A server that records what it receives.

    Attributes:
        rows: the history of each run id, in order of arrival.
        summaries: the last summary of each run id.
        upserts: the variables of each ``UpsertBucket``, in which a run describes itself.
        exit_codes: exit codes of the runs that ended and have not resumed.
        preempting: ids of the preempted runs.
        authorized: the ``Authorization`` headers of all queries.
        refuse: if set, the HTTP status of all responses.
    """

    def __init__(self) -> None:
        self.rows: dict[str, list[dict[str, Any]]] = {}
        self.summaries: dict[str, dict[str, Any]] = {}
        self.upserts: list[dict[str, Any]] = []
        self.exit_codes: dict[str, int] = {}
        self.preempting: set[str] = set()
        self.authorized: set[str] = set()
        self.refuse: int | None = None
        self._server = _QuietServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> FakeWandb:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.die()

    def die(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self.refuse = 503  # for connections that are still open

    def run(self, run_id: str) -> dict[str, Any]:
        """Return a run's description: its variables merged, with the config as a plain mapping."""
        merged: dict[str, Any] = {}
        for variables in self.upserts:
            if variables.get("name") == run_id:
                merged.update({key: value for key, value in variables.items() if value is not None})
        config = json.loads(merged.get("config", "{}"))
        merged["config"] = {key: entry["value"] for key, entry in config.items()}
        return merged

    def _graphql(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        if "UpsertBucket" in query:
            self.upserts.append(variables)
            run_id = variables["name"]
            bucket = {
                "id": f"id-{run_id}",
                "name": run_id,
                "displayName": variables.get("displayName") or run_id,
                "description": "",
                "config": variables.get("config") or "{}",
                "sweepName": None,
                "historyLineCount": len(self.rows.get(run_id, [])),
                "project": {"id": "p", "name": variables["project"], "entity": {"id": "e", "name": ENTITY}},
            }
            return {"upsertBucket": {"bucket": bucket, "inserted": True}}
        if "RunResumeStatus" in query:
            bucket = self._past_of(variables["name"])
            return {"model": {"id": "p", "name": "p", "entity": {"id": "e", "name": ENTITY}, "bucket": bucket}}
        if "ServerFeaturesQuery" in query:
            return {"serverInfo": {"features": []}}
        if "CreateRunFiles" in query:
            files = [{"name": name, "uploadUrl": f"{self.url}/upload/{name}"} for name in variables["files"]]
            return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}
        if "Viewer" in query:
            return {"viewer": {"id": "v", "entity": ENTITY, "username": ENTITY, "flags": "{}", "teams": {"edges": []}}}
        return {}

    def _past_of(self, run_id: str) -> dict[str, Any] | None:
        """Return what a resuming run receives about its past; ``None`` for a new run."""
        if all(variables["name"] != run_id for variables in self.upserts):
            return None
        history = self.rows.get(run_id, [])
        self.exit_codes.pop(run_id, None)
        self.preempting.discard(run_id)
        return {
            "id": f"id-{run_id}",
            "name": run_id,
            "displayName": run_id,
            "summaryMetrics": json.dumps(self.summaries.get(run_id, {})),
            "logLineCount": 0,
            "historyLineCount": len(history),
            "eventsLineCount": 0,
            "historyTail": json.dumps([json.dumps(row) for row in history[-1:]]),
            "eventsTail": "[]",
            "config": "{}",
            "tags": [],
            "wandbConfig": json.dumps({"t": {}}),
        }

    def _file_stream(self, run_id: str, body: dict[str, Any]) -> dict[str, Any]:
        for name, chunk in (body.get("files") or {}).items():
            if name == "wandb-history.jsonl":
                history = self.rows.setdefault(run_id, [])
                del history[chunk["offset"] :]  # a retry repeats lines
                history.extend(json.loads(line) for line in chunk["content"])
            elif name == "wandb-summary.json":
                self.summaries[run_id] = json.loads(chunk["content"][-1])
        if body.get("preempting"):
            self.preempting.add(run_id)
        if body.get("complete"):
            self.exit_codes[run_id] = body["exitcode"]
        return {"exitcode": None, "limits": {}}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if fake.refuse is not None:
                    return self._respond(fake.refuse, {"errors": [{"message": "refused"}]})
                if self.path == "/graphql":
                    fake.authorized.add(self.headers.get("Authorization", ""))
                    request = json.loads(body)
                    return self._respond(200, {"data": fake._graphql(request["query"], request.get("variables") or {})})
                *_, run_id, last = self.path.split("/")
                return self._respond(200, fake._file_stream(run_id, json.loads(body)) if last == "file_stream" else {})

            do_PUT = do_POST

            def _respond(self, status: int, document: dict[str, Any]) -> None:
                payload = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

        return Handler
