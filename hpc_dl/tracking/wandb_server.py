"""W&B's protocol: the requests with which its own client reports a run, and reads it.

The texts of the queries and the form of the file stream are those of wandb 0.31 (``wandb-core`` and
``wandb.apis.public``), so that every server that accepts this client accepts us. In the file stream
each chunk of lines says at which line of a file it starts. That makes a repeated request harmless,
which W&B's own client relies on when a response is lost.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests

from hpc_dl.tracking.wandb_account import Account
from hpc_dl.tracking.wandb_errors import Patience, Refused

HISTORY, SUMMARY, EVENTS = "wandb-history.jsonl", "wandb-summary.json", "wandb-events.jsonl"

TIMEOUT_S = (6.0, 30.0)
"""Longest wait for a connection, and for a response."""

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
        return str((self._graphql(_VIEWER, {}).get("viewer") or {}).get("entity") or "")

    def run(self, entity: str, project: str, run_id: str) -> dict[str, Any] | None:
        """What the server shows of a run; ``None`` if it has none of that id."""
        data = self._graphql(_RUN, {"entity": entity, "project": project, "name": run_id})
        return (data.get("project") or {}).get("run")

    def is_stopped(self, entity: str, project: str, run_id: str) -> bool:
        """Whether a user has pressed the Stop button on the run's page; sends a query."""
        data = self._graphql(_STOPPED, {"entityName": entity, "projectName": project, "runId": run_id})
        return ((data.get("project") or {}).get("run") or {}).get("stopped") is True

    def resume_status(self, entity: str, project: str, run_id: str) -> dict[str, Any] | None:
        """The numbers of lines that the server has, and the last ones; ``None`` for a new run."""
        data = self._graphql(_RESUME_STATUS, {"entity": entity, "project": project, "name": run_id})
        return (data.get("model") or {}).get("bucket")

    def upsert(self, **fields: Any) -> dict[str, Any]:
        """Create a run, or change its description; a run that had ended is running again.

        Returns:
            The run as the server knows it now.
        """
        return dict(self._graphql(_UPSERT, fields)["upsertBucket"]["bucket"])

    def stream(self, entity: str, project: str, run_id: str, body: Mapping[str, Any]) -> None:
        """Send lines of files, or how the run ended; an empty body says that it still runs."""
        parts = "/".join(quote(part, safe="") for part in (entity, project, run_id))
        response = self._request("POST", f"{self._url}/files/{parts}/file_stream", json=body)
        try:
            self.stopped = response.json().get("stopped") is True
        except (ValueError, AttributeError):
            self.stopped = False

    def upload(self, entity: str, project: str, run_id: str, folder: Path, names: Sequence[str]) -> None:
        """Upload files of a run.

        Args:
            entity: the owner of the project.
            project: the project.
            run_id: the run.
            folder: where the files are.
            names: their paths in that folder, which are their names in W&B.
        """
        variables = {"entity": entity, "project": project, "run": run_id, "files": list(names)}
        created = self._graphql(_CREATE_FILES, variables)["createRunFiles"]
        headers = dict(header.split(":", 1) for header in created.get("uploadHeaders") or [])
        for file in created["files"]:
            content = (folder / file["name"]).read_bytes()
            url = str(file["uploadUrl"])
            own = url.startswith((self._url, "/"))  # a storage service must not see the key
            url = self._url + url if url.startswith("/") else url
            self._request("PUT", url, data=content, headers=headers, **({} if own else {"auth": _no_credentials}))

    def _graphql(self, query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        response = self._request("POST", f"{self._url}/graphql", json={"query": query, "variables": variables})
        try:
            document = response.json()
        except ValueError:
            raise Refused(f"{self._url} is not a W&B server: its response is no JSON", 200) from None
        if errors := document.get("errors"):
            message = errors[0].get("message") if isinstance(errors[0], dict) else errors[0]
            raise Refused(f"the server refused: {message}", 200)
        return dict(document.get("data") or {})

    def _request(self, method: str, url: str, **arguments: Any) -> requests.Response:
        """Send a request until the server accepts or refuses it.

        Raises:
            Unavailable: the patience has ended.
            Refused: the server refused.
        """
        attempt = 0
        while True:
            attempt += 1
            retry_after: float | None = None
            try:
                response = self._session.request(method, url, timeout=self._timeout_s, **arguments)
            except requests.RequestException as error:
                problem = f"{self._url} cannot be reached ({_reason(error)})"
            else:
                self._patience.responded = True
                if response.ok:
                    self._patience.succeeded()
                    return response
                if response.status_code not in (408, 429) and response.status_code < 500:
                    raise Refused(_refusal(response), response.status_code)
                problem = f"{self._url} responds with status {response.status_code}"
                header = response.headers.get("Retry-After", "")
                if header.isdigit():
                    retry_after = float(header)
            self._patience.failed(problem, attempt, retry_after)


def _no_credentials(request: Any) -> Any:
    request.headers.pop("Authorization", None)
    return request


def _reason(error: Exception) -> str:
    """The innermost reason of an exception of requests, without its Python objects."""
    while (inner := getattr(error, "reason", None) or next(iter(error.args), None)) is not None:
        if not isinstance(inner, Exception):
            break
        error = inner
    return str(error).split(">: ")[-1].split(": ", 1)[-1].rstrip(")'\"") or type(error).__name__


def _refusal(response: requests.Response) -> str:
    try:
        document = response.json()
        message = (document.get("errors") or [{}])[0].get("message") or document.get("error") or ""
    except (ValueError, AttributeError, IndexError, TypeError):
        message = ""
    hint = {401: "; is the API key valid?", 403: "; is the key valid, is the project yours, is there quota left?"}
    status = response.status_code
    return f"the server refused with status {status}" + (f": {message}" if message else "") + hint.get(status, "")


def json_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Rows as the lines of W&B's files."""
    return [json.dumps(row, allow_nan=False) for row in rows]
