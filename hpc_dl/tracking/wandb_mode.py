"""The mode in which a run reports to W&B, determined without a network and without prompts."""

from __future__ import annotations

import configparser
import os
from pathlib import Path
from typing import Literal

from hpc_dl.tracking.wandb_account import NoCredentials, account
from hpc_dl.tracking.wandb_config import WandbConfig

Mode = Literal["online", "offline", "disabled"]

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
    any. Online mode requires an API key; without it the mode is offline, even if ``online`` was
    requested. Whether the server responds is found out while the run is trained.

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

    try:
        account()
    except NoCredentials as error:
        return "offline", str(error)
    return "online", ""


def _user_settings() -> dict[str, str]:
    """Return what ``wandb login --host`` and ``wandb offline`` have stored for this user."""
    folder = Path(os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb").expanduser()
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(folder / "settings")
    except (configparser.Error, OSError, UnicodeDecodeError):
        return {}
    return dict(parser["default"]) if parser.has_section("default") else {}
