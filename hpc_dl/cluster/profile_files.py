"""Where site profiles are, and which of them a command uses."""

from __future__ import annotations

import fnmatch
import os
import socket
from pathlib import Path

from hpc_dl import shipped
from hpc_dl.config import yaml
from hpc_dl.errors import ConfigError, nearest
from hpc_dl.regular_files import user_path


def user_folder() -> Path:
    """Return the folder of the user's own profiles, on every cluster with this home folder."""
    configured = os.environ.get("XDG_CONFIG_HOME")
    return (Path(configured) if configured else Path.home() / ".config") / "hpc_dl" / "sites"


def chosen(name: str | None) -> Path | None:
    """Return the profile's file: by ``--site``, then ``$HPC_DL_SITE``, then the name of this host.

    Args:
        name: a name or a YAML file; ``None`` if the command has no ``--site``.

    Returns:
        The file; ``None`` for no profile.

    Raises:
        ConfigError: there is no such profile, or several name this host.
    """
    name = name or os.environ.get("HPC_DL_SITE")
    return _named(name) if name else _of_this_host()


def _named(name: str) -> Path:
    if "/" in name or name.endswith((".yaml", ".yml")):
        return user_path(name, "site")
    for folder in _folders():
        if (path := folder / f"{name}.yaml").is_file():
            return path
    names = sorted({path.stem for folder in _folders() for path in folder.glob("*.yaml")})
    raise ConfigError.at(
        "site",
        "is unknown",
        value=name,
        allowed=", ".join(names) or f"there are none in $HPC_DL_SITES, slurm/sites or {user_folder()}",
        remedy=nearest(name, names) or "`hpc-dl site init` writes one for this cluster; or specify a file",
    )


def _folders() -> list[Path]:
    named = os.environ.get("HPC_DL_SITES")
    folders = [Path(named)] if named else []
    return [*folders, Path("slurm/sites"), user_folder(), shipped.path("slurm/sites")]


def _of_this_host() -> Path | None:
    host = socket.gethostname()
    found = [
        path
        for path in sorted(user_folder().glob("*.yaml"))
        if any(fnmatch.fnmatchcase(host, pattern) for pattern in _host_patterns(path))
    ]
    if len(found) > 1:
        raise ConfigError.at(
            "site",
            f"several profiles name this host, {host}: {', '.join(map(str, found))}",
            remedy="correct `hosts` in one of them, or choose with --site or $HPC_DL_SITE",
        )
    return found[0] if found else None


def _host_patterns(path: Path) -> list[str]:
    """The ``hosts`` of a profile; none if it cannot be read: it may be that of another cluster."""
    try:
        profile = yaml.load(path)
    except ConfigError:
        return []
    hosts = profile.get("hosts") if isinstance(profile, dict) else None
    return [pattern for pattern in hosts if isinstance(pattern, str)] if isinstance(hosts, list) else []
