"""Real files, damaged at places and in ways that a seed chooses."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

NUM_ORIGINALS = 30
_LARGEST_BYTES = 350_000  # of an original: decoding thousands of mutants must not take days
_HEADER_BYTES = 4096
_KINDS = {".mp4", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mp3", ".flac", ".ogg", ".wav", ".gif"}

Data = bytearray
Damage = Callable[[random.Random, Data], Data]


@dataclass(frozen=True, slots=True)
class Mutant:
    """A damaged file.

    Attributes:
        name: of its file; tells seed and number, by which it is made again.
        origin: the file it was made of. damage: names of what was done to it, in order.
    """

    name: str
    origin: Path
    damage: tuple[str, ...]
    content: bytes


def originals(media: Path) -> list[Path]:
    """Thirty files of the folder, small ones, as many kinds as there are, always the same."""
    files = [p for p in media.rglob("*") if p.suffix in _KINDS and p.stat().st_size <= _LARGEST_BYTES]
    by_kind: dict[str, list[Path]] = {}
    for path in sorted(files, key=lambda path: (path.stat().st_size, path.name)):
        by_kind.setdefault(path.suffix, []).append(path)
    chosen: list[Path] = []
    while len(chosen) < NUM_ORIGINALS and any(by_kind.values()):
        chosen += [paths.pop(0) for _, paths in sorted(by_kind.items()) if paths]
    return chosen[:NUM_ORIGINALS]


def make_mutant(seed: int, number: int, files: Sequence[Path]) -> Mutant:
    """The mutant of this number; the same for the same seed and files."""
    dice = random.Random(f"{seed} {number}")
    origin = files[number % len(files)]
    content = bytearray(origin.read_bytes())
    names = dice.sample(sorted(DAMAGES), dice.choice((1, 1, 1, 2, 3)))
    for name in names:
        content = DAMAGES[name](dice, content)
    return Mutant(f"{seed}_{number:05}{origin.suffix}", origin, tuple(names), bytes(content))


def _span(dice: random.Random, data: Data) -> tuple[int, int]:
    """A stretch of up to a quarter of the file, short ones more often."""
    length = min(len(data), int(2 ** dice.uniform(0, max(1, len(data) // 4).bit_length())))
    start = dice.randrange(max(1, len(data) - length))
    return start, start + length


def _cut(dice: random.Random, data: Data) -> Data:
    return data[: dice.randrange(1, max(2, len(data)))]


def _flip_bits(dice: random.Random, data: Data) -> Data:
    for _ in range(dice.randint(1, 40)):
        if data:
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    return data


def _zero(dice: random.Random, data: Data) -> Data:
    start, end = _span(dice, data)
    data[start:end] = bytes(end - start)
    return data


def _drop(dice: random.Random, data: Data) -> Data:
    start, end = _span(dice, data)
    return data[:start] + data[end:]


def _repeat(dice: random.Random, data: Data) -> Data:
    start, end = _span(dice, data)
    return data[:end] + data[start:]


def _swap(dice: random.Random, data: Data) -> Data:
    start, end = _span(dice, data)
    middle = dice.randint(start, end)
    return data[:start] + data[middle:end] + data[start:middle] + data[end:]


def _header_field(dice: random.Random, data: Data) -> Data:
    """Another number in four bytes of the header or of the tables at the end."""
    reach = min(len(data), _HEADER_BYTES)
    at = dice.randrange(max(1, reach - 4)) + (dice.random() < 0.5) * (len(data) - reach)
    number = dice.choice((0, 1, 2**16, 2**31 - 1, 2**31, 2**32 - 1, dice.getrandbits(32)))
    data[at : at + 4] = number.to_bytes(4, dice.choice(("big", "little")))
    return data


def _twice(dice: random.Random, data: Data) -> Data:
    return data + data


DAMAGES: dict[str, Damage] = {
    "cut": _cut,
    "bits flipped": _flip_bits,
    "zeros": _zero,
    "dropped": _drop,
    "repeated": _repeat,
    "swapped": _swap,
    "header field": _header_field,
    "twice": _twice,
}
