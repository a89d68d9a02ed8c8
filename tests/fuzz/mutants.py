"""Real files, damaged at places and in ways that a seed chooses."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz import blocks, boxes, elements, messages, transport

NUM_ORIGINALS = 30
_LARGEST_BYTES = 350_000  # of an original: decoding thousands of mutants must not take days
_HEADER_BYTES = 4096
# What stands before numbers that a reader believes: boxes of MP4, chunks of AVI, WAV and Ogg, elements of
# Matroska (scale, length, times, sizes of pictures, pixel aspect), headers of FLAC, MP3 and GIF.
_TAGS = (
    *(
        b"mvhd",
        b"tkhd",
        b"mdhd",
        b"elst",
        b"stts",
        b"ctts",
        b"stsc",
        b"stsz",
        b"stco",
        b"stss",
        b"moof",
        b"tfhd",
    ),
    *(
        b"tfdt",
        b"trun",
        b"avcC",
        b"esds",
        b"pasp",
        b"avih",
        b"strh",
        b"strf",
        b"idx1",
        b"fmt ",
        b"data",
        b"OggS",
    ),
    *(b"\x2a\xd7\xb1", b"\x44\x89", b"\x1f\x43\xb6\x75", b"\xe7", b"\xa3", b"\xb0", b"\xba", b"\x54\xb0"),
    *(b"fLaC", b"Xing", b"Info", b"GIF8"),
)
_TAG_REACH = 24  # bytes behind a tag that may be changed
_NUMBERS = (0, 1, 2**16, 2**31 - 1, 2**31, 2**32 - 1)
_KINDS = {".mp4", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mp3", ".flac", ".ogg", ".wav", ".gif"}

ANY = "any bytes"

Data = bytearray
Damage = Callable[[random.Random, Data], Data]


@dataclass(frozen=True, slots=True)
class Mutant:
    """A damaged file.

    Attributes:
        name: of its file; tells seed and number, by which it is made again.
        origin: the file it was made of. damage: names of what was done to it, in order.
        kind: of damage, of `KINDS` or `MODEL_KINDS`. salt: of the dice that damages were thrown with.
    """

    name: str
    origin: Path
    damage: tuple[str, ...]
    content: bytes
    kind: str
    salt: int


def originals(*folders: Path, suffixes: Collection[str] = _KINDS) -> list[Path]:
    """Thirty files of the folders, small ones, as many kinds as there are, always the same.

    None that are hostile as they are.
    """
    found = [path for folder in folders for path in folder.rglob("*") if "hostile" not in path.parts]
    files = [p for p in found if p.suffix in suffixes and 0 < p.stat().st_size <= _LARGEST_BYTES]
    by_kind: dict[str, list[Path]] = {}
    for path in sorted(files, key=lambda path: (path.stat().st_size, path.name)):
        by_kind.setdefault(path.suffix, []).append(path)
    chosen: list[Path] = []
    while len(chosen) < NUM_ORIGINALS and any(by_kind.values()):
        chosen += [paths.pop(0) for _, paths in sorted(by_kind.items()) if paths]
    return chosen[:NUM_ORIGINALS]


def make_mutant(seed: int, number: int, files: Sequence[Path], kind: str = ANY) -> Mutant:
    """The mutant of this number; the same for the same seed, files and kind of damage (of `KINDS`)."""
    dice = random.Random(f"{seed} {number}")
    origin = files[number % len(files)]
    names = tuple(dice.sample(sorted(_ALL[kind]), dice.choice((1, 1, 1, 2, 3))))
    salt = dice.getrandbits(32)
    content = damaged(origin.read_bytes(), kind, names, salt)
    return Mutant(f"{seed}_{number:05}{origin.suffix}", origin, names, content, kind, salt)


def damaged(content: bytes, kind: str, names: Sequence[str], salt: int) -> bytes:
    """What these damages make of a file, in order."""
    dice, data = random.Random(salt), bytearray(content)
    for name in names:
        data = _ALL[kind][name](dice, data)
    return bytes(data)


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
    return _put_number(dice, data, at)


def _tagged_field(dice: random.Random, data: Data) -> Data:
    """Another number in a few bytes behind a tag, wherever in the file that stands."""
    tag = dice.choice([tag for tag in _TAGS if tag in data] or [b""])
    first = data.find(tag, dice.randrange(len(data))) if data and dice.random() < 0.5 else -1
    at = (data.find(tag) if first < 0 else first) + len(tag) + dice.randrange(_TAG_REACH)
    return _put_number(dice, data, at)


def _put_number(dice: random.Random, data: Data, at: int) -> Data:
    size = dice.choice((1, 2, 4, 4, 8))
    number = dice.choice((*_NUMBERS, dice.getrandbits(32))) % 256**size
    data[at : at + size] = number.to_bytes(size, dice.choice(("big", "little")))
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
    "tagged field": _tagged_field,
    "twice": _twice,
}
# Damages to media by kind of mutant, and endings of the files that have such a structure.
KINDS: Mapping[str, tuple[Mapping[str, Damage], Collection[str]]] = {
    ANY: (DAMAGES, _KINDS),
    "MP4": (boxes.DAMAGES, {".mp4", ".mov", ".m4a"}),
    "Matroska": (elements.DAMAGES, {".mkv", ".webm"}),
    "TS": (transport.DAMAGES, {".ts"}),
}
MODEL_KINDS: Mapping[str, Mapping[str, Damage]] = {"ONNX": messages.DAMAGES, "TOML": blocks.DAMAGES}
_ALL = {**{kind: damages for kind, (damages, _) in KINDS.items()}, **MODEL_KINDS}
