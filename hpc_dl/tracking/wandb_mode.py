"""The mode in which a run can report to W&B, determined within seconds and without prompts."""

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

from hpc_dl.tracking.wandb_config import WandbConfig

Mode = Literal["online", "offline", "disabled"]

ROUTE_TIMEOUT_S = 3.0
"""Longest wait for a connection to the server. wandb itself waits 90 seconds, with all ranks."""

# WANDB_MODE accepts more values than the YAML; some are W&B's own aliases of old names.
_MODES: dict[str, Mode] = {
    "online": "online",
    "run": "online",
    "shared": "online",
    "offline": "offline",
    "dryrun": "offline",
    "disabled": "disabled",
}


def resolve_mode(config: WandbConfig) -> tuple[Mode, str]:
    """Determine the mode of reporting.

    ``auto`` follows W&B's own settings (``WANDB_MODE``, ``wandb offline``) if the user has made
    any. Online mode requires an API key and a server that responds; without them the mode is
    offline, even if ``online`` was requested.

    Args:
        config: the ``wandb`` section.

    Returns:
        The mode, and the reason if it is not ``online`` (else an empty string).
    """
    settings = _user_settings()
    if config.mode == "auto":
        setting = os.environ.get("WANDB_MODE") or settings.get("mode", "online")
        mode, reason = _MODES.get(setting.lower(), "online"), f"W&B's own mode is set to {setting}"
    else:
        mode, reason = _MODES[config.mode], f"wandb.mode is {config.mode}"
    if mode != "online":
        return mode, reason

    url = os.environ.get("WANDB_BASE_URL") or settings.get("base_url") or _default_base_url()
    obstacle = _missing_key(url) or _missing_route(url)
    return ("offline", obstacle) if obstacle else ("online", "")


def _user_settings() -> dict[str, str]:
    """Return what ``wandb login --host`` and ``wandb offline`` have stored for this user."""
    folder = Path(os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb").expanduser()
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(folder / "settings")
    except (configparser.Error, OSError, UnicodeDecodeError):
        return {}
    return dict(parser["default"]) if parser.has_section("default") else {}


def _default_base_url() -> str:
    import wandb

    return wandb.Settings().base_url  # that of W&B's public server, which depends on wandb's version


def _missing_key(url: str) -> str:
    """Return why there is no API key, or an empty string if there is one.

    Only wandb reads the key itself.
    """
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return ""
    host = urlsplit(url).netloc
    # The public server has had several names; wandb accepts a key stored under the first one.
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
    """Return why the server cannot be reached, or an empty string if it responds."""
    server = urlsplit(url)
    host, port = server.hostname or "", server.port or (443 if server.scheme == "https" else 80)
    via = ""
    proxies = urllib.request.getproxies()
    proxy = proxies.get(server.scheme) or proxies.get("all")
    if proxy and not urllib.request.proxy_bypass(host):
        # Compute nodes often have no other route than a proxy, which must respond instead.
        proxy_url = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        via = f" through the proxy {proxy_url.hostname}"
        host, port = proxy_url.hostname or "", proxy_url.port or 80
    outcome: queue.SimpleQueue[str] = queue.SimpleQueue()
    # In a thread, because a name lookup has no timeout and takes half a minute on a node without
    # DNS.
    threading.Thread(target=_connect, args=(host, port, outcome), daemon=True).start()
    try:
        problem = outcome.get(timeout=ROUTE_TIMEOUT_S)
    except queue.Empty:
        problem = f"no response within {ROUTE_TIMEOUT_S:g} s"
    return f"{server.netloc} cannot be reached{via}: {problem}" if problem else ""


def _connect(host: str, port: int, outcome: queue.SimpleQueue[str]) -> None:
    try:
        # Half of the time for each address, so that IPv4 is tried after a broken IPv6 route.
        socket.create_connection((host, port), timeout=ROUTE_TIMEOUT_S / 2).close()
    except (OSError, UnicodeError) as error:
        outcome.put(str(error))
    else:
        outcome.put("")
