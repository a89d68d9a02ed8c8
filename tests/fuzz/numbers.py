"""Numbers that readers stumble over: the ends of what a field holds, and those beside what it held."""

from __future__ import annotations

import random

_EDGES = (0, 1, 2, 7, 8, 255, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63)


def another(dice: random.Random, held: int, num_bits: int) -> int:
    """A number of so many bits in place of `held`, at times near it."""
    near = (held - 1, held + 1, held * 2, held // 2, held ^ 1 << dice.randrange(num_bits))
    return dice.choice((*_EDGES, *near, -1, dice.getrandbits(num_bits))) % (1 << num_bits)


def put(dice: random.Random, data: bytearray, at: int, num_bytes: int) -> None:
    """Another number in place of the one that stands there, big-endian; none beyond the end."""
    if at >= 0 and at + num_bytes <= len(data):
        held = int.from_bytes(data[at : at + num_bytes], "big")
        data[at : at + num_bytes] = another(dice, held, 8 * num_bytes).to_bytes(num_bytes, "big")
