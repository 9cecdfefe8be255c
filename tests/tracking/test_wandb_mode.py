"""The mode of reporting, by settings and API keys."""

import re
from collections.abc import Iterator

import pytest

from hpc_dl.errors import ConfigError
from hpc_dl.schema import help_texts, parse
from hpc_dl.tracking.wandb_account import account
from hpc_dl.tracking.wandb_config import WandbConfig
from hpc_dl.tracking.wandb_mode import resolve_mode
from tests.conftest import forget_settings

KEY = "0" * 40
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def no_configuration(tmp_path, monkeypatch) -> Iterator[None]:
    for name in ("WANDB_MODE", "WANDB_BASE_URL", "WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_CONFIG_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name in ("NETRC", *PROXIES, *(name.upper() for name in PROXIES)):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    forget_settings()
    yield
    forget_settings()


@pytest.fixture
def server():
    return "http://127.0.0.1:9"


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
    forget_settings()
    assert resolve_mode(WandbConfig()) == ("offline", "W&B's own mode is set to offline")
    assert resolve_mode(WandbConfig(mode="online")) == ("online", "")


def test_key_of_the_public_server_is_found_under_its_old_name(tmp_path):
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


def test_account_has_what_the_user_has_set(server, monkeypatch):
    monkeypatch.setenv("WANDB_BASE_URL", f"{server}/")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_ENTITY", "team")
    monkeypatch.setenv("WANDB_HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.setenv("WANDB_INSECURE_DISABLE_SSL", "true")
    monkeypatch.setenv("WANDB_X_EXTRA_HTTP_HEADERS", '{"X-Site": "cluster"}')
    found = account()
    assert (found.url, found.entity) == (server, "team")
    assert KEY not in repr(found)
    session = found.session()
    assert session.auth == ("api", KEY)
    assert session.proxies["https"] == "http://proxy:3128"
    assert session.verify is False
    assert session.headers["X-Site"] == "cluster"


def test_section_is_strict():
    with pytest.raises(ConfigError) as caught:
        parse(WandbConfig, {"mode": "onlin", "tag": ["x"]}, "wandb")
    assert str(caught.value).splitlines() == [
        "wandb.mode: is not one of the allowed values (got 'onlin'; allowed: auto, online, offline, disabled)."
        " Did you mean 'online'?",
        "wandb.tag: unknown key (allowed: project, entity, mode, group, tags). Did you mean 'tags'?",
    ]


def test_all_keys_have_help_texts():
    assert help_texts(WandbConfig).keys() == WandbConfig.model_fields.keys()
