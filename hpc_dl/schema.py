"""The strict base class of all configuration sections, and readable errors for invalid values."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import textwrap
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, TypeGuard, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from hpc_dl.errors import ConfigError, Fault, nearest


class Section(BaseModel):
    """A part of a configuration: no unknown keys, no implicit type conversions, immutable.

    The docstring below each attribute is its help text (:func:`help_texts`), shown by ``hpc-dl
    models NAME`` and in docs/reference/configuration.md.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    def has_default(self, key: str) -> bool:
        """Return whether a key has its default value.

        ``model_fields_set`` does not say what the user wrote: the configuration of a run has all
        defaults, too.
        """
        return bool(getattr(self, key) == type(self).model_fields[key].default)


class Unit(str):
    """The unit of a field, as metadata: ``lr: Annotated[float, Unit("1/step")]``."""


S = TypeVar("S", bound=Section)


def is_import_path(value: object) -> TypeGuard[str]:
    """Whether a value has the form ``package.module.Name``."""
    return isinstance(value, str) and "." in value and all(part.isidentifier() for part in value.split("."))


def _check_import_path(value: str) -> str:
    if not is_import_path(value):
        raise ValueError("must be an import path such as my_package.my_module.Name")
    return value


#: A string of the form ``package.module.Name``.
ImportPath = Annotated[str, AfterValidator(_check_import_path)]


def import_paths(args: Any) -> Iterator[str]:
    """The import paths of all objects within arguments."""
    if isinstance(args, dict):
        for key, value in args.items():
            if key in ("class", "object") and is_import_path(value):
                yield value
            yield from import_paths(value)
    elif isinstance(args, list):
        for value in args:
            yield from import_paths(value)


def parse(section: type[S], raw: object, where: str) -> S:
    """Build a section from parsed YAML.

    Args:
        section: the class to build.
        raw: the mapping from the YAML; ``None`` (an empty section) counts as an empty mapping.
        where: the dotted path of the section, for the error messages.

    Raises:
        ConfigError: with one fault for each invalid, missing or unknown key.
    """
    if raw is None:
        raw = {}
    if not isinstance(raw, Mapping):
        raise ConfigError.at(where, "must be a mapping of keys to values", value=raw)
    try:
        return section.model_validate(dict(raw))
    except ValidationError as error:
        raise ConfigError(*_one_per_key(_fault(section, where, detail) for detail in error.errors())) from None


def parse_named(sections: Mapping[str, type[S]], raw: object, where: str, default: str | None = None) -> S:
    """Build the section that the ``name`` key of the YAML selects.

    Args:
        sections: the section classes by name.
        raw: the mapping from the YAML.
        where: the dotted path of the section, for the error messages.
        default: the name when the YAML gives none; ``None`` makes the name required.

    Raises:
        ConfigError: the name is missing or unknown, or a key of that section is invalid.
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
    """Return the unit declared for a field, or an empty string."""
    return next((str(m) for m in section.model_fields[field].metadata if isinstance(m, Unit)), "")


def help_texts(section: type[Section]) -> dict[str, str]:
    """Return the docstring below each field of a section, by field.

    Read from the source when it is shown: pydantic would read all of them at each start.
    """
    texts = {}
    for cls in (c for c in reversed(section.__mro__) if issubclass(c, Section)):
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
        assert isinstance(definition, ast.ClassDef)
        for statement, below in itertools.pairwise(definition.body):
            match statement, below:
                case ast.AnnAssign(target=ast.Name(id=field)), ast.Expr(value=ast.Constant(value=str(text))):
                    texts[field] = " ".join(text.split())
    return texts


def join(where: str, *parts: object) -> str:
    """Join a dotted path; an empty ``where`` is the top level of the file."""
    return ".".join(str(part) for part in (where, *parts) if part != "")


def unknown_key(where: str, key: str, known: Iterable[str]) -> Fault:
    """Return the fault for a key that the section does not have."""
    known = list(known)
    return Fault(join(where, key), "unknown key", allowed=", ".join(known), remedy=nearest(key, known))


# Pydantic's error types in plain words; the names in braces are in the error's context.
_PROBLEMS = {
    "int_type": "must be an integer",
    "int_from_float": "must be an integer",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "string_type": "must be a string",
    "list_type": "must be a list",
    "dict_type": "must be a mapping of keys to values",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "too_short": "must have {min_length} or more items",
    "too_long": "must have {max_length} or fewer items",
}


def _fault(section: type[Section], where: str, detail: Any) -> Fault:
    """Translate one of pydantic's errors for a user of the YAML file."""
    kind = detail["type"]
    loc = _drop_union_tags(section, detail["loc"], unknown_key=kind == "extra_forbidden")
    path = join(where, *loc)
    context = detail.get("ctx", {})
    if kind == "extra_forbidden":
        parent = _section_at(section, loc[:-1]) or section
        return unknown_key(join(where, *loc[:-1]), str(loc[-1]), field_names(parent))
    if kind == "missing":
        return Fault(path, "is required")
    if kind == "value_error":
        # Raised by our own validators, whose messages are written for users.
        return Fault(path, str(context["error"]), **({} if not loc else {"value": detail["input"]}))
    if kind == "literal_error":
        expected = str(context["expected"])
        choices = [choice.strip("' ") for choice in expected.replace(" or ", ", ").split(",")]
        return Fault(
            path,
            "is not one of the allowed values",
            value=detail["input"],
            allowed=", ".join(choices),
            remedy=nearest(str(detail["input"]), choices),
        )
    if kind == "model_type":
        expected_section = _section_at(section, loc)
        return Fault(
            path,
            "must be a mapping of keys to values",
            value=detail["input"],
            allowed=", ".join(field_names(expected_section)) if expected_section else "",
            remedy="omit it for the default" if detail["input"] is None else "",
        )
    if kind in _PROBLEMS:
        message = _PROBLEMS[kind].format(**{key: _number(bound) for key, bound in context.items()})
    else:
        message = detail["msg"].removeprefix("Input ").replace("should", "must", 1)
    return Fault(path, message, value=detail["input"])


def _number(bound: Any) -> Any:
    """Return ``1`` for ``1.0``."""
    return int(bound) if isinstance(bound, float) and bound.is_integer() else bound


def _one_per_key(faults: Iterable[Fault]) -> list[Fault]:
    """Merge the faults of the same key: pydantic reports every member of a union separately."""
    by_key: dict[str, Fault] = {}
    for fault in faults:
        if before := by_key.get(fault.where):
            problem = f"{before.problem} or {fault.problem.removeprefix('must be ').removeprefix('is not ')}"
            fault = dataclasses.replace(before, problem=problem, allowed=before.allowed or fault.allowed)
        by_key[fault.where] = fault
    return list(by_key.values())


def field_names(section: type[BaseModel]) -> list[str]:
    """Return the keys of a section as the YAML spells them (the alias of a field that has one)."""
    return [field.alias or name for name, field in section.model_fields.items()]


def _field(section: type[BaseModel], key: object) -> Any:
    for name, field in section.model_fields.items():
        if key in (name, field.alias):
            return field
    return None


def _section_at(section: type[BaseModel], loc: tuple[Any, ...]) -> type[BaseModel] | None:
    """Return the section class at the path ``loc`` below ``section``, if there is one."""
    current: type[BaseModel] | None = section
    for key in loc:
        if isinstance(key, int):
            continue
        field = _field(current, key) if current else None
        current = next(sections_in(field.annotation), None) if field else None
    return current


def sections_in(annotation: Any) -> typing.Iterator[type[BaseModel]]:
    """Yield the section classes in a type annotation, such as ``Splits | None``."""
    plain_class = isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias)
    if plain_class and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from sections_in(argument)


def _drop_union_tags(section: type[BaseModel], loc: tuple[Any, ...], unknown_key: bool) -> tuple[Any, ...]:
    """Remove the union members that pydantic adds to a path (``batch_size.int``) from it.

    Args:
        section: the class at the start of the path.
        loc: the path.
        unknown_key: whether its last part is a key that no section has.
    """
    kept: list[Any] = []
    current: type[BaseModel] | None = section
    is_key_of_mapping = False
    for position, key in enumerate(loc):
        if is_key_of_mapping:  # chosen by the user
            kept.append(key)
            is_key_of_mapping = False
            continue
        if isinstance(key, int) or current is None:
            if isinstance(key, int):
                kept.append(key)
            continue
        field = _field(current, key)
        if field is None:
            # A part that is not a field is the tag of a union.
            if unknown_key and position == len(loc) - 1:
                kept.append(key)
            continue
        kept.append(key)
        current = next(sections_in(field.annotation), None)
        is_key_of_mapping = typing.get_origin(field.annotation) is dict and current is not None
    return tuple(kept)
