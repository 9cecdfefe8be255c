"""Text for users: values of tables, shortened lists, and durations."""

from __future__ import annotations

from collections.abc import Sequence


def shortened(names: Sequence[object], most: int = 10) -> str:
    """The first ``most`` names, separated by commas, and the number of the others.

    >>> shortened(["a", "b", "c", "d"], most=2)
    'a, b and 2 more'
    """
    shown = ", ".join(map(str, names[:most]))
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def duration(seconds: float, *, whole_seconds: bool = False) -> str:
    """A duration in the largest fitting unit: ``0.004 s``, ``12.3 s``, ``4:05 min``, ``1:02:03 h``.

    Args:
        seconds: the duration.
        whole_seconds: whether it was measured in whole seconds: ``< 1 s``, ``12 s``, ``4:05 min``.
    """
    if seconds < 60 and whole_seconds:
        return "< 1 s" if seconds < 1 else f"{seconds:.0f} s"
    if seconds < 1:
        return f"{seconds:.3f} s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02} h" if hours else f"{minutes}:{seconds:02} min"


def megabytes(num_bytes: float) -> str:
    """A size in megabytes, or in gigabytes if it is large: ``46.9 MB``, ``1.23 GB``."""
    return f"{num_bytes / 1e9:,.2f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:,.1f} MB"


def text_of(value: object) -> str:
    """Return a value as tables show it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ", ".join(map(text_of, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
