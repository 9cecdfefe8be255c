"""``hpc-dl models``: the architectures and their parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpc_dl.cli.train import AsJson

if TYPE_CHECKING:
    from hpc_dl.schema import Section

# What a word alone does not tell.
_KINDS = {
    "series": "(channels, steps), as many for each sample",
    "sequence": "steps of features, another number for each sample",
    "tokens": "numbers of words or characters",
    "several": "more than one dataset for each sample",
}


def models(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Show this architecture's parameters.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the architectures, or the parameters of one with defaults, units and meaning."""
    from hpc_dl.cli.output import emit, table
    from hpc_dl.errors import ConfigError, nearest
    from hpc_dl.models import config_class, names, summary

    if name is None:
        listed = [{"name": known, "summary": summary(known)} for known in names()]
        if as_json:
            emit(listed)
        else:
            table(["name", "architecture"], [[row["name"], row["summary"]] for row in listed])
        return
    if name not in names():
        known = names()
        raise ConfigError.at(
            "NAME", "no such architecture", value=name, allowed=", ".join(known), remedy=nearest(name, known)
        )
    section = config_class(name)
    parameters = parameters_of(section)
    takes = {"inputs": section.inputs, "tasks": section.tasks}
    if as_json:
        emit({"name": name, "summary": summary(name), **takes, "parameters": parameters})
        return
    print(f"{name}: {summary(name)}\n")
    print(f"inputs: {', '.join(section.inputs)}\ntasks: {', '.join(section.tasks)}")
    if told := [f"{kind}: {_KINDS[kind]}" for kind in section.inputs if kind in _KINDS]:
        print("; ".join(told))
    print()
    columns = ["parameter", "type", "default", "unit", "meaning"]
    table(columns, [[_as_yaml(row[key]).replace("``", "`") for key in columns] for row in parameters])


def describe(section: type[Section]) -> list[dict[str, Any]]:
    """The keys of a section, each with ``parameter``, ``type``, ``default``, ``unit`` and
    ``meaning``.
    """
    from hpc_dl.schema import unit_of

    return [
        {
            "parameter": field.alias or key,
            "type": _type_name(field.annotation),
            "default": "(required)" if field.is_required() else field.default,
            "unit": unit_of(section, key),
            "meaning": " ".join((field.description or "").split()),
        }
        for key, field in section.model_fields.items()
    ]


def parameters_of(section: type[Section], given: Section | None = None) -> list[dict[str, Any]]:
    """As :func:`describe`, and the keys of sections inside as ``init.weights``, after the others.

    Args:
        section: the class.
        given: one whose values are the defaults, where they are others than those of the class.
    """
    own = describe(section)
    for row, key in zip(own, section.model_fields, strict=True):
        row["default"] = row["default"] if given is None else getattr(given, key)
    inner = [row for row in own if hasattr(row["default"], "model_fields")]
    nested = [
        found | {"parameter": f"{row['parameter']}.{found['parameter']}"}
        for row in inner
        for found in parameters_of(type(row["default"]), row["default"])
    ]
    return [row for row in own if row not in inner and row["parameter"] != "name"] + nested


def _as_yaml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _type_name(annotation: Any) -> str:
    """A type in a user's words: ``integer``, ``list of number``, ``relu | tanh``."""
    import types
    import typing

    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _type_name(arguments[0])
    if origin is list:
        return f"list of {_type_name(arguments[0])}"
    if origin is typing.Literal:
        return " | ".join(map(str, arguments))
    if origin in (typing.Union, types.UnionType):
        return " | ".join(_type_name(argument) for argument in arguments)
    if hasattr(annotation, "model_fields"):
        return "section"
    names = {int: "integer", float: "number", str: "text", bool: "true | false", dict: "mapping", type(None): "none"}
    return names.get(origin or annotation, str(annotation))
