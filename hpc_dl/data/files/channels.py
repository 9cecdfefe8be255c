"""The axis of the channels in an array of inputs: ``data.channels``."""

from __future__ import annotations

from collections.abc import Sequence

from hpc_dl.data.config import ChannelSetting
from hpc_dl.data.spec import ChannelAxis
from hpc_dl.errors import Fault

MAX_COLOR_CHANNELS = 4


def channel_axis(shape: Sequence[int], setting: ChannelSetting, *, where: str, option: str) -> ChannelAxis | Fault:
    """Return the axis of the channels, or the problem if the setting does not fit the shape.

    ``auto`` takes (N,) and (N, H, W) for samples without a channel axis, and anything else for
    channels first. It does not guess where (N, H, W, C) is as likely as (N, C, H, W).

    Args:
        shape: of the stored inputs, samples first.
        setting: what the user chose.
        where: the place that the problem names, ``FILE:/dataset``.
        option: the setting as the user writes it, for the remedy: ``data.channels:`` in YAML.
    """
    num_axes = len(shape)
    if setting == "last" and num_axes < 3:
        return Fault(
            where,
            "is set to channels last, but has too few axes for that",
            value=tuple(shape),
            allowed="(N, …, C) with at least 3 axes",
            remedy=f"set `{option} first`",
        )
    if setting != "auto":
        return setting
    if num_axes in (4, 5) and shape[-1] <= MAX_COLOR_CHANNELS < min(shape[1:-1]):
        return Fault(
            where,
            f"looks like {'images' if num_axes == 4 else 'volumes'} with the channels last",
            value=tuple(shape),
            allowed="(N, C, H, W)" if num_axes == 4 else "(N, C, D, H, W)",
            remedy=f"set `{option} last`, or `{option} first` if the channels do come first",
        )
    return "none" if num_axes in (1, 3) else "first"
