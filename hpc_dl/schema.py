"""The strict, frozen base of every section of a configuration, and the telling of what is wrong in
one.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from hpc_dl.errors import ConfigError, Fault, nearest


class Section(BaseModel):
    """A part of a configuration: no unknown keys, no silent conversions, immutable.

    The docstring beneath each attribute is its help text, shown by ``hpc-dl models NAME`` and in
    the docs.
    """

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class Unit(str):
    """The unit of a field, as metadata: ``lr: Annotated[float, Unit("1/step")]``."""


S = TypeVar("S", bound=Section)


def parse(section: type[S], raw: object, where: str) -> S:
    """Build a section from what the YAML holds.

    Args:
        section: the class to build.
        raw: the mapping from the YAML; ``None`` (an empty section) counts as an empty mapping.
        where: the dotted path of the section, used in the faults.

    Raises:
        ConfigError: with one fault for each wrong, missing or unknown key.
    """
    if raw is None:
        raw = {}
    if not isinstance(raw, Mapping):
        raise ConfigError.at(where, "must be a mapping of keys to values", value=raw)
    try:
        return section.model_validate(dict(raw))
    except ValidationError as error:
        raise ConfigError(*_one_for_each_key(_fault(section, where, detail) for detail in error.errors())) from None


def parse_named(sections: Mapping[str, type[S]], raw: object, where: str, default: str | None = None) -> S:
    """Build the section whose ``name`` the YAML gives, from a table of the known ones.

    Raises:
        ConfigError: the name is missing or unknown, or a key of that section is wrong.
    """
    if raw is None and default is not None:
        raw = {}
    if not isinstance(raw, Mapping):
        raise ConfigError.at(where, "must be a mapping of keys to values", value=raw)
    name = raw.get("name", default)
    if name is None:
        raise ConfigError.at(f"{where}.name", "is required", allowed=", ".join(sections))
    if not isinstance(name, str) or name not in sections:
        raise ConfigError.at(
            f"{where}.name",
            "is not known",
            value=name,
            allowed=", ".join(sections),
            remedy=nearest(str(name), sections),
        )
    return parse(sections[name], {**raw, "name": name}, where)


def unit_of(section: type[Section], field: str) -> str:
    """The unit declared for a field, or an empty string."""
    return next((str(m) for m in section.model_fields[field].metadata if isinstance(m, Unit)), "")


def join(where: str, *parts: object) -> str:
    """A dotted path; an empty ``where`` stands for the top of the file."""
    return ".".join(str(part) for part in (where, *parts) if part != "")


def unknown_key(where: str, key: str, known: Iterable[str]) -> Fault:
    """The fault for a key that no section knows."""
    known = list(known)
    return Fault(join(where, key), "unknown key", allowed=", ".join(known), remedy=nearest(key, known))


def _fault(section: type[Section], where: str, detail: Any) -> Fault:
    """One of pydantic's errors, in the words of a user of the YAML file."""
    loc = _drop_union_tags(section, detail["loc"])
    path = join(where, *loc)
    kind = detail["type"]
    context = detail.get("ctx", {})
    if kind == "extra_forbidden":
        holder = _section_at(section, loc[:-1]) or section
        return unknown_key(join(where, *loc[:-1]), str(loc[-1]), field_names(holder))
    if kind == "missing":
        return Fault(path, "is required")
    if kind == "value_error":
        # Raised by our own validators: the message is already written for users.
        return Fault(path, str(context["error"]), **({} if not loc else {"value": detail["input"]}))
    if kind == "literal_error":
        expected = str(context["expected"])
        words = [word.strip("' ") for word in expected.replace(" or ", ", ").split(",")]
        return Fault(
            path,
            "is not one of the allowed values",
            value=detail["input"],
            allowed=", ".join(words),
            remedy=nearest(str(detail["input"]), words),
        )
    if kind == "model_type":
        meant = _section_at(section, loc)
        return Fault(
            path,
            "must be a mapping of keys to values",
            value=detail["input"],
            allowed=", ".join(field_names(meant)) if meant else "",
            remedy="leave it out for the default" if detail["input"] is None else "",
        )
    message = detail["msg"].removeprefix("Input ").replace("should", "must", 1)
    return Fault(path, message, value=detail["input"])


def _one_for_each_key(faults: Iterable[Fault]) -> list[Fault]:
    """Pydantic tells of each member of a union by itself that the value is not one: a user made one
    mistake.
    """
    by_key: dict[str, Fault] = {}
    for fault in faults:
        if before := by_key.get(fault.where):
            problem = f"{before.problem} or {fault.problem.removeprefix('must be ').removeprefix('is not ')}"
            fault = dataclasses.replace(before, problem=problem, allowed=before.allowed or fault.allowed)
        by_key[fault.where] = fault
    return list(by_key.values())


def field_names(section: type[BaseModel]) -> list[str]:
    """The keys of a section as they are written in the YAML (the alias where there is one)."""
    return [field.alias or name for name, field in section.model_fields.items()]


def _field(section: type[BaseModel], key: object) -> Any:
    for name, field in section.model_fields.items():
        if key in (name, field.alias):
            return field
    return None


def _section_at(section: type[BaseModel], loc: tuple[Any, ...]) -> type[BaseModel] | None:
    """The section class found by following the keys of ``loc`` from ``section``."""
    current: type[BaseModel] | None = section
    for key in loc:
        if isinstance(key, int):
            continue
        field = _field(current, key) if current else None
        current = next(_sections_in(field.annotation), None) if field else None
    return current


def _sections_in(annotation: Any) -> typing.Iterator[type[BaseModel]]:
    plain_class = isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias)
    if plain_class and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _sections_in(argument)


def _drop_union_tags(section: type[BaseModel], loc: tuple[Any, ...]) -> tuple[Any, ...]:
    """Pydantic adds the tried member of a union to the path (``batch_size.int``): users never wrote
    that.
    """
    kept: list[Any] = []
    current: type[BaseModel] | None = section
    for position, key in enumerate(loc):
        if isinstance(key, int) or current is None:
            if isinstance(key, int):
                kept.append(key)
            continue
        field = _field(current, key)
        if field is None:
            # An unknown key is the last of its path; anything else that no section knows is a
            # union's tag.
            if position == len(loc) - 1:
                kept.append(key)
            continue
        kept.append(key)
        current = next(_sections_in(field.annotation), None)
    return tuple(kept)
