"""The section ``notify`` of a site profile: what reports the end of a run."""

from __future__ import annotations

import re
import shlex
import sys
from typing import Annotated, Literal

from pydantic import Field, field_validator

from hpc_dl.schema import Section

Event = Literal["finished", "failed", "stopped", "cancelled"]

_MAIL_TYPES: dict[Event, str] = {"finished": "END", "failed": "FAIL", "stopped": "END", "cancelled": "FAIL"}


class Notify(Section):
    """What reports the end of each submitted run; not a requeue, and not the members of sweeps."""

    on: Annotated[list[Event], Field(min_length=1)] = ["finished", "failed", "stopped"]
    """Which ends: ``finished``; ``failed``, also diverged or killed; ``stopped`` with a checkpoint,
    without being requeued; ``cancelled``."""
    command: Annotated[list[str], Field(min_length=1)] | None = None
    """Program and arguments, started without a shell on the job's first node. The facts come as
    JSON on its standard input, and as variables ``HPC_DL_NOTIFY_EVENT``, ``…_RUN``, ``…_STATE`` and
    so on; it may take 30 s."""
    mail: str | None = None
    """Address for Slurm's mails about the job (``--mail-user``)."""
    webhook_env: str | None = None
    """Name of the environment variable with the URL of a webhook, which gets the facts as JSON. Set
    it where you submit; it never belongs in a file."""

    @field_validator("mail")
    @classmethod
    def _mail(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[\w.+-]+(@[\w.-]+)?", value):
            raise ValueError("must be an address such as me@cluster.example")
        return value

    @field_validator("webhook_env")
    @classmethod
    def _webhook_env(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
            raise ValueError("must be the name of an environment variable, not the URL itself")
        return value

    def sbatch_options(self) -> dict[str, str]:
        """Return the options of sbatch for Slurm's mails."""
        if self.mail is None:
            return {}
        return {"mail-user": self.mail, "mail-type": ",".join(dict.fromkeys(_MAIL_TYPES[event] for event in self.on))}

    def setup_lines(self) -> list[str]:
        """Return the shell line that reports the end of the batch script; it needs ``$run``."""
        if self.command is None and self.webhook_env is None:
            return []
        command = f'{shlex.quote(sys.executable)} -m hpc_dl.cluster.notification "$run" $? || :'
        return [f"trap {shlex.quote(command)} EXIT"]
