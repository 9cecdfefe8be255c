"""A group of commands with grouped help, preserved examples and one-line usage errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from hpc_dl.cli.output import say
from hpc_dl.errors import Fault, HpcDlError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Base class of all usage errors. Typer exports only subclasses of it, and where it comes from
#: depends on Typer's version.
UsageError: type[Any] = typer.BadParameter.__mro__[1]

#: Help may use terminals of up to this many columns.
CONTEXT_SETTINGS = {"max_content_width": 120}


class CommandGroup(TyperGroup):
    """Commands whose help is grouped by panel (``rich_help_panel``).

    In docstrings and epilogs, a paragraph whose first line ends with a colon keeps its line breaks.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.epilog = _keep_lists(self.epilog)
        for command in self.commands.values():
            command.help = _keep_lists(command.help)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write one section of the help for each panel, with a sentence for each command."""
        commands = {name: command for name, command in self.commands.items() if not command.hidden}
        width = max(map(len, commands))
        panels: dict[str, list[tuple[str, str]]] = {}
        for name, command in commands.items():
            summary = command.get_short_help_str(limit=200)  # a long one is wrapped, not cut off
            panel = getattr(command, "rich_help_panel", None)
            panels.setdefault(panel or "Commands", []).append((name.ljust(width), summary))
        for panel, rows in panels.items():
            with formatter.section(panel):
                formatter.write_dl(rows)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments; without any, show the help and exit with status 2."""
        if not args and not ctx.resilient_parsing:
            say(ctx.get_help())
            ctx.exit(2)
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that the first argument names.

        Raises:
            HpcDlError: there is no such command.
        """
        name = args[0]
        if name not in self.commands and not name.startswith("-") and not ctx.resilient_parsing:
            remedy = nearest(name, self.commands) or f"see `{ctx.command_path} --help`"
            raise HpcDlError.at(name, "no such command", remedy=remedy)
        return super().resolve_command(ctx, args)


def add_commands(app: typer.Typer, panels: Mapping[str, Mapping[str, Any]]) -> None:
    """Register commands to an app.

    Args:
        app: the app.
        panels: headings of the help; for each, functions or further apps by command name.
    """
    for panel, commands in panels.items():
        for name, command in commands.items():
            if isinstance(command, typer.Typer):
                app.add_typer(command, name=name, rich_help_panel=panel)
            else:
                app.command(name, rich_help_panel=panel)(command)


def usage_message(error: Any) -> str:
    """Describe a usage error in one line, with the most similar option for an unknown one.

    Args:
        error: an instance of :data:`UsageError`.
    """
    command = error.ctx.command_path if error.ctx else "hpc-dl"
    see_help = f"see `{command} --help`"
    if hasattr(error, "possibilities"):  # an unknown option
        options = [name for parameter in error.ctx.command.get_params(error.ctx) for name in parameter.opts]
        similar = nearest(error.option_name, [name for name in options if name.startswith("--")])
        return str(Fault(error.option_name, f"no such option of `{command}`", remedy=similar or see_help))
    problem = error.format_message().rstrip(".")
    fault = Fault(command, problem[:1].lower() + problem[1:], remedy=see_help)
    return str(fault).removeprefix("hpc-dl").lstrip(": ")


def _keep_lists(text: str | None) -> str | None:
    """Mark paragraphs that start with a heading, so that the help keeps their line breaks."""
    if text is None:
        return None
    paragraphs = text.split("\n\n")
    return "\n\n".join(
        f"\b\n{paragraph}" if paragraph.partition("\n")[0].endswith(":") else paragraph for paragraph in paragraphs
    )
