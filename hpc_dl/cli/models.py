"""``hpc-dl models``: architectures, their parameters, and descriptions of sections for the docs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpc_dl.cli.arguments import AsJson
from hpc_dl.cli.completion import complete_models

if TYPE_CHECKING:
    from hpc_dl.schema import Section

# Explanations of the kinds of inputs whose names do not explain themselves.
_INPUT_KINDS = {
    "series": "(channels, steps), of the same length in all samples",
    "sequence": "(steps, features), a different number of steps in each sample",
    "tokens": "integer ids of words or characters",
    "several": "more than one dataset for each sample",
}


def models(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="An architecture; all if not given.", autocompletion=complete_models),
    ] = None,
    activations: Annotated[
        Path | None,
        typer.Option("--activations", metavar="FILE.png|svg", help="Draw the activation functions and derivatives."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the architectures, or the parameters of one of them.

    Parameters are listed with type, default, unit and meaning.

    Example:
        hpc-dl models cnn
        hpc-dl models --activations activations.png
    """
    from hpc_dl.cli.output import emit, show, table
    from hpc_dl.errors import ConfigError, nearest
    from hpc_dl.models import config_class, names, summary

    if activations is not None:
        _draw_activations(activations)
        return

    if name is None:
        rows = [{"name": known, "summary": summary(known)} for known in names()]
        if as_json:
            emit(rows)
        else:
            table(["name", "architecture"], [[row["name"], row["summary"]] for row in rows])
        return
    if name not in names():
        known = names()
        raise ConfigError.at(
            "NAME", "no such architecture", value=name, allowed=", ".join(known), remedy=nearest(name, known)
        )
    section = config_class(name)
    parameters = parameters_of(section)
    accepts = {"inputs": section.inputs, "tasks": section.tasks}
    from hpc_dl.training.model_building import default_field_of_view  # imports torch, which a list does not need

    field = default_field_of_view(section)
    if as_json:
        facts = {"name": name, "summary": summary(name), **accepts, "receptive_field": field and field[0]}
        emit({**facts, "parameters": parameters})
        return
    show(f"{name}: {summary(name)}\n")
    show(f"inputs: {', '.join(section.inputs)}\ntasks: {', '.join(section.tasks)}")
    if explanations := [f"{kind}: {_INPUT_KINDS[kind]}" for kind in section.inputs if kind in _INPUT_KINDS]:
        show("; ".join(explanations))
    if field:
        seen, whole = (" × ".join(map(str, sizes)) for sizes in field)
        show(f"receptive field: {seen} positions by default, for inputs of {whole}; `hpc-dl validate` shows yours")
    show()
    columns = ["parameter", "type", "default", "unit", "meaning"]
    table(columns, [[as_yaml(row[key]).replace("``", "`") for key in columns] for row in parameters])


def _draw_activations(path: Path) -> None:
    """Draw the activation functions into a file.

    Raises:
        ConfigError: its name does not end with .png or .svg.
    """
    from hpc_dl.cli.output import LOADING, say, show
    from hpc_dl.errors import ConfigError

    if path.suffix not in (".png", ".svg"):
        raise ConfigError.at(
            "--activations", "needs a file name of another format", value=str(path), allowed=".png, .svg"
        )
    say(LOADING)
    from hpc_dl.figures.activations import draw_activations
    from hpc_dl.figures.style import save, style

    with style():
        save(draw_activations(), path)
    show(f"{path}: the activation functions and their derivatives")


def describe(section: type[Section]) -> list[dict[str, Any]]:
    """Describe the keys of a section.

    Returns:
        For each key, ``parameter`` (its name), ``type``, ``default``, ``unit`` and ``meaning``.
    """
    from hpc_dl.schema import help_texts, unit_of

    meanings = help_texts(section)
    return [
        {
            "parameter": field.alias or key,
            "type": _type_name(field.annotation),
            "default": "(required)" if field.is_required() else field.default,
            "unit": unit_of(section, key),
            "meaning": meanings.get(key, ""),
        }
        for key, field in section.model_fields.items()
    ]


def parameters_of(section: type[Section], defaults: Section | None = None) -> list[dict[str, Any]]:
    """Describe the keys of a section, followed by those of its subsections as ``init.weights``.

    Args:
        section: the class.
        defaults: an instance that has the default values; by default those of the class.

    Returns:
        Rows as from :func:`describe`, without the key ``name``.
    """
    from hpc_dl.schema import Section

    rows = describe(section)
    for row, key in zip(rows, section.model_fields, strict=True):
        row["default"] = row["default"] if defaults is None else getattr(defaults, key)
    subsections = [row for row in rows if isinstance(row["default"], Section)]
    nested = [
        inner | {"parameter": f"{row['parameter']}.{inner['parameter']}"}
        for row in subsections
        for inner in parameters_of(type(row["default"]), row["default"])
    ]
    return [row for row in rows if row not in subsections and row["parameter"] != "name"] + nested


def as_yaml(value: Any) -> str:
    """Return a default value as the YAML spells it: ``null``, ``true``, ``0.1``."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _type_name(annotation: Any) -> str:
    """Describe a type to a user: ``integer``, ``list of number``, ``relu | tanh``."""
    import types
    import typing

    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _type_name(arguments[0])
    if origin is list and arguments == (typing.Any,):
        return "list"
    if origin is list:
        return f"list of {_type_name(arguments[0])}"
    if origin is typing.Literal:
        return " | ".join(map(as_yaml, arguments))
    if origin in (typing.Union, types.UnionType):
        return " | ".join(_type_name(argument) for argument in arguments)
    if hasattr(annotation, "model_fields"):
        return "section"
    names = {int: "integer", float: "number", str: "text", bool: "true | false", dict: "mapping", type(None): "null"}
    return names.get(origin or annotation, str(annotation))
