"""What damage to any file of nested parts does alike, whether these are boxes or elements."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Protocol, TypeVar


class Part(Protocol):
    """A part of a file, and those in it: `content` counts where there are no `children`."""

    kind: Any
    content: bytearray

    @property
    def children(self) -> list[Any] | None: ...

    def encoded(self) -> bytes:
        """Its bytes, with all that is in it."""


P = TypeVar("P", bound=Part)


def walk(parts: list[P]) -> Iterator[tuple[list[P], P]]:
    """Each part, outer ones first, with the list that it stands in."""
    for part in parts:
        yield parts, part
        yield from walk(part.children or [])


def one(dice: random.Random, parts: list[P], kinds: Collection[Any] = ()) -> tuple[list[P], P]:
    """A part of these kinds, or any where there is none, each kind as likely as another."""
    found = [pair for pair in walk(parts) if not kinds or pair[1].kind in kinds]
    found = found or list(walk(parts))
    kind = dice.choice(sorted({part.kind for _, part in found}))
    return dice.choice([pair for pair in found if pair[1].kind == kind])


def leaves(parts: list[P]) -> set[Any]:
    """Kinds of what holds no parts."""
    return {part.kind for _, part in walk(parts) if part.children is None}


def place(among: list[P], part: P) -> int:
    """Where a part stands: itself, not one that is equal."""
    return next(n for n, other in enumerate(among) if other is part)


def swap(dice: random.Random, parts: list[P]) -> None:
    """Two parts of one list in each other's place."""
    among, part = one(dice, parts)
    at, other = place(among, part), dice.randrange(len(among))
    among[at], among[other] = among[other], among[at]


def shorten(dice: random.Random, parts: list[P]) -> None:
    """The end of a part is missing."""
    _, part = one(dice, parts, leaves(parts))
    if part.children is None:
        del part.content[dice.randint(0, len(part.content)) :]


def on_bytes(
    parse: Callable[[bytes], list[P]], damages: Mapping[str, Callable[[random.Random, list[P]], None]]
) -> dict[str, Callable[[random.Random, bytearray], bytearray]]:
    """The same damages to a file's bytes; what holds no parts stays as it is."""

    def damaging(damage: Callable[[random.Random, list[P]], None]) -> Callable[..., bytearray]:
        def damaged(dice: random.Random, data: bytearray) -> bytearray:
            parts = parse(bytes(data))
            if parts:
                damage(dice, parts)
            return bytearray(b"".join(part.encoded() for part in parts) or data)

        return damaged

    return {name: damaging(damage) for name, damage in damages.items()}
