"""Damage to the elements of a Matroska or WebM file: ids, sizes, lacing, times, cues."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from tests.fuzz.numbers import another, put
from tests.fuzz.trees import leaves, on_bytes, one, place, shorten, swap

SEGMENT, INFO, CLUSTER, TRACKS, CUES = 0x18538067, 0x1549A966, 0x1F43B675, 0x1654AE6B, 0x1C53BB6B
_PARENTS = {
    *(0x1A45DFA3, SEGMENT, INFO, CLUSTER, TRACKS, CUES, 0x114D9B74, 0x4DBB, 0xAE, 0xE0, 0xE1, 0xA0),
    *(0xBB, 0xB7, 0x1043A770, 0x45B9, 0xB6, 0x1254C367, 0x7373, 0x67C8, 0x6D80, 0x6240),
}
_BLOCKS = (0xA3, 0xA1)
_TIMES = (0x2AD7B1, 0xE7, 0x9B, 0x23E383, 0x56AA, 0x56BB, 0xB3, 0x234E7A)  # scale, cluster, durations, delays
_FLOATS = (0x4489, 0xB5, 0x78B5)  # length of the segment, rates of sound
_CUE_PLACES = (0xB3, 0xF1, 0xF0, 0xF7, 0x53AC)
_ODD_FLOATS = (float("nan"), float("inf"), float("-inf"), -1.0, 0.0, 1e300, 1e-300, 1e12)
_DEEPEST = 150
UNKNOWN = -1


@dataclass(slots=True)
class Element:
    """An element; of one that holds elements `children`, of others `content`.

    Attributes:
        told: the size that its header tells where that is another, or `UNKNOWN`.
        width: bytes in which the size is written, so that places of what follows stay.
    """

    kind: int
    content: bytearray = field(default_factory=bytearray)
    children: list[Element] | None = None
    told: int | None = None
    width: int = 8

    def encoded(self) -> bytes:
        inner = bytes(self.content) if self.children is None else b"".join(c.encoded() for c in self.children)
        size = len(inner) if self.told is None else self.told
        name = self.kind.to_bytes(max(1, (self.kind.bit_length() + 7) // 8), "big")
        width = self.width
        while width < 8 and size >= (1 << 7 * width) - 1:
            width += 1
        most = (1 << 7 * width) - 1
        number = most if size == UNKNOWN else size % (most + 1)
        return name + (number | 1 << 7 * width).to_bytes(width, "big") + inner


def _vint(data: bytes, at: int, *, keeps_marker: bool) -> tuple[int, int]:
    """Number and its width; a width of 0 where there is none."""
    width = 9 - data[at].bit_length() if at < len(data) and data[at] else 0
    if not width or at + width > len(data):
        return 0, 0
    number = int.from_bytes(data[at : at + width], "big")
    return number if keeps_marker else number & (1 << 7 * width) - 1, width


def parse(data: bytes) -> list[Element]:
    """The elements of a file, up to where it is none any more."""
    elements, at = [], 0
    while at < len(data):
        kind, name_width = _vint(data, at, keeps_marker=True)
        size, width = _vint(data, at + name_width, keeps_marker=False)
        if not name_width or not width:
            break
        start = at + name_width + width
        is_unknown = size == (1 << 7 * width) - 1
        end = len(data) if is_unknown else min(len(data), start + size)
        inner = data[start:end]
        children = parse(inner) if kind in _PARENTS else None
        told = UNKNOWN if is_unknown else None
        elements.append(Element(kind, bytearray(inner), children, told, width))
        at = end
    return elements


def _size(dice: random.Random, elements: list[Element]) -> None:
    _, element = one(dice, elements)
    size = len(element.content)
    element.told = dice.choice((UNKNOWN, another(dice, size, 7 * element.width)))


def _ident(dice: random.Random, elements: list[Element]) -> None:
    _, element = one(dice, elements)
    known = sorted({*_PARENTS, *_BLOCKS, *_TIMES, *_FLOATS, 0xEC, 0xBF})
    element.kind = dice.choice((*known, element.kind ^ 1, 0xFF, 0x01FFFFFFFFFFFFFF))


def _drop(dice: random.Random, elements: list[Element]) -> None:
    """An element less; half of the time a void one is in its place, so that positions still hold."""
    among, element = one(dice, elements)
    at = place(among, element)
    void = Element(0xEC, bytearray(max(0, len(element.encoded()) - 9)))
    among[at : at + 1] = [void] if dice.random() < 0.5 else []


def _twice(dice: random.Random, elements: list[Element]) -> None:
    among, element = one(dice, elements)
    many = dice.choice((1, 1, 2, 50)) if len(element.content) < 10_000 else 1
    at = dice.randint(0, len(among))
    among[at:at] = [element] * many


def _nest(dice: random.Random, elements: list[Element]) -> None:
    among, element = one(dice, elements)
    at = place(among, element)
    outer = dice.choice((element.kind, SEGMENT, CLUSTER, 0x67C8, 0xB6))
    for _ in range(dice.choice((1, 2, _DEEPEST))):
        element = Element(outer, children=[element])
    among[at] = element


def _number(idents: Collection[int]) -> Callable[[random.Random, list[Element]], None]:
    def damage(dice: random.Random, elements: list[Element]) -> None:
        _, element = one(dice, elements, idents or leaves(elements))
        if element.children is None:
            width = dice.choice((len(element.content), 8)) or 1
            held = int.from_bytes(element.content, "big")
            element.content = bytearray(another(dice, held, 8 * min(width, 8)).to_bytes(min(width, 8), "big"))

    return damage


def _float(dice: random.Random, elements: list[Element]) -> None:
    _, element = one(dice, elements, _FLOATS)
    if element.children is None:
        element.content = bytearray(struct.pack(">d", dice.choice(_ODD_FLOATS)))


def _block(dice: random.Random, elements: list[Element]) -> None:
    """Heads of a few blocks: track, time, or how frames are laced and how many there are."""
    for _ in range(dice.choice((1, 1, 5))):
        _, element = one(dice, elements, _BLOCKS)
        what = dice.choice(("track", "time", "lacing", "count"))
        if what == "lacing" and len(element.content) > 4:
            element.content[3] ^= dice.choice((0x02, 0x04, 0x06, 0x08, 0x80))
        elif what == "count":
            put(dice, element.content, 4, 1)
        else:
            put(dice, element.content, *((0, 1) if what == "track" else (1, 2)))


_DAMAGES: dict[str, Callable[[random.Random, list[Element]], None]] = {
    "size of an element": _size,
    "id of an element": _ident,
    "element dropped": _drop,
    "element repeated": _twice,
    "elements swapped": swap,
    "elements nested": _nest,
    "scale and times": _number(_TIMES),
    "cues": _number(_CUE_PLACES),
    "a number": _number(()),
    "a float": _float,
    "head of a block": _block,
    "element cut": shorten,
}


DAMAGES = on_bytes(parse, _DAMAGES)
