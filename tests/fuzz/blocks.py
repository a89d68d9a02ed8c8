"""Damage to a block of TOML that describes a model: keys, values and syntax."""

from __future__ import annotations

import random
from collections.abc import Callable

_VALUES = (
    *("", '""', "0", "-1", "1e999", "nan", "-inf", "true", "[]", "{}", "[[[1]]]", "9223372036854775807"),
    *("99999999999999999999999999", "1979-05-27T07:32:00Z", "07:32:00", '"../../escape"', '"\\u0000"'),
    *('"/etc/passwd"', '"file:///etc/passwd"', '"a\\nb"', '["x", 1]', "[640, 640]", "[640.5, 1]", "[0, 0]"),
    *("[-1, 100000000]", '["coco80"]', '"coco80"', "{a = 1}", '[["a", "b"]]', "0x7fffffff", '"\\ud800"'),
    *('"yolox"', '"objects"', '"yes"', '"bgr"', "[1.0, nan, inf]", "[1e400, 1, 1]", '"' + "é" * 5000 + '"'),
)
_KEYS = (
    *("name", "role", "family", "urls", "url", "path", "sha256", "num_bytes", "licence", "commercial"),
    *("input_size", "colour", "mean", "scale", "labels", "batching", "files", "vectors_of", "trained_on"),
    *("no_such_key", '"quoted key"', "a.b.c", "name.x", '""', "é"),
)
_LINES = (
    *("[table]", "[[model]]", "[a.b.c]", "=", "name", "name =", "# comment", '"""', "'''", "\ufeff"),
    *("[" * 500, "x = " + "[" * 2000, "x = " + "{a=" * 1000, "a." * 3000 + "a = 1"),
    *("\0", "x = 1 y = 2", "\r"),
)

Lines = list[str]


def _value(dice: random.Random, lines: Lines) -> None:
    at = dice.randrange(len(lines))
    lines[at] = f"{lines[at].partition('=')[0]}= {dice.choice(_VALUES)}"


def _key(dice: random.Random, lines: Lines) -> None:
    at = dice.randrange(len(lines))
    lines[at] = f"{dice.choice(_KEYS)} ={lines[at].partition('=')[2]}"


def _added(dice: random.Random, lines: Lines) -> None:
    lines.insert(dice.randint(0, len(lines)), f"{dice.choice(_KEYS)} = {dice.choice(_VALUES)}")


def _line(dice: random.Random, lines: Lines) -> None:
    lines.insert(dice.randint(0, len(lines)), dice.choice(_LINES))


def _drop(dice: random.Random, lines: Lines) -> None:
    del lines[dice.randrange(len(lines))]


def _repeat(dice: random.Random, lines: Lines) -> None:
    at = dice.randrange(len(lines))
    lines[at:at] = [lines[at]] * dice.choice((1, 1000))


_DAMAGES: dict[str, Callable[[random.Random, Lines], None]] = {
    "value": _value,
    "key": _key,
    "key added": _added,
    "line": _line,
    "line dropped": _drop,
    "line repeated": _repeat,
}


def _bytes(dice: random.Random, data: bytearray) -> bytearray:
    for _ in range(dice.choice((1, 3, 20))):
        if data:
            data[dice.randrange(len(data))] = dice.choice((dice.randrange(256), *b"\"'\\[]{}=\n#.,"))
    return data


def _on_bytes(
    damage: Callable[[random.Random, Lines], None],
) -> Callable[[random.Random, bytearray], bytearray]:
    def damaged(dice: random.Random, data: bytearray) -> bytearray:
        lines = data.decode("utf-8", "surrogateescape").split("\n")
        damage(dice, lines)
        return bytearray("\n".join(lines).encode("utf-8", "surrogateescape"))

    return damaged


DAMAGES = {"bytes": _bytes, **{name: _on_bytes(damage) for name, damage in _DAMAGES.items()}}
