"""What W&B's server responds, checked: a proxy or a login page may respond in its place."""

from __future__ import annotations

import json
from typing import Annotated, Any, TypeVar

from pydantic import AliasPath, BaseModel, BeforeValidator, Field, ValidationError

M = TypeVar("M", bound=BaseModel)


def _parsed(value: Any) -> Any:
    """A JSON value of GraphQL, which servers return as text or as objects; ``null`` is empty."""
    value = json.loads(value) if isinstance(value, str) and value else value
    return value or {}


def _rows(value: Any) -> Any:
    """Rows of W&B's history: a list in JSON, of rows in JSON."""
    return [_parsed(row) for row in _parsed(value)]


Count = Annotated[int, BeforeValidator(lambda value: value or 0), Field(ge=0)]
JsonObject = Annotated[dict[str, Any], BeforeValidator(_parsed)]
Text = Annotated[str, BeforeValidator(lambda value: value or "")]


class SentRun(BaseModel):
    """What the server has of a run.

    Attributes:
        num_rows: lines of its history.
        num_events: measurements of the system.
        last_rows: its newest lines.
    """

    num_rows: Count = Field(0, alias="historyLineCount")
    num_events: Count = Field(0, alias="eventsLineCount")
    last_rows: Annotated[list[dict[str, Any]], BeforeValidator(_rows)] = Field([], alias="historyTail")


class ShownRun(BaseModel):
    """What the dashboard shows of a run."""

    num_rows: Count = Field(0, alias="historyLineCount")
    state: Text = "unknown"
    keys: JsonObject = Field({}, alias="historyKeys")
    summary: JsonObject = Field({}, alias="summaryMetrics")


class DescribedRun(BaseModel):
    """Where the server has put a run."""

    project: Text = Field("", validation_alias=AliasPath("project", "name"))
    entity: Text = Field("", validation_alias=AliasPath("project", "entity", "name"))


class UploadUrl(BaseModel):
    """Where to put a file."""

    name: str
    url: str = Field(alias="uploadUrl")


class UploadUrls(BaseModel):
    """Where to put files, with the headers that the storage wants (``name:value``)."""

    headers: Annotated[list[str], BeforeValidator(lambda value: value or [])] = Field([], alias="uploadHeaders")
    files: list[UploadUrl]


class Viewer(BaseModel):
    """The owner of the API key."""

    entity: Text = ""


class StoppedRun(BaseModel):
    """Whether a user has pressed the Stop button."""

    stopped: bool | None = None


def document(content: bytes) -> dict[str, Any]:
    """The JSON object that a response is.

    Raises:
        ValueError: it is something else.
    """
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ValueError("it is not a JSON object")
    return value


def part(kind: type[M], data: Any, *path: str) -> M | None:
    """A part of the data of a GraphQL response; ``None`` if it is absent.

    Args:
        kind: what it is.
        data: the data.
        path: the names that lead to it.

    Raises:
        ValueError: it has another form.
    """
    for name in path:
        if data is None:
            return None
        if not isinstance(data, dict):
            raise ValueError(f"{name} is missing")
        data = data.get(name)
    try:
        return None if data is None else kind.model_validate(data)
    except (ValidationError, TypeError, RecursionError):  # of validators above, too
        raise ValueError(f"{'.'.join(path)} has another form") from None


def error_message(answer: dict[str, Any]) -> str:
    """The first message of an error that a response reports; empty without one."""
    errors = answer.get("errors") or answer.get("error") or ""
    first = errors[0] if isinstance(errors, list) else errors
    return str(first.get("message") or first if isinstance(first, dict) else first)
