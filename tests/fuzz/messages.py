"""Damage to a file of protobuf, as ONNX is one, whatever its schema: numbers, lengths, order, texts."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.fuzz.numbers import another

VARINT, EIGHT, LENGTH, FOUR = 0, 1, 2, 5  # wire types
_DEEPEST = 150  # messages within each other: protobuf follows a hundred
_MOST_DEPTH = 12
_TEXTS = (
    *(b"", b"\xff\xfe", b"../../etc/passwd", b"/etc/passwd", b"a" * 100_000, b"new\nline\0", b"\x1b[31m"),
    *(b"ConstantOfShape", b"Loop", b"If", b"Expand", b"Tile", b"Range", b"Resize", b"DynamicQuantizeLinear"),
    *(b"Reshape", b"Constant", b"Identity", b"NoSuchOperator", b"ai.onnx.ml", b"value", b"batch"),
)


@dataclass(slots=True)
class Field:
    """A field of a message; `value` is a number, bytes, or the fields of a message within."""

    number: int
    wire: int
    value: int | bytes | list[Field]
    told: int | None = None  # a length that is not that of the value

    def encoded(self) -> bytes:
        head = _varint(self.number << 3 | self.wire)
        if isinstance(self.value, int):
            return head + _varint(self.value)
        inner = self.value if isinstance(self.value, bytes) else encoded(self.value)
        if self.wire != LENGTH:
            return head + inner
        return head + _varint(len(inner) if self.told is None else self.told) + inner


def encoded(fields: list[Field]) -> bytes:
    return b"".join(field.encoded() for field in fields)


def parse(data: bytes, depth: int = 0) -> list[Field] | None:
    """The fields of a message; None where the bytes are none."""
    fields: list[Field] = []
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        number, wire = key >> 3, key & 7
        if not 0 < number < 1000 or at < 0:
            return None
        if wire == VARINT:
            value, at = _read_varint(data, at)
            if at < 0:
                return None
            fields.append(Field(number, wire, value))
            continue
        if wire == LENGTH:
            size, at = _read_varint(data, at)
        elif wire in (EIGHT, FOUR):
            size = 8 if wire == EIGHT else 4
        else:
            return None
        if at < 0 or at + size > len(data):
            return None
        inner = data[at : at + size]
        within = parse(inner, depth + 1) if wire == LENGTH and size > 1 and depth < _MOST_DEPTH else None
        # What merely looks like a message is kept as it is, where writing it would change it.
        fields.append(Field(number, wire, within if within and encoded(within) == inner else inner))
        at += size
    return fields


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*out, number))


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The number and where it ends; -1 where it does not."""
    number = 0
    for index in range(10):
        if at < 0 or at + index >= len(data):
            break
        number |= (data[at + index] & 0x7F) << 7 * index
        if data[at + index] < 0x80:
            return number, at + index + 1
    return 0, -1


def _walk(fields: list[Field]) -> Iterator[tuple[list[Field], int]]:
    """Each field as the list that it stands in and its place there, outer ones first."""
    for at, field in enumerate(fields):
        yield fields, at
        if isinstance(field.value, list):
            yield from _walk(field.value)


def _one(
    dice: random.Random, fields: list[Field], is_meant: Callable[[Field], bool] = lambda field: True
) -> tuple[list[Field], int]:
    """A field that is meant, or any where none is, each number as likely as another."""
    found = [(among, at) for among, at in _walk(fields) if is_meant(among[at])] or list(_walk(fields))
    number = dice.choice(sorted({(among[at].number, among[at].wire) for among, at in found}))
    return dice.choice([(among, at) for among, at in found if (among[at].number, among[at].wire) == number])


def _number(dice: random.Random, fields: list[Field]) -> None:
    for _ in range(dice.choice((1, 1, 4))):
        among, at = _one(dice, fields, lambda field: isinstance(field.value, int))
        if isinstance(held := among[at].value, int):
            among[at].value = another(dice, held, dice.choice((8, 32, 64)))


def _text(dice: random.Random, fields: list[Field]) -> None:
    among, at = _one(dice, fields, lambda field: field.wire == LENGTH and isinstance(field.value, bytes))
    if among[at].wire == LENGTH:
        among[at].value = dice.choice(_TEXTS)


def _length(dice: random.Random, fields: list[Field]) -> None:
    among, at = _one(dice, fields, lambda field: field.wire == LENGTH)
    among[at].told = another(dice, len(among[at].encoded()), 64)


def _other_wire(dice: random.Random, fields: list[Field]) -> None:
    among, at = _one(dice, fields)
    among[at].wire = dice.choice((VARINT, EIGHT, LENGTH, 3, 4, FOUR, 6, 7))


def _other_number(dice: random.Random, fields: list[Field]) -> None:
    among, at = _one(dice, fields)
    among[at].number = dice.choice((*range(1, 26), 1 << 28))


def _drop(dice: random.Random, fields: list[Field]) -> None:
    among, at = _one(dice, fields)
    del among[at]


def _repeat(dice: random.Random, fields: list[Field]) -> None:
    among, at = _one(dice, fields)
    many = dice.choice((1, 2, 200)) if len(among[at].encoded()) < 10_000 else 1
    among[at:at] = [among[at]] * many


def _swap(dice: random.Random, fields: list[Field]) -> None:
    among, at = _one(dice, fields)
    other = dice.randrange(len(among))
    among[at], among[other] = among[other], among[at]


def _nest(dice: random.Random, fields: list[Field]) -> None:
    among, at = _one(dice, fields, lambda field: isinstance(field.value, list))
    inner = among[at]
    for _ in range(dice.choice((1, _DEEPEST))):
        inner = Field(inner.number, LENGTH, [inner])
    among[at] = inner


def _move(dice: random.Random, fields: list[Field]) -> None:
    among, at = _one(dice, fields)
    field = among.pop(at)
    places = [fields, *(a[n].value for a, n in _walk(fields) if isinstance(a[n].value, list))]
    place = dice.choice(places)
    assert isinstance(place, list)
    if not isinstance(field.value, list):  # a message could end up within itself
        place.append(field)


def _elsewhere(dice: random.Random, fields: list[Field]) -> None:
    """Weights in another file, as ONNX allows: raw bytes (9) become a place (13) and a note of it (14)."""
    among, at = _one(dice, fields, lambda field: field.number == 9 and isinstance(field.value, bytes))
    where = dice.choice((b"/etc/passwd", b"../weights.bin", b"weights.bin"))
    place = [Field(1, LENGTH, b"location"), Field(2, LENGTH, where)]
    among[at : at + 1] = [Field(13, LENGTH, list(place)), Field(14, VARINT, 1)]


_DAMAGES: dict[str, Callable[[random.Random, list[Field]], None]] = {
    "numbers": _number,
    "text": _text,
    "length": _length,
    "wire type": _other_wire,
    "number of a field": _other_number,
    "field dropped": _drop,
    "field repeated": _repeat,
    "fields swapped": _swap,
    "messages nested": _nest,
    "field moved": _move,
    "weights elsewhere": _elsewhere,
}


def _on_bytes(
    damage: Callable[[random.Random, list[Field]], None],
) -> Callable[[random.Random, bytearray], bytearray]:
    def damaged(dice: random.Random, data: bytearray) -> bytearray:
        fields = parse(bytes(data))
        if not fields:  # no message any more
            return data
        damage(dice, fields)
        return bytearray(encoded(fields))

    return damaged


DAMAGES = {name: _on_bytes(damage) for name, damage in _DAMAGES.items()}
