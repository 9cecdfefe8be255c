"""The options of sbatch: which exist, and how a site profile changes those of a batch script.

The profile's ``sbatch`` section sets, replaces and omits options. Variables ``SBATCH_*`` of the
user's shell would override the script unseen. So none of them reaches sbatch: those that only
choose where a job runs and who pays for it become lines of the script, and the others are ignored.
"""

from __future__ import annotations

import functools
import re
import shlex
import shutil
import string
import subprocess
from collections.abc import Container, Mapping
from typing import Annotated

from pydantic import Field

from hpc_dl.config.resources import Resources

# Long options of sbatch 22.05, then those that later versions added, from their documentation.
_NAMES = """
    account acctg-freq array batch bb bbf begin chdir cluster-constraint clusters comment constraint container
    contiguous core-spec cores-per-socket cpu-freq cpus-per-gpu cpus-per-task deadline delay-boot dependency
    distribution error exclude exclusive export export-file extra-node-info get-user-env gid gpu-bind gpu-freq
    gpus gpus-per-node gpus-per-socket gpus-per-task gres gres-flags help hint hold ignore-pbs input job-name
    kill-on-invalid-dep licenses mail-type mail-user mcs-label mem mem-bind mem-per-cpu mem-per-gpu mincpus
    network nice no-kill no-requeue nodefile nodelist nodes ntasks ntasks-per-core ntasks-per-gpu
    ntasks-per-node ntasks-per-socket open-mode output overcommit oversubscribe parsable partition power prefer
    priority profile propagate qos quiet reboot requeue reservation signal sockets-per-node spread-job switches
    test-only thread-spec threads-per-core time time-min tmp uid usage use-min-nodes verbose version wait
    wait-all-nodes wckey wrap tres-per-task container-id extra tres-bind tres-per-job stepmgr segment
    oom-kill-step resv-ports
"""
_KNOWN = frozenset(_NAMES.split())
# They would turn the job into something other than one training of one run.
_REFUSED = {
    "array": "a run is a single job",
    "wrap": "the batch script is the job",
    "test-only": "nothing would be submitted",
    "wait": "`hpc-dl submit --wait` does it",
    "parsable": "only changes what sbatch prints",
    "help": "nothing would be submitted",
    "usage": "nothing would be submitted",
    "version": "nothing would be submitted",
}
# Those that may be given without a value. After another one sbatch takes the next option for it.
_FLAGS = """
    contiguous exclusive get-user-env hold ignore-pbs nice no-kill no-requeue overcommit oversubscribe propagate
    quiet reboot requeue spread-job stepmgr use-min-nodes verbose
"""
_WITHOUT_VALUE = frozenset(_FLAGS.split())
# Setting the first option omits the others, which Slurm refuses beside it.
_EXCLUDES = {
    "mem": ("mem-per-cpu", "mem-per-gpu"),
    "mem-per-cpu": ("mem", "mem-per-gpu"),
    "mem-per-gpu": ("mem", "mem-per-cpu"),
    "requeue": ("no-requeue",),
    "no-requeue": ("requeue",),
    "cpus-per-gpu": ("cpus-per-task",),
    "cpus-per-task": ("cpus-per-gpu",),
    "gpus": ("gpus-per-node",),
    "gpus-per-task": ("gpus-per-node",),
    "gpus-per-socket": ("gpus-per-node",),
}
# Variables that choose where a job runs and who pays for it, by precedence.
_PLACES = {
    "SBATCH_ACCOUNT": "account",
    "SBATCH_PARTITION": "partition",
    "SBATCH_QOS": "qos",
    "SBATCH_RESERVATION": "reservation",
    "SBATCH_CONSTRAINT": "constraint",
    "SBATCH_WCKEY": "wckey",
    "SBATCH_CLUSTERS": "clusters",
    "SLURM_CLUSTERS": "clusters",
}
_VALUE = re.compile(r"[^\n\r'\"\\]*")
_LINE = re.compile(r"#SBATCH --([a-z0-9-]+)(?:[= ].*)?\n")

#: Part of an #SBATCH line, where a space would start another option and a line break a command.
SbatchValue = Annotated[str, Field(pattern=r"^[^\s'\"\\]+$")]

Options = Mapping[str, str | int | float | bool | None]


def fault_in(name: str, value: object) -> str:
    """Return what is wrong with an option of a site profile, or "" if nothing is."""
    if name in _REFUSED:
        return f"cannot be set: {_REFUSED[name]}"
    if name not in _KNOWN and f"--{name}" not in _options_of_this_sbatch():
        return "is not an option of sbatch"
    if value == "" or (value is True and name in _KNOWN - _WITHOUT_VALUE):
        return "needs a value; null omits the option"
    if not _VALUE.fullmatch(str(value)):
        return "must not contain a line break, quotes or a backslash"
    try:
        fields = {field for _, field, _, _ in string.Formatter().parse(str(value)) if field is not None}
    except ValueError:
        return "has a brace without its counterpart"
    if unknown := fields - _placeholders(Resources()).keys():
        return f"has an unknown placeholder {{{min(unknown)}}}; allowed: {', '.join(_placeholders(Resources()))}"
    return ""


def known_options() -> list[str]:
    """Return the names of the options that a profile may set."""
    return sorted(_KNOWN - _REFUSED.keys())


def contradiction(options: Options) -> tuple[str, str] | None:
    """Return two options that exclude each other, or ``None`` if there are none."""
    given = [name for name, value in options.items() if value not in (None, False)]
    return next(((one, other) for one in given for other in _EXCLUDES.get(one, ()) if other in given), None)


def for_resources(options: Options, resources: Resources) -> dict[str, str | None]:
    """Return the options of a profile with their placeholders replaced.

    Args:
        options: by name; a value ``None`` or ``False`` omits the option, ``True`` gives it without
            a value.
        resources: what the experiment requests.

    Returns:
        The options to write, ``""`` for one without a value, and ``None`` for each to omit.
    """
    values = _placeholders(resources)
    result: dict[str, str | None] = {}
    for name, value in options.items():
        if name == "requeue" and value is False:  # without an option, the cluster would decide
            result["no-requeue"] = ""
        elif value is None or value is False:
            result[name] = None
        elif value is True:
            result[name] = ""
        else:
            text = str(value)
            # A job without GPUs requests none, whatever a site's syntax for that is.
            without_gpus = "{gpus" in text and not resources.gpus_per_node
            result[name] = None if without_gpus else text.format(**values)
    for name, text_or_none in list(result.items()):
        if text_or_none is not None:
            replaced = ("gpus-per-node",) if name == "gres" and "gpu" in text_or_none else _EXCLUDES.get(name, ())
            result |= {other: None for other in replaced if other not in result}
        elif name == "gres" and "gpu" in str(options[name]):
            result.setdefault("gpus-per-node", None)
    return result


def changed(script: str, options: Mapping[str, str | None]) -> str:
    """Return a batch script with some of its ``#SBATCH`` lines replaced, added or omitted.

    Args:
        script: with lines ``#SBATCH --name=value`` in one block.
        options: as returned by :func:`for_resources`.
    """
    lines = {match[1]: match[0] for match in _LINE.finditer(script)}
    start = _LINE.search(script)
    if start is None:
        return script
    for name, value in options.items():
        lines.pop(name, None)
        if value is not None:
            lines[name] = f"#SBATCH --{name}={shlex.quote(value)}\n" if value else f"#SBATCH --{name}\n"
    rest = _LINE.sub("", script)
    return rest[: start.start()] + "".join(lines[name] for name in sorted(lines)) + rest[start.start() :]


def places(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the options that variables of the user's shell set and that a script takes over."""
    options: dict[str, str] = {}
    for variable, name in _PLACES.items():
        value = environment.get(variable, "")
        if value and _VALUE.fullmatch(value):
            options.setdefault(name, value)
    return options


def deciding_variables(environment: Mapping[str, str], decided: Container[str]) -> list[str]:
    """Return the variables of the user's shell that choose where a job runs, with their values.

    Args:
        environment: the user's.
        decided: the options that something else decides.
    """
    return [
        f"{variable}={environment[variable]}"
        for variable, name in _PLACES.items()
        if environment.get(variable) and name not in decided
    ]


def ignored_variables(environment: Mapping[str, str]) -> list[str]:
    """Return the variables of the user's shell that would change a job and are ignored."""
    return sorted(name for name in environment if name.startswith("SBATCH_") and name not in _PLACES)


def _placeholders(resources: Resources) -> dict[str, int]:
    memory = round(resources.memory_gib * 1024)
    cpus = resources.ranks_per_node * resources.cpus_per_gpu
    return {
        "nodes": resources.nodes,
        "gpus_per_node": resources.gpus_per_node,
        "gpus": resources.nodes * resources.gpus_per_node,
        "cpus_per_gpu": resources.cpus_per_gpu,
        "memory": memory,
        "memory_per_cpu": memory // cpus,
        "memory_per_gpu": memory // resources.ranks_per_node,
    }


@functools.cache
def _options_of_this_sbatch() -> frozenset[str]:
    """The long options that the installed sbatch lists, which may be newer than our list."""
    if shutil.which("sbatch") is None:
        return frozenset()
    try:
        result = subprocess.run(["sbatch", "--help"], capture_output=True, text=True, errors="replace", timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return frozenset()
    return frozenset(re.findall(r"--[a-z][a-z0-9-]+", result.stdout))
