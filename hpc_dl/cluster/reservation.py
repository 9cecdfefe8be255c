"""Slurm reservations of a site profile that are only used for a time, such as those of a course."""

from __future__ import annotations

import datetime
from typing import Annotated

from pydantic import Field, field_validator

from hpc_dl.cluster.sbatch_options import SbatchValue
from hpc_dl.schema import Section


class Reservation(Section):
    """A Slurm reservation, and when jobs use it; outside of that time they go without it."""

    name: SbatchValue
    """Slurm's name of the reservation."""
    begin: Annotated[str | None, Field(alias="from")] = None
    """First moment at which jobs use it: ``2026-11-30`` or ``2026-11-30T09:00``, in the time zone
    of the login node."""
    until: str | None = None
    """When it ends; a date without a time includes that day."""

    @field_validator("begin", "until")
    @classmethod
    def _moment(cls, value: str | None) -> str | None:
        if value is not None:
            moment(value)
        return value

    def state(self, now: datetime.datetime) -> str:
        """Return ``current``, ``over`` or ``not begun``.

        Args:
            now: local time, without a time zone.
        """
        if self.until is not None and now >= moment(self.until, end_of_day=True):
            return "over"
        return "not begun" if self.begin is not None and now < moment(self.begin) else "current"


#: A name that is always used, one reservation with its time, or several.
Reservations = SbatchValue | Reservation | list[Reservation]


def in_use(reservations: Reservations | None, now: datetime.datetime | None = None) -> str | None:
    """Return the name of the reservation that jobs use at a time: the first of the current ones.

    Args:
        reservations: those of the profile.
        now: local time; by default the present.
    """
    now = now or datetime.datetime.now()
    return next((one.name for one in listed(reservations) if one.state(now) == "current"), None)


def not_used(reservations: Reservations | None, now: datetime.datetime | None = None) -> str:
    """Describe in one line why jobs go without any of the reservations; empty if they use one.

    Args:
        reservations: those of the profile.
        now: local time; by default the present.
    """
    now = now or datetime.datetime.now()
    every = listed(reservations)
    if not every or in_use(reservations, now):
        return ""
    reasons = [
        f"{one.name} ended on {one.until}" if one.state(now) == "over" else f"{one.name} begins on {one.begin}"
        for one in every
    ]
    return f"the job goes without a reservation: {', '.join(reasons)}"


def listed(reservations: Reservations | None) -> list[Reservation]:
    """Return all reservations of a profile."""
    if isinstance(reservations, str):
        return [Reservation(name=reservations)]
    return [reservations] if isinstance(reservations, Reservation) else reservations or []


def moment(text: str, *, end_of_day: bool = False) -> datetime.datetime:
    """Read a date or a time.

    Args:
        text: in ISO format, without a time zone.
        end_of_day: whether a date without a time means the end of that day.

    Raises:
        ValueError: it has another form.
    """
    try:
        read = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("must be a date or a time such as 2026-11-30 or 2026-11-30T09:00") from None
    if read.tzinfo is not None:
        raise ValueError("must have no time zone: it is local time of the login node")
    is_date = len(text.strip()) <= len("2026-11-30")
    return read + datetime.timedelta(days=1) if end_of_day and is_date else read
