"""Damage to the boxes of an MP4 file: what a reader believes of sizes, counts, times and order."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.fuzz.numbers import another, put
from tests.fuzz.trees import on_bytes, one, place, shorten, swap, walk

_PARENTS = {
    *(b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"dinf", b"udta"),
    *(b"moof", b"traf", b"mvex", b"mfra"),
}
# Of a table: bytes before its number of entries, which has 4 bytes, and bytes of an entry.
_TABLES = {
    b"stts": (4, 8),
    b"ctts": (4, 8),
    b"stsc": (4, 12),
    b"stsz": (8, 4),
    b"stco": (4, 4),
    b"co64": (4, 8),
    b"stss": (4, 4),
    b"elst": (4, 12),
    b"sbgp": (8, 8),
    b"trun": (4, 4),
}
_HEADERS = (b"mvhd", b"tkhd", b"mdhd", b"mehd", b"trex", b"tfhd", b"tfdt", b"mfhd", b"pasp", b"colr", b"hdlr")
_DEEPEST = 150  # boxes within each other: more than any reader follows
_ELSEWHERE = b"file:///etc/passwd\0"


@dataclass(slots=True)
class Box:
    """A box; of one that holds boxes `children`, of others `content`.

    Attributes:
        told: the size that its header tells, where that is not what it has.
    """

    kind: bytes
    content: bytearray = field(default_factory=bytearray)
    children: list[Box] | None = None
    told: int | None = None

    def encoded(self) -> bytes:
        inner = bytes(self.content) if self.children is None else b"".join(c.encoded() for c in self.children)
        size = len(inner) + 8 if self.told is None else self.told
        if size < 1 << 32 and not (size == 1 and self.told is None):
            return size.to_bytes(4, "big") + self.kind + inner
        return b"\0\0\0\1" + self.kind + (size % (1 << 64)).to_bytes(8, "big") + inner


def parse(data: bytes) -> list[Box]:
    """The boxes of a file; what is no whole box any more is the content of one whose kind it begins with."""
    boxes, at = [], 0
    while at + 8 <= len(data):
        size, kind, head = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], 8
        if size == 1:
            size, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        end = at + size if head <= size <= len(data) - at else len(data)
        inner = data[at + head : end]
        parents = parse(inner) if kind in _PARENTS else None
        boxes.append(Box(kind, bytearray(inner), parents))
        at = end
    return boxes


def _size(dice: random.Random, boxes: list[Box]) -> None:
    _, box = one(dice, boxes)
    box.told = another(dice, len(box.encoded()), dice.choice((32, 32, 63)))


def _count(dice: random.Random, boxes: list[Box]) -> None:
    _, box = one(dice, boxes, _TABLES)
    put(dice, box.content, _TABLES.get(box.kind, (4, 4))[0], 4)


def _entry(dice: random.Random, boxes: list[Box]) -> None:
    """A few entries of a table; at times all of one column."""
    _, box = one(dice, boxes, _TABLES)
    before, size = _TABLES.get(box.kind, (4, 4))
    start = before + 4
    num_rows = max(1, (len(box.content) - start) // size)
    column = 4 * dice.randrange(max(1, size // 4))
    if dice.random() < 0.2:
        put(dice, box.content, start + column, 4)
        same = box.content[start + column : start + column + 4]
        for row in range(num_rows):
            at = start + row * size + column
            box.content[at : at + 4] = same[: max(0, len(box.content) - at)]
    else:
        for _ in range(dice.randint(1, 4)):
            put(dice, box.content, start + dice.randrange(num_rows) * size + column, 4)


def _header(dice: random.Random, boxes: list[Box]) -> None:
    _, box = one(dice, boxes, _HEADERS)
    put(dice, box.content, dice.randrange(max(1, len(box.content))) // 4 * 4, dice.choice((2, 4, 4, 8)))


def _sample_entry(dice: random.Random, boxes: list[Box]) -> None:
    _, box = one(dice, boxes, (b"stsd",))
    put(dice, box.content, dice.randrange(max(1, len(box.content))), dice.choice((1, 2, 4)))


def _drop(dice: random.Random, boxes: list[Box]) -> None:
    """A box less; half of the time one that nobody reads is in its place, so that offsets still hold."""
    among, box = one(dice, boxes)
    at = place(among, box)
    among[at : at + 1] = [Box(b"free", bytearray(len(box.encoded()) - 8))] if dice.random() < 0.5 else []


def _twice(dice: random.Random, boxes: list[Box]) -> None:
    among, box = one(dice, boxes)
    many = dice.choice((1, 1, 2, 50)) if len(box.encoded()) < 10_000 else 1
    at = dice.randint(0, len(among))
    among[at:at] = [box] * many


def _move(dice: random.Random, boxes: list[Box]) -> None:
    """A box where it does not belong."""
    among, box = one(dice, boxes)
    places = [boxes, *(b.children for _, b in walk(boxes) if b.children is not None and b is not box)]
    copy = Box(box.kind, bytearray(box.content), None if box.children is None else parse(bytes(box.content)))
    among[:] = [other for other in among if other is not box]
    places[dice.randrange(len(places))].append(copy)


def _nest(dice: random.Random, boxes: list[Box]) -> None:
    among, box = one(dice, boxes)
    at = place(among, box)
    outer = dice.choice((box.kind, b"moov", b"trak", b"udta", b"meta"))
    for _ in range(dice.choice((1, 2, _DEEPEST))):
        box = Box(outer, children=[box])
    among[at] = box


def _rename(dice: random.Random, boxes: list[Box]) -> None:
    _, box = one(dice, boxes)
    more = (b"mdat", b"free", b"stsd", b"uuid", b"meta")
    box.kind = dice.choice((*sorted(_PARENTS), *_TABLES, *_HEADERS, *more))


def _elsewhere(dice: random.Random, boxes: list[Box]) -> None:
    """Samples in another file, as QuickTime allows."""
    _, box = one(dice, boxes, (b"dref",))
    url = Box(b"url ", bytearray(bytes(4) + _ELSEWHERE))
    box.content = bytearray(bytes(4) + (1).to_bytes(4, "big") + url.encoded())


_DAMAGES: dict[str, Callable[[random.Random, list[Box]], None]] = {
    "size of a box": _size,
    "count of a table": _count,
    "entries of a table": _entry,
    "header box": _header,
    "sample entry": _sample_entry,
    "box dropped": _drop,
    "box repeated": _twice,
    "boxes swapped": swap,
    "box moved": _move,
    "boxes nested": _nest,
    "box renamed": _rename,
    "box cut": shorten,
    "data elsewhere": _elsewhere,
}


DAMAGES = on_bytes(parse, _DAMAGES)
