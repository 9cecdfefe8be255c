"""Slurm's formats of times and memory sizes."""

import pytest

from hpc_dl.config.resources import Resources, parse_gib, parse_minutes


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("90", 90),
        ("30:00", 30),
        ("30:01", 31),
        ("0:30", 1),
        ("12:00:00", 720),
        ("00:15:00", 15),
        ("00:00:01", 1),
        ("2-00", 2880),
        ("1-12:30", 1440 + 750),
        ("2-00:00:00", 2880),
        ("1-00:00:59", 1441),
        (" 60 ", 60),
    ],
)
def test_valid_times(text: str, minutes: int) -> None:
    assert parse_minutes(text) == minutes


@pytest.mark.parametrize("text", ["", "1h", "1 day", "-5", "1.5", "1:2:3:4", "1-", "-", "1-2-3", ":30", "infinite"])
def test_invalid_times(text: str) -> None:
    with pytest.raises(ValueError, match="must be a Slurm time: minutes, MM:SS, HH:MM:SS or D-HH:MM:SS"):
        parse_minutes(text)


@pytest.mark.parametrize("text", ["0", "00:00", "0-00:00:00"])
def test_zero_times(text: str) -> None:
    with pytest.raises(ValueError, match="must be longer than zero"):
        parse_minutes(text)


@pytest.mark.parametrize(
    ("text", "gib"),
    [("512M", 0.5), ("16G", 16), ("16g", 16), ("16GB", 16), ("16GiB", 16), ("16 G", 16), ("1T", 1024), ("1.5G", 1.5)],
)
def test_valid_memory_sizes(text: str, gib: float) -> None:
    assert parse_gib(text) == gib


@pytest.mark.parametrize("text", ["16", "", "G", "0G", "-1G", "16X", "1,5G", "16G/node", "nanG"])
def test_invalid_memory_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="must be a size with its unit, for example 16G or 800M"):
        parse_gib(text)


@pytest.mark.parametrize(
    ("nodes", "gpus", "per_node", "world"), [(1, 0, 1, 1), (1, 1, 1, 1), (1, 4, 4, 4), (2, 4, 4, 8), (3, 0, 1, 3)]
)
def test_number_of_ranks(nodes: int, gpus: int, per_node: int, world: int) -> None:
    resources = Resources(nodes=nodes, gpus_per_node=gpus, time=30, memory="800M")
    assert (resources.ranks_per_node, resources.world_size) == (per_node, world)
    assert (resources.minutes, resources.memory_gib) == (30, 800 / 1024)
