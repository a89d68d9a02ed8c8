"""Figures as SVG pictures, drawn without any library: they look alike in light and dark."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 60, 30, 40, 50
COLOURS = ("#0b6e99", "#c45b12", "#5b7f2b")
ROW, LABELS = 22, 190


def draw_curve(
    path: Path,
    title: str,
    across: Sequence[float],
    lines: Mapping[str, Sequence[float]],
    *,
    below: str = "frames per clip",
    ticks: Sequence[float] = (),
    top: float = 1.0,
) -> None:
    """Writes a picture of curves over one axis.

    Args:
        across: ascending, along the horizontal axis. lines: name -> values of 0 to `top` at each of them.
        below: what the horizontal axis is. ticks: numbers shown on it; every 20 without.
    """

    def x(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * value / across[-1]

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / top)

    drawn = _begun(HEIGHT, title)
    for tenth in range(0, 11, 2):
        at = y(top * tenth / 10)
        drawn.append(f'<path d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}" stroke="#dddddd"/>')
        drawn.append(f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{top * tenth / 10:g}</text>')
    for tick in ticks or range(0, int(across[-1]) + 1, 20):
        drawn.append(
            f'<text x="{x(tick):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{tick:g}</text>'
        )
    middle = (LEFT + WIDTH - RIGHT) / 2
    drawn.append(f'<text x="{middle}" y="{HEIGHT - 12}" text-anchor="middle">{escape(below)}</text>')
    for number, (name, values) in enumerate(lines.items()):
        colour = COLOURS[number]
        points = " ".join(f"{x(a):.1f},{y(v):.1f}" for a, v in zip(across, values, strict=True))
        drawn.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        drawn += [
            f'<circle cx="{x(a):.1f}" cy="{y(v):.1f}" r="2.5" fill="{colour}"/>'
            for a, v in zip(across, values, strict=True)
        ]
        row = HEIGHT - BOTTOM - 16 * (len(lines) - number)
        drawn.append(f'<path d="M{WIDTH - 190} {row - 4}h24" stroke="{colour}" stroke-width="2"/>')
        drawn.append(f'<text x="{WIDTH - 160}" y="{row}">{escape(name)}</text>')
    _write(path, drawn)


def draw_ratios(path: Path, title: str, records: Sequence[Mapping[str, Any]]) -> None:
    """Writes a picture of ratios, a row each on one logarithmic axis: all runs, their median and the goal.

    Args:
        records: result files whose unit is "x", with `values`.
    """
    some = [value for record in records for value in (*record["values"], record["goal"])]
    first, last = math.floor(math.log2(min(some))), math.ceil(math.log2(max(some)))
    height = TOP + ROW * len(records) + BOTTOM
    foot = height - BOTTOM

    def x(value: float) -> float:
        return LABELS + (WIDTH - LABELS - RIGHT) * (math.log2(value) - first) / (last - first)

    drawn = _begun(height, title)
    for power in range(first, last + 1):
        at, colour = x(2.0**power), "#888888" if power == 0 else "#dddddd"
        drawn.append(f'<path d="M{at:.1f} {TOP}V{foot}" stroke="{colour}"/>')
        drawn.append(f'<text x="{at:.1f}" y="{foot + 18}" text-anchor="middle">{2.0**power:g}x</text>')
    for number, record in enumerate(records):
        at = TOP + ROW * (number + 0.5)
        colour = COLOURS[0] if record["reached"] else COLOURS[1]
        values, goal = record["values"], x(record["goal"])
        name = escape(record["name"].replace("_", " "))
        drawn += [
            f'<text x="{LABELS - 10}" y="{at + 4:.1f}" text-anchor="end">{name}</text>',
            f'<path d="M{x(min(values)):.1f} {at}H{x(max(values)):.1f}" stroke="{colour}" stroke-width="3"/>',
            f'<circle cx="{x(statistics.median(values)):.1f}" cy="{at}" r="4.5" fill="{colour}"/>',
            f'<path d="M{goal:.1f} {at - 7}v14" stroke="#222222" stroke-width="2"/>',
        ]
    legend = (
        f'<tspan fill="{COLOURS[0]}">●</tspan> reached   <tspan fill="{COLOURS[1]}">●</tspan> not   | goal'
    )
    drawn.append(f'<text x="{LABELS}" y="{height - 12}" xml:space="preserve">{legend}</text>')
    _write(path, drawn)


def _begun(height: float, title: str) -> list[str]:
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="{WIDTH - RIGHT}" y="22" font-size="14" text-anchor="end">{escape(title)}</text>',
    ]


def _write(path: Path, drawn: Sequence[str]) -> None:
    path.write_text("\n".join([*drawn, "</svg>", ""]), encoding="utf-8")
