"""``hpc-dl site``: write a site profile from what the cluster offers, and compare them again."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from hpc_dl.cli.arguments import AsJson
from hpc_dl.cli.command_group import CONTEXT_SETTINGS, CommandGroup, add_commands


def init(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="Where to write it; by default among your own profiles.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Name of the profile; by default the cluster's.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing and take the best guess.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Inspect the cluster and write a site profile.

    The profile names the partition, account and folders for jobs with GPUs. Its comments say which
    partitions, accounts and QoS go together, what else was found, and what could not be determined.
    It asks only where several are equally likely. Commands on this login node use a profile in
    ~/.config/hpc_dl/sites by themselves.

    Example:
        hpc-dl site init
        hpc-dl site init sites/alpha.yaml --yes

    Exit status:
        0  written
        2  nothing written: no Slurm, an existing file, or nobody to ask
    """
    import datetime
    import shlex

    from hpc_dl.atomic_files import write_text
    from hpc_dl.cli.output import say
    from hpc_dl.cluster.inspection.choice import choose
    from hpc_dl.cluster.inspection.profile_text import profile_text
    from hpc_dl.cluster.inspection.queries import inspect
    from hpc_dl.cluster.profile_files import user_folder
    from hpc_dl.errors import ConfigError

    if name is not None and not re.fullmatch(r"\w[\w.-]*", name):
        raise ConfigError.at("--name", "must consist of letters, digits, dots, - and _", value=name)
    say("Asking Slurm …")
    facts = inspect()
    name = name or (file.stem if file else None) or re.sub(r"[^\w.-]+", "-", facts.cluster or facts.host)
    path = file or user_folder() / f"{name}.yaml"
    if (path.exists() or path.is_symlink()) and not force:
        raise ConfigError.at(path, "exists", remedy="choose another name with --name, or replace it with --force")
    choice = choose(facts, _best_guess if yes else _ask)
    text = profile_text(facts, choice, name, datetime.date.today())
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)
    say(f"Wrote {path}")
    for key, value in (
        ("partition", choice.partition.name if choice.partition else None),
        ("account", choice.account),
        ("qos", choice.qos),
    ):
        if value is not None:
            say(f"  {key}: {value}")
    if missing := re.findall(r"^# (\w+):   # not determined", text, re.MULTILINE):
        say(f"Not determined: {', '.join(missing)}; the comments in the file say why.")
    option = f" --site {shlex.quote(str(path))}" if file else ""
    say(f"Next: hpc-dl submit cnn-digits --dry-run{option}")


def check(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME|FILE]", help="The profile; by default the one that commands use here."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare a site profile with today's cluster.

    Each line says what does not agree and what to do: partitions, accounts, QoS, reservations,
    features and GPUs that do not exist or do not go together, limits above the cluster's, modules
    that cannot be loaded, an image or folders that are missing.

    Example:
        hpc-dl site check

    Exit status:
        0  no findings
        1  findings
        2  there is no such profile, it is invalid, or Slurm does not respond
    """
    from hpc_dl.cli.output import emit, say, show
    from hpc_dl.cluster import profile_files, site
    from hpc_dl.cluster.inspection.check import check as compare
    from hpc_dl.cluster.inspection.queries import inspect
    from hpc_dl.errors import ConfigError

    path = profile_files.chosen(name)
    if path is None:
        raise ConfigError.at(
            "site", "no profile is chosen on this machine", remedy="run `hpc-dl site init`, or name one"
        )
    profile = site.load(str(path.absolute()))
    say("Asking Slurm …")
    findings = compare(profile, inspect())
    for line in findings.unchecked:
        say(f"Not checked: {line}")
    if as_json:
        faults = [{"key": fault.where, "finding": str(fault), "remedy": fault.remedy} for fault in findings.faults]
        emit({"profile": str(path), "findings": faults, "unchecked": findings.unchecked})
    for fault in [] if as_json else findings.faults:
        show(str(fault))
    count = len(findings.faults)
    say(f"{path}: {count or 'no'} finding{'' if count == 1 else 's'}")
    raise typer.Exit(1 if count else 0)


def _best_guess(what: str, values: Mapping[str, str], guess: str) -> str:
    from hpc_dl.cli.output import say

    say(f"{what}: {guess} is a guess; possible are {', '.join(values)}")
    return guess


def _ask(what: str, values: Mapping[str, str], guess: str) -> str:
    from hpc_dl.cli.output import say
    from hpc_dl.errors import ClusterError

    if not sys.stdin.isatty():
        raise ClusterError.at(
            what,
            "several are possible, and there is no terminal to ask on",
            allowed=", ".join(values),
            remedy=f"add --yes to take {guess}",
        )
    for value, description in values.items():
        say(f"  {value}  {description}".rstrip())
    while True:
        say(f"Which {what} for jobs with GPUs? [{guess}]")
        line = sys.stdin.readline()
        answer = line.strip() or guess
        if answer in values:
            return answer
        if not line:
            return guess
        say(f"{answer} is not one of them.")


app = typer.Typer(
    cls=CommandGroup,
    help="Write a site profile from what the cluster offers, and check it.",
    epilog="Examples:\n  hpc-dl site init\n  hpc-dl site check\n",
    context_settings=CONTEXT_SETTINGS,
    rich_markup_mode=None,
)
add_commands(app, {"Site profiles": {"init": init, "check": check}})
