"""Reservations with times: used while they last, reported when they are not."""

import datetime

import pytest

from hpc_dl.cluster import site
from hpc_dl.cluster.reservation import Reservation, in_use, not_used
from hpc_dl.cluster.submit import report_site
from hpc_dl.config import yaml
from hpc_dl.errors import ConfigError
from hpc_dl.schema import parse

DAYS = [
    Reservation.model_validate({"name": "monday", "from": "2026-11-30T09:00", "until": "2026-11-30T17:00"}),
    Reservation.model_validate({"name": "tuesday", "from": "2026-12-01", "until": "2026-12-01"}),
]


@pytest.mark.parametrize(
    ("now", "name"),
    [
        ("2026-11-30T08:59", None),
        ("2026-11-30T09:00", "monday"),
        ("2026-11-30T17:00", None),
        ("2026-12-01T00:00", "tuesday"),
        ("2026-12-01T23:59", "tuesday"),  # a date without a time includes that day
        ("2026-12-02T00:00", None),
    ],
)
def test_first_current_one_is_used(now: str, name: str | None) -> None:
    moment = datetime.datetime.fromisoformat(now)
    assert in_use(DAYS, moment) == name
    assert bool(not_used(DAYS, moment)) == (name is None)


def test_one_line_says_why_none_is_used() -> None:
    line = not_used(DAYS, datetime.datetime(2026, 11, 30, 20))
    assert line == "the job goes without a reservation: monday ended on 2026-11-30T17:00, tuesday begins on 2026-12-01"
    assert not_used(None) == not_used("course") == ""


def test_name_alone_is_always_used() -> None:
    assert site.SiteProfile(reservation="course").current_reservation() == "course"


def test_submission_reports_what_is_over() -> None:
    lines: list[str] = []
    profile = site.SiteProfile.model_validate({"reservation": {"name": "past", "until": "2020-01-01"}})
    report_site(profile, lines.append)
    assert "hpc-dl: the job goes without a reservation: past ended on 2020-01-01" in lines
    assert profile.current_reservation() is None


@pytest.mark.parametrize(
    ("reservation", "message"),
    [
        ({"name": "a b"}, "reservation"),
        ({"name": "a", "until": "tomorrow"}, "must be a date or a time such as"),
        ({"name": "a", "from": "2026-11-30T09:00+01:00"}, "must have no time zone"),
        ({"from": "2026-11-30"}, "is required"),
    ],
)
def test_faults(reservation: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse(site.SiteProfile, {"reservation": reservation}, "")
    assert str(caught.value).startswith("reservation")


def test_profile_with_reservations_is_restored_from_its_text() -> None:
    profile = site.SiteProfile(reservation=DAYS)
    assert parse(site.SiteProfile, yaml.loads(profile.dumps(), "x"), "") == profile
