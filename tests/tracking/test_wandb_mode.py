"""The mode of reporting, by settings, API keys and connections."""

import re
import socket
import time

import pytest

from hpc_dl.errors import ConfigError
from hpc_dl.schema import parse
from hpc_dl.tracking import wandb_mode as mode_module
from hpc_dl.tracking.wandb_config import WandbConfig
from hpc_dl.tracking.wandb_mode import resolve_mode

KEY = "0" * 40
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def no_configuration(tmp_path, monkeypatch):
    for name in ("WANDB_MODE", "WANDB_BASE_URL", "WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_CONFIG_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name in ("NETRC", *PROXIES, *(name.upper() for name in PROXIES)):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def server():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_auto_without_a_key_is_offline():
    mode, reason = resolve_mode(WandbConfig())
    assert mode == "offline"
    assert re.fullmatch(r"no API key for \S+ \(`wandb login` stores one, or set WANDB_API_KEY\)", reason)


def test_online_without_a_key_is_offline(server, monkeypatch):
    monkeypatch.setenv("WANDB_BASE_URL", server)
    assert resolve_mode(WandbConfig(mode="online"))[0] == "offline"


def test_key_and_connection_are_online(server, monkeypatch):
    monkeypatch.setenv("WANDB_BASE_URL", server)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert resolve_mode(WandbConfig()) == ("online", "")


def test_settings_of_wandb_login_are_used(server, tmp_path, monkeypatch):
    settings = tmp_path / ".config" / "wandb" / "settings"
    settings.parent.mkdir(parents=True)
    settings.write_text(f"[default]\nbase_url = {server}\n")
    host = server.removeprefix("http://")
    (tmp_path / ".netrc").write_text(f"machine {host}\n  login user\n  password {KEY}\n")
    assert resolve_mode(WandbConfig()) == ("online", "")
    settings.write_text(f"[default]\nbase_url = {server}\nmode = offline\n")
    assert resolve_mode(WandbConfig()) == ("offline", "W&B's own mode is set to offline")
    assert resolve_mode(WandbConfig(mode="online")) == ("online", "")


def test_key_of_the_public_server_is_found_under_its_old_name(tmp_path, monkeypatch):
    monkeypatch.setattr(mode_module, "_missing_route", lambda url: "")
    (tmp_path / ".netrc").write_text(f"machine api.wandb.ai\n  login user\n  password {KEY}\n")
    assert resolve_mode(WandbConfig()) == ("online", "")


@pytest.mark.parametrize("damage", ["machine", "\udcff"])
def test_damaged_netrc_has_no_key(tmp_path, damage):
    (tmp_path / ".netrc").write_text(damage, errors="surrogateescape")
    assert resolve_mode(WandbConfig())[0] == "offline"


@pytest.mark.parametrize(
    ("setting", "mode"), [("offline", "offline"), ("dryrun", "offline"), ("disabled", "disabled"), ("ONLINE", "online")]
)
def test_auto_respects_wandb_mode(server, monkeypatch, setting, mode):
    monkeypatch.setenv("WANDB_BASE_URL", server)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_MODE", setting)
    assert resolve_mode(WandbConfig())[0] == mode
    assert resolve_mode(WandbConfig(mode="online"))[0] == "online"


def test_refused_connection_is_reported(monkeypatch):
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    mode, reason = resolve_mode(WandbConfig())
    assert mode == "offline"
    assert reason.startswith("127.0.0.1:9 cannot be reached: ")
    assert "refused" in reason


def test_hanging_name_lookup_times_out(monkeypatch):
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setattr(mode_module, "ROUTE_TIMEOUT_S", 0.2)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(2) or [])
    start = time.monotonic()
    assert resolve_mode(WandbConfig()) == ("offline", "wandb.example cannot be reached: no response within 0.2 s")
    assert time.monotonic() - start < 1


def test_proxy_must_respond(server, monkeypatch):
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("https_proxy", server)
    assert resolve_mode(WandbConfig()) == ("online", "")
    monkeypatch.setenv("https_proxy", "user:secret@127.0.0.1:9")
    mode, reason = resolve_mode(WandbConfig())
    assert mode == "offline"
    assert reason.startswith("wandb.example cannot be reached through the proxy 127.0.0.1: ")
    assert "secret" not in reason


def test_section_is_strict():
    with pytest.raises(ConfigError) as caught:
        parse(WandbConfig, {"mode": "onlin", "tag": ["x"]}, "wandb")
    assert str(caught.value).splitlines() == [
        "wandb.mode: is not one of the allowed values (got 'onlin'; allowed: auto, online, offline, disabled)."
        " Did you mean 'online'?",
        "wandb.tag: unknown key (allowed: project, entity, mode, group, tags). Did you mean 'tags'?",
    ]


def test_all_keys_have_help_texts():
    assert all(field.description for field in WandbConfig.model_fields.values())
