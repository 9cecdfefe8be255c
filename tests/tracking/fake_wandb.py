"""A W&B server on the loopback interface, with what wandb's client and we need, and with faults."""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from .stored_runs import StoredRuns

ENTITY = "test-entity"


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Ignore connections that were reset by killed clients."""


class FakeWandb(StoredRuns):
    """A server that records what it receives, and drops rows as W&B does.

    A row is dropped if its ``_step`` is not above that of the row before it.

    Attributes:
        streams: the newest chunk of each file by run id.
        files: contents of the uploaded files by name.
        authorized: the ``Authorization`` headers of all queries.
        requests: number of requests by kind.
        refuse: if set, the HTTP status of all responses.
        next_responses: statuses of the next responses, each with its ``Retry-After`` if it has one.
        delay_s: how long each response takes.
        hangs: while set, no request is answered.
        dead: while set, connections are closed without a response.
        on_request: called with the kind of each request before it is answered.
        stopped: ids of the runs whose Stop button was pressed, which the file stream may report.
        lose_responses: number of requests to the file stream that succeed without a response.
        distort: changes the content of each response; gets the kind of the request, too.
        cut_off: while set, connections close within a response.
        refused_files: names of files whose upload gets status 403.
        most_bytes: requests with more get status 413.
    """

    def __init__(self) -> None:
        super().__init__()
        self.streams: dict[str, dict[str, Any]] = {}
        self.files: dict[str, bytes] = {}
        self.authorized: set[str] = set()
        self.requests: Counter[str] = Counter()
        self.refuse: int | None = None
        self.next_responses: deque[tuple[int, str | None]] = deque()
        self.delay_s = 0.0
        self.hangs = False
        self.dead = False
        self.on_request: Callable[[str], None] = lambda kind: None
        self.stopped: set[str] = set()
        self.reports_stop_in_stream = True
        self.lose_responses = 0
        self.distort: Callable[[str, bytes], bytes] = lambda kind, content: content
        self.cut_off = False
        self.refused_files: set[str] = set()
        self.most_bytes = 1 << 30
        self._lock = threading.Lock()
        self._server = _QuietServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> FakeWandb:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.die()

    def die(self) -> None:
        self.hangs = False
        self._server.shutdown()
        self._server.server_close()
        self.refuse = 503  # for connections that are still open

    def _graphql(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        if "UpsertBucket" in query:
            return self._upsert(variables)
        if "RunResumeStatus" in query:
            bucket = self._past_of(variables["name"])
            return {"model": {"id": "p", "name": "p", "entity": {"id": "e", "name": ENTITY}, "bucket": bucket}}
        if "RunStoppedStatus" in query:
            return {"project": {"run": {"stopped": variables["runId"] in self.stopped}}}
        if "ServerFeaturesQuery" in query:
            return {"serverInfo": {"features": []}}
        if "CreateRunFiles" in query:
            files = [{"name": name, "uploadUrl": f"{self.url}/upload/{name}"} for name in variables["files"]]
            return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}
        if re.search(r"\bviewer\b", query):
            return {"viewer": {"id": "v", "entity": ENTITY, "username": ENTITY, "flags": "{}", "teams": {"edges": []}}}
        if "HistoryPage" in query:
            rows = self.rows.get(variables["run"], [])
            page = [r for r in rows if variables["minStep"] <= r["_step"] < variables["maxStep"]]
            return {"project": {"run": {"history": [json.dumps(row) for row in page]}}}
        if "RunParquetHistory" in query:
            live = self.rows.get(variables["runName"], [])
            return {"project": {"run": {"parquetHistory": {"parquetUrls": [], "liveData": live}}}}
        if re.search(r"query (Run|RunHistoryKeys|GetRun)\b", query):
            return {"project": {"internalId": "1", "run": self._shown(variables["name"])}}
        return {}

    def _upsert(self, variables: dict[str, Any]) -> dict[str, Any]:
        inserted = all(known["name"] != variables["name"] for known in self.upserts)
        self.upserts.append(variables)
        run_id = variables["name"]
        self.exit_codes.pop(run_id, None)
        self.preempting.discard(run_id)
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
        return {"upsertBucket": {"bucket": bucket, "inserted": inserted}}

    def _file_stream(self, run_id: str, body: dict[str, Any]) -> dict[str, Any]:
        self.exit_codes.pop(run_id, None)
        self.preempting.discard(run_id)
        self.streams.setdefault(run_id, {}).update(body.get("files") or {})
        for name, chunk in (body.get("files") or {}).items():
            lines = [json.loads(line) for line in chunk["content"]]
            if name == "wandb-history.jsonl":
                self._append(run_id, chunk["offset"], lines)
            elif name == "wandb-summary.json":
                self.summaries[run_id] = lines[-1]
            elif name == "wandb-events.jsonl":
                self.events.setdefault(run_id, [])[chunk["offset"] :] = lines
        if body.get("complete"):
            self.exit_codes[run_id] = body["exitcode"]
            if body.get("preempting"):
                self.preempting.add(run_id)
        return {"exitcode": None, "limits": {}, "stopped": self.reports_stop_in_stream and run_id in self.stopped}

    def _append(self, run_id: str, offset: int, lines: list[dict[str, Any]]) -> None:
        """Append what is new; a repeated request brings nothing new, and changes nothing."""
        history = self.rows.setdefault(run_id, [])
        assert offset <= len(history), "lines are missing before these"
        known = len(history) - offset
        for mine, theirs in zip(history[offset:], lines, strict=False):
            assert mine["trainer/global_step"] == theirs["trainer/global_step"], "other rows at the same place"
        for row in lines[known:]:
            if history and row["_step"] <= history[-1]["_step"]:
                self.dropped.setdefault(run_id, []).append(row)
            else:
                history.append(row)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                kind = self.kind = fake._kind(self.path, body)
                fake.requests[kind] += 1
                fake.on_request(kind)
                time.sleep(fake.delay_s)
                while fake.hangs:
                    time.sleep(0.02)
                if fake.dead:
                    self.close_connection = True
                    return None
                if fake.next_responses:
                    status, retry_after = fake.next_responses.popleft()
                    return self._respond(status, {"errors": [{"message": "not now"}]}, retry_after)
                if kind == "UpsertBucket" and json.loads(body)["variables"]["name"] in fake.deleted:
                    return self._respond(409, {"errors": [{"message": "run was previously created and deleted"}]})
                if self.path.removeprefix("/upload/") in fake.refused_files:
                    return self._respond(403, {"error": "not this file"})
                if len(body) > fake.most_bytes:
                    return self._respond(413, {"error": "too large"})
                if fake.refuse is not None:
                    return self._respond(fake.refuse, {"errors": [{"message": "refused"}]})
                with fake._lock:
                    document = self._answer(kind, body)
                if kind == "file_stream" and fake.lose_responses:
                    fake.lose_responses -= 1
                    self.close_connection = True
                    return None
                return self._respond(200, document)

            do_PUT = do_POST

            def _answer(self, kind: str, body: bytes) -> dict[str, Any]:
                if kind == "upload":
                    fake.files[self.path.removeprefix("/upload/")] = body
                    return {}
                if kind == "file_stream":
                    return fake._file_stream(self.path.split("/")[-2], json.loads(body))
                if kind == "other":
                    return {}
                fake.authorized.add(self.headers.get("Authorization", ""))
                request = json.loads(body)
                return {"data": fake._graphql(request["query"], request.get("variables") or {})}

            def _respond(self, status: int, document: dict[str, Any], retry_after: str | None = None) -> None:
                payload = fake.distort(self.kind, json.dumps(document).encode())
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(payload) + fake.cut_off))
                if retry_after is not None:
                    self.send_header("Retry-After", retry_after)
                self.end_headers()
                self.wfile.write(payload)
                self.close_connection = self.close_connection or fake.cut_off

        return Handler

    @staticmethod
    def _kind(path: str, body: bytes) -> str:
        if path == "/graphql":
            match = re.search(r"\b(?:query|mutation)\s+(\w+)", json.loads(body)["query"])
            return match[1] if match else "graphql"
        if path.startswith("/upload/"):
            return "upload"
        return "file_stream" if path.endswith("/file_stream") else "other"
