"""Where the results come from, and the commands that repeat them."""

from __future__ import annotations

import shlex
from contextlib import suppress
from typing import Any

from hpc_dl.errors import HpcDlError
from hpc_dl.report.blocks import Code, Section, Table, Text
from hpc_dl.report.material import Material
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.run_files import read_provenance

_MAIN_PACKAGES = ("torch", "pytorch-lightning", "numpy", "h5py")


def section(material: Material) -> Section:
    """Return the section.

    Args:
        material: the runs.
    """
    name = material.best_run() or next(iter(material.runs), None)
    if name is None:
        return Section("provenance", "Provenance")
    run = material.runs[name]
    commands = [f"# Train {name} again, with all of its settings", command_of(run)]
    if material.sweep is not None and material.best is not None:
        commands += ["# The best settings as a YAML file", f"hpc-dl best {shlex.quote(str(material.sweep.path))}"]
    facts = _facts(run)
    table = Table(("", "value"), [[key, value] for key, value in facts.items() if value], f"Origin of {name}")
    differ = _other_versions(material, facts)
    return Section("provenance", "Provenance", [Code("\n".join(commands)), *([table] if facts else []), *differ])


def command_of(run: RunFolder) -> str:
    """Return the command that trains a run again: its folder has the complete configuration."""
    return f"hpc-dl train {shlex.quote(str(run.config))}"


def _facts(run: RunFolder) -> dict[str, str]:
    """Where a run comes from, by what a reader calls it; empty where that was not recorded."""
    provenance: dict[str, Any] = {}
    with suppress(HpcDlError, OSError):
        provenance = read_provenance(run)
    if not provenance:
        return {}
    data, packages = provenance.get("data"), provenance.get("packages")
    data = data if isinstance(data, dict) else {}
    packages = packages if isinstance(packages, dict) else {}
    command = provenance.get("command")
    return {
        "command as typed": shlex.join(map(str, command)) if isinstance(command, list) else "",
        "prepared": str(provenance.get("time") or ""),
        "hpc_dl": str(provenance.get("hpc_dl") or ""),
        "commit": _commits(provenance.get("git")),
        "Python": str(provenance.get("python") or ""),
        "packages": ", ".join(f"{name} {packages[name]}" for name in _MAIN_PACKAGES if name in packages),
        "machine": " ".join(str(provenance.get(key) or "") for key in ("host", "platform")).strip(),
        "data": str(data.get("name") or ""),
        "checksum of the data": str(data.get("checksum") or ""),
    }


def _commits(git: Any) -> str:
    if not isinstance(git, dict):
        return ""
    return ", ".join(
        f"{name} {str(state.get('commit'))[:12]}{' with uncommitted changes' if state.get('dirty') else ''}"
        for name, state in git.items()
        if isinstance(state, dict)
    )


def _other_versions(material: Material, facts: dict[str, str]) -> list[Text]:
    """A warning about what makes the runs hard to compare."""
    different = set()
    for run in material.runs.values():
        other = _facts(run)
        different |= {
            key
            for key in ("hpc_dl", "commit", "packages", "checksum of the data")
            if other and other.get(key) != facts.get(key)
        }
    if not different:
        return []
    return [Text(f"Not all runs have the same origin; they differ in: {', '.join(sorted(different))}.")]
