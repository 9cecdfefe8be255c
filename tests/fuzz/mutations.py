"""Changes to the bytes of a file, as disks, networks, interrupted copies and attackers make them."""

from __future__ import annotations

import random
from collections.abc import Callable

_EXTREMES = (0, 1, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**56, 2**63 - 1, 2**63, 2**64 - 1)


def mutated(content: bytes, chance: random.Random) -> bytes:
    """Return the content with one to four changes."""
    values = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        if values:
            chance.choice(_CHANGES)(values, chance)
    return bytes(values)


def _flip_bit(values: bytearray, chance: random.Random) -> None:
    values[chance.randrange(len(values))] ^= 1 << chance.randrange(8)


def _set_byte(values: bytearray, chance: random.Random) -> None:
    values[chance.randrange(len(values))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))


def _set_number(values: bytearray, chance: random.Random) -> None:
    width = chance.choice((2, 4, 8))
    position = chance.randrange(max(1, len(values) - width))
    values[position : position + width] = (chance.choice(_EXTREMES) % 256**width).to_bytes(width, "little")


def _truncate(values: bytearray, chance: random.Random) -> None:
    del values[chance.randrange(len(values)) :]


def _extend(values: bytearray, chance: random.Random) -> None:
    values += chance.randbytes(chance.randrange(1, 4096))


def _clear(values: bytearray, chance: random.Random) -> None:
    start = chance.randrange(len(values))
    end = min(len(values), start + chance.choice((8, 64, 512, 4096)))
    values[start:end] = bytes(end - start)


def _copy(values: bytearray, chance: random.Random) -> None:
    size = min(len(values), chance.choice((1, 8, 64, 512)))
    source, target = (chance.randrange(len(values) - size + 1) for _ in range(2))
    values[target : target + size] = values[source : source + size]


_CHANGES: tuple[Callable[[bytearray, random.Random], None], ...] = (
    _flip_bit, _flip_bit, _flip_bit, _set_byte, _set_byte, _set_number, _set_number, _truncate, _extend, _clear, _copy,
)  # fmt: skip
