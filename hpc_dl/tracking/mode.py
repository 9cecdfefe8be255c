"""Whether a run can report to W&B right now, found out without asking anybody and within seconds."""

from __future__ import annotations

import configparser
import netrc
import os
import queue
import socket
import threading
import urllib.request
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from hpc_dl.tracking.config import WandbConfig

Mode = Literal["online", "offline", "disabled"]

ROUTE_TIMEOUT_S = 3.0
"""Bound on looking for a route to the server. wandb itself gives up after 90 seconds, of every
rank's time."""

# WANDB_MODE knows more words than the YAML; the older ones are W&B's own aliases.
_MODES: dict[str, Mode] = {
    "online": "online",
    "run": "online",
    "shared": "online",
    "offline": "offline",
    "dryrun": "offline",
    "disabled": "disabled",
}


def resolve_mode(config: WandbConfig) -> tuple[Mode, str]:
    """The mode to run in, and why it is not online.

    ``auto`` follows W&B's own settings (``WANDB_MODE``, ``wandb offline``) where the user has made
    any. Online, asked for or not, needs an API key and a server that answers; without them it
    becomes offline.

    Args:
        config: the ``wandb`` section.

    Returns:
        The mode, and a phrase that says what decided it; empty for ``online``.
    """
    settings = _user_settings()
    if config.mode == "auto":
        word = os.environ.get("WANDB_MODE") or settings.get("mode", "online")
        mode, decider = _MODES.get(word.lower(), "online"), f"W&B's own mode is set to {word}"
    else:
        mode, decider = _MODES[config.mode], f"wandb.mode is {config.mode}"
    if mode != "online":
        return mode, decider

    url = os.environ.get("WANDB_BASE_URL") or settings.get("base_url") or _default_base_url()
    obstacle = _missing_key(url) or _missing_route(url)
    return ("offline", obstacle) if obstacle else ("online", "")


def _user_settings() -> dict[str, str]:
    """What ``wandb login --host`` and ``wandb offline`` have stored for this user."""
    folder = Path(os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb").expanduser()
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(folder / "settings")
    except (configparser.Error, OSError, UnicodeDecodeError):
        return {}
    return dict(parser["default"]) if parser.has_section("default") else {}


def _default_base_url() -> str:
    import wandb

    return wandb.Settings().base_url  # W&B's public server; its address depends on the version


def _missing_key(url: str) -> str:
    """What to do for an API key, or nothing when there is one. The key itself is looked at by
    nobody but wandb.
    """
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return ""
    host = urlsplit(url).netloc
    # The public server has had several names; wandb accepts a key that was stored under its first.
    hosts = [host] if host != urlsplit(_default_base_url()).netloc else [host, "api.wandb.ai"]
    files = [os.environ["NETRC"]] if os.environ.get("NETRC") else ["~/.netrc", "~/_netrc"]
    for path in (Path(file).expanduser() for file in files):
        try:
            entries = netrc.netrc(path)
        except (OSError, netrc.NetrcParseError, UnicodeDecodeError):
            continue
        if any((entry := entries.authenticators(name)) and entry[2] for name in hosts):
            return ""
    return f"no API key for {host} (`wandb login` stores one, or set WANDB_API_KEY)"


def _missing_route(url: str) -> str:
    """Why the server cannot be reached, or nothing when something answers there."""
    server = urlsplit(url)
    host, port = server.hostname or "", server.port or (443 if server.scheme == "https" else 80)
    via = ""
    proxies = urllib.request.getproxies()
    proxy = proxies.get(server.scheme) or proxies.get("all")
    if proxy and not urllib.request.proxy_bypass(host):
        # Compute nodes often have no route but a proxy; then it is the proxy that must answer.
        proxy_url = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        via = f" through the proxy {proxy_url.hostname}"
        host, port = proxy_url.hostname or "", proxy_url.port or 80
    outcome: queue.SimpleQueue[str] = queue.SimpleQueue()
    # In a thread, for a name lookup has no timeout of its own and takes half a minute on a node
    # without DNS.
    threading.Thread(target=_connect, args=(host, port, outcome), daemon=True).start()
    try:
        problem = outcome.get(timeout=ROUTE_TIMEOUT_S)
    except queue.Empty:
        problem = f"no answer within {ROUTE_TIMEOUT_S:g} s"
    return f"{server.netloc} cannot be reached{via}: {problem}" if problem else ""


def _connect(host: str, port: int, outcome: queue.SimpleQueue[str]) -> None:
    try:
        # Half of the bound for each address, so that a dead IPv6 route leaves time to try IPv4.
        socket.create_connection((host, port), timeout=ROUTE_TIMEOUT_S / 2).close()
    except (OSError, UnicodeError) as error:
        outcome.put(str(error))
    else:
        outcome.put("")
