"""W&B's protocol: the requests with which its own client reports a run, and reads it.

The texts of the queries and the form of the file stream are those of wandb 0.31 (``wandb-core`` and
``wandb.apis.public``), so that every server that accepts this client accepts us. In the file stream
each chunk of lines says at which line of a file it starts. That makes a repeated request harmless,
which W&B's own client relies on when a response is lost.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests

from hpc_dl.tracking import wandb_responses as responses
from hpc_dl.tracking.wandb_account import Account
from hpc_dl.tracking.wandb_errors import Patience, Refused
from hpc_dl.tracking.wandb_responses import M

HISTORY, SUMMARY, EVENTS = "wandb-history.jsonl", "wandb-summary.json", "wandb-events.jsonl"

TIMEOUT_S = (6.0, 30.0)
"""Longest wait for a connection, and for a response."""

_MOST_BYTES = 64 << 20
_MOST_SECONDS = 60.0  # for a whole response, which may trickle in

_VIEWER = "query Viewer { viewer { id entity username flags teams { edges { node { name } } } } }"
_RUN = """query Run($project: String!, $entity: String!, $name: String!) {
    project(name: $project, entityName: $entity) {
        run(name: $name) {
            id name displayName state config summaryMetrics historyLineCount historyKeys
        }
    }
}"""
_RESUME_STATUS = """query RunResumeStatus ($project: String, $entity: String, $name: String!) {
    model(name: $project, entityName: $entity) {
        id name entity { id name }
        bucket(name: $name, missingOk: true) {
            id name summaryMetrics displayName logLineCount historyLineCount eventsLineCount
            historyTail eventsTail config tags notes wandbConfig(keys: ["t"])
        }
    }
}"""
_UPSERT = """mutation UpsertBucket ($id: String, $name: String, $project: String, $entity: String,
    $groupName: String, $description: String, $displayName: String, $notes: String, $commit: String,
    $config: JSONString, $host: String, $debug: Boolean, $program: String, $repo: String, $jobType: String,
    $state: String, $sweep: String, $tags: [String!], $summaryMetrics: JSONString) {
    upsertBucket(input: {id: $id, name: $name, groupName: $groupName, modelName: $project, entityName: $entity,
        description: $description, displayName: $displayName, notes: $notes, config: $config, commit: $commit,
        host: $host, debug: $debug, jobProgram: $program, jobRepo: $repo, jobType: $jobType, state: $state,
        sweep: $sweep, tags: $tags, summaryMetrics: $summaryMetrics}) {
        bucket { id name displayName description config sweepName
            project { id name entity { id name } } historyLineCount }
        inserted
    }
}"""
_STOPPED = """query RunStoppedStatus($projectName: String, $entityName: String, $runId: String!) {
    project(name: $projectName, entityName: $entityName) { run(name: $runId) { stopped } }
}"""
_CREATE_FILES = """mutation CreateRunFiles ($entity: String!, $project: String!, $run: String!, $files: [String!]!) {
    createRunFiles(input: {entityName: $entity, projectName: $project, runName: $run, files: $files}) {
        runID uploadHeaders files { name uploadUrl }
    }
}"""


class WandbServer:
    """A connection to W&B's server; for use in one thread.

    Attributes:
        stopped: whether the last response of the file stream said that the run is to stop.
    """

    def __init__(self, account: Account, patience: Patience, timeout_s: tuple[float, float] = TIMEOUT_S) -> None:
        """Prepare a connection; nothing is sent yet.

        Args:
            account: server and credentials.
            patience: decides how often a failed request is repeated.
            timeout_s: longest wait for a connection, and for a response.
        """
        self.app_url = account.app_url
        self.stopped = False
        self._url = account.url
        self._patience = patience
        self._timeout_s = timeout_s
        self._session = account.session()

    def default_entity(self) -> str:
        """The entity of the account, which owns projects for which none is given."""
        viewer = self._graphql(_VIEWER, {}, responses.Viewer, "viewer")
        return viewer.entity if viewer else ""

    def run(self, entity: str, project: str, run_id: str) -> responses.ShownRun | None:
        """What the server shows of a run; ``None`` if it has none of that id."""
        variables = {"entity": entity, "project": project, "name": run_id}
        return self._graphql(_RUN, variables, responses.ShownRun, "project", "run")

    def is_stopped(self, entity: str, project: str, run_id: str) -> bool:
        """Whether a user has pressed the Stop button on the run's page; sends a query."""
        variables = {"entityName": entity, "projectName": project, "runId": run_id}
        shown = self._graphql(_STOPPED, variables, responses.StoppedRun, "project", "run")
        return shown is not None and shown.stopped is True

    def resume_status(self, entity: str, project: str, run_id: str) -> responses.SentRun | None:
        """The numbers of lines that the server has, and the last ones; ``None`` for a new run."""
        variables = {"project": project, "entity": entity, "name": run_id}
        return self._graphql(_RESUME_STATUS, variables, responses.SentRun, "model", "bucket")

    def upsert(self, **fields: Any) -> responses.DescribedRun:
        """Create a run, or change its description; a run that had ended is running again.

        Returns:
            The run as the server knows it now.
        """
        bucket = self._graphql(_UPSERT, fields, responses.DescribedRun, "upsertBucket", "bucket")
        return bucket or responses.DescribedRun()

    def stream(self, entity: str, project: str, run_id: str, body: Mapping[str, Any]) -> None:
        """Send lines of files, or how the run ended; an empty body says that it still runs."""
        parts = "/".join(quote(part, safe="") for part in (entity, project, run_id))
        content = self._request("POST", f"{self._url}/files/{parts}/file_stream", json=body)
        self.stopped = self._document(content).get("stopped") is True

    def upload(self, entity: str, project: str, run_id: str, folder: Path, names: Sequence[str]) -> dict[str, str]:
        """Upload files of a run.

        Args:
            entity: the owner of the project.
            project: the project.
            run_id: the run.
            folder: where the files are.
            names: their paths in that folder, which are their names in W&B.

        Returns:
            The reasons why files were refused, by their names.
        """
        variables = {"entity": entity, "project": project, "run": run_id, "files": list(names)}
        created = self._graphql(_CREATE_FILES, variables, responses.UploadUrls, "createRunFiles")
        if created is None or {file.name for file in created.files} != set(names):
            raise self._malformed("no address for a file")
        headers = {name: value.strip() for name, _, value in (header.partition(":") for header in created.headers)}
        refused: dict[str, str] = {}
        for file in created.files:
            content = (folder / file.name).read_bytes()
            own = file.url.startswith((f"{self._url}/", "/"))  # a storage service must not see the key
            url = self._url + file.url if file.url.startswith("/") else file.url
            try:
                self._request("PUT", url, data=content, headers=headers, **({} if own else {"auth": _no_credentials}))
            except Refused as error:
                refused[file.name] = str(error)
        return refused

    def _graphql(self, query: str, variables: Mapping[str, Any], kind: type[M], *path: str) -> M | None:
        """Return the part of the response that a path leads to."""
        answer = self._document(
            self._request("POST", f"{self._url}/graphql", json={"query": query, "variables": variables})
        )
        try:
            return responses.part(kind, answer.get("data"), *path)
        except ValueError as error:
            raise self._malformed(error) from None

    def _document(self, content: bytes) -> dict[str, Any]:
        try:
            answer = responses.document(content)
        except ValueError as error:
            raise self._malformed(error) from None
        if message := responses.error_message(answer):
            raise Refused(f"the server refused: {message}", 200)
        return answer

    def _malformed(self, problem: object) -> Refused:
        return Refused(f"{self._url} does not respond as a W&B server does: {problem}", 200)

    def _request(self, method: str, url: str, **arguments: Any) -> bytes:
        """Send a request until the server accepts or refuses it; returns the response's content.

        Raises:
            Unavailable: the patience has ended.
            Refused: the server refused.
        """
        attempt = 0
        while True:
            attempt += 1
            retry_after: float | None = None
            try:
                with self._session.request(method, url, timeout=self._timeout_s, stream=True, **arguments) as response:
                    content = self._read(response)
            except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, UnicodeError) as error:
                raise Refused(f"{url} is not a valid address ({_reason(error)})", 0) from None
            except requests.RequestException as error:
                problem = f"{self._url} cannot be reached ({_reason(error)})"
            else:
                self._patience.responded = True
                if response.ok:
                    self._patience.succeeded()
                    return content
                if response.status_code not in (408, 429) and response.status_code < 500:
                    raise Refused(_refusal(response.status_code, content), response.status_code)
                problem = f"{self._url} responds with status {response.status_code}"
                retry_after = _seconds(response.headers.get("Retry-After", ""))
            self._patience.failed(problem, attempt, retry_after)

    def _read(self, response: requests.Response) -> bytes:
        """The content of a response, of bounded size and duration."""
        until = time.monotonic() + _MOST_SECONDS
        content = bytearray()
        for chunk in response.iter_content(1 << 16):
            content += chunk
            if len(content) > _MOST_BYTES:
                raise self._malformed(f"a response of more than {_MOST_BYTES >> 20} MiB")
            if time.monotonic() > until:
                raise requests.Timeout("its response does not end")
        return bytes(content)


def _no_credentials(request: Any) -> Any:
    request.headers.pop("Authorization", None)
    return request


def _seconds(retry_after: str) -> float | None:
    """How long a server asks to wait, in seconds or until a date; ``None`` if it does not."""
    if retry_after.isascii() and retry_after.isdecimal():
        return float(retry_after)
    try:
        date = parsedate_to_datetime(retry_after)
        return max(0.0, date.timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def _reason(error: Exception) -> str:
    """The innermost reason of an exception of requests, without its Python objects."""
    while (inner := getattr(error, "reason", None) or next(iter(error.args), None)) is not None:
        if not isinstance(inner, Exception):
            break
        error = inner
    return str(error).split(">: ")[-1].split(": ", 1)[-1].rstrip(")'\"") or type(error).__name__


def _refusal(status: int, content: bytes) -> str:
    try:
        message = responses.error_message(responses.document(content))
    except ValueError:
        message = ""
    hint = {401: "; is the API key valid?", 403: "; is the key valid, is the project yours, is there quota left?"}
    return f"the server refused with status {status}" + (f": {message}" if message else "") + hint.get(status, "")


def json_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Rows as the lines of W&B's files."""
    return [json.dumps(row, allow_nan=False) for row in rows]
