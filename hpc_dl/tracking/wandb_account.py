"""Server and credentials, found as the wandb client finds them; they are never written anywhere."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from io import StringIO
from typing import Any

import requests
from pydantic import ValidationError

from hpc_dl.tracking.wandb_environment import wandb_mode
from hpc_dl.tracking.wandb_errors import WandbError

_TOKEN_TIMEOUT_S = 30.0


class NoCredentials(WandbError):
    """There is no API key for the server.

    Attributes:
        remedy: what to do about it.
    """

    def __init__(self, message: str, remedy: str = "run `wandb login`, or set WANDB_API_KEY") -> None:
        super().__init__(message)
        self.remedy = remedy


@dataclass(frozen=True)
class Account:
    """A server and what it takes to use it.

    Attributes:
        url: the address of its API.
        app_url: the address of its web pages.
        entity: the default owner of projects, if the user has set one.
        options: further attributes of ``requests.Session``.
    """

    url: str
    app_url: str
    entity: str | None
    options: Mapping[str, Any] = field(repr=False)

    def session(self) -> requests.Session:
        """A new session with the credentials."""
        session = requests.Session()
        for name, value in self.options.items():
            if isinstance(value, dict):
                getattr(session, name).update(value)
            else:
                setattr(session, name, value)
        return session


def account() -> Account:
    """Find the server and the credentials: environment, settings files, ``wandb login``, netrc.

    Raises:
        NoCredentials: there are none for this server, or they are invalid.
    """
    import wandb
    from wandb.sdk import wandb_setup
    from wandb.sdk.lib import wbauth

    try:
        # wandb refuses some values of WANDB_MODE that we accept, and prints where it found the key.
        with wandb_mode(None), redirect_stderr(StringIO()):
            settings = wandb_setup.singleton().settings  # `wandb.setup` would start a process
            host = settings.base_url
            auth = wbauth.authenticate_session(host=host, source="hpc-dl", prompt=False, update_session=False)
    except wandb.Error as error:
        raise NoCredentials(str(error).splitlines()[0]) from None
    except ValidationError as error:
        raise NoCredentials(_invalid(error), remedy="correct it, or unset it") from None
    except (ValueError, OSError) as error:  # its message may have the key
        reason = f"W&B's settings or the netrc file cannot be read ({type(error).__name__})"
        raise NoCredentials(reason) from None
    if auth is None:
        raise NoCredentials(f"no API key for {settings.base_url} (`wandb login` stores one, or set WANDB_API_KEY)")
    options: dict[str, Any] = {
        "headers": {"User-Agent": f"hpc_dl wandb/{wandb.__version__}", **(settings.x_extra_http_headers or {})}
    }
    if isinstance(auth, wbauth.AuthApiKey):
        options["auth"] = ("api", auth.api_key)
    else:  # an identity token, which wandb exchanges for an access token
        from wandb.apis.public.service_api import ServiceApi

        service = ServiceApi(settings)
        options["auth"] = lambda request: _with_token(request, service.access_token(timeout=_TOKEN_TIMEOUT_S))
    if settings.insecure_disable_ssl:
        options["verify"] = False
    proxies = {"http": settings.http_proxy, "https": settings.https_proxy}
    if any(proxies.values()):
        options["proxies"] = {scheme: proxy for scheme, proxy in proxies.items() if proxy}
    entity = os.environ.get("WANDB_ENTITY") or settings.entity
    return Account(settings.base_url.rstrip("/"), settings.app_url.rstrip("/"), entity, options)


def _invalid(error: ValidationError) -> str:
    """Name the first invalid setting; its value only if that is not a secret."""
    detail = error.errors()[0]
    name = str(detail["loc"][0]) if detail["loc"] else "?"
    shown = f": {detail['msg']} (got {detail['input']!r})" if name == "base_url" else ""
    return f"WANDB_{name.upper()}, or {name} in W&B's settings file, is not valid{shown}"


def _with_token(request: requests.PreparedRequest, token: str | None) -> requests.PreparedRequest:
    request.headers["Authorization"] = f"Bearer {token}"
    return request
