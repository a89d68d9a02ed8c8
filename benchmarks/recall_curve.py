"""A curve of recall against cost as an SVG picture, drawn without any library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 60, 20, 40, 50
COLOURS = ("#0b6e99", "#c45b12", "#5b7f2b")


def draw_curve(path: Path, title: str, budgets: Sequence[int], lines: Mapping[str, Sequence[float]]) -> None:
    """Writes the picture.

    Args:
        budgets: ascending, along the horizontal axis.
        lines: name -> recall of 0 to 1 at each budget.
    """

    def x(budget: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * budget / budgets[-1]

    def y(recall: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - recall)

    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="22" font-size="14">{title}</text>',
    ]
    for tenth in range(0, 11, 2):
        at = y(tenth / 10)
        drawn.append(f'<path d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}" stroke="#dddddd"/>')
        drawn.append(f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{tenth / 10:g}</text>')
    for budget in range(0, budgets[-1] + 1, 20):
        drawn.append(
            f'<text x="{x(budget):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{budget}</text>'
        )
    middle = (LEFT + WIDTH - RIGHT) / 2
    drawn.append(f'<text x="{middle}" y="{HEIGHT - 12}" text-anchor="middle">frames per clip</text>')
    for number, (name, recalls) in enumerate(lines.items()):
        colour = COLOURS[number]
        points = " ".join(f"{x(b):.1f},{y(r):.1f}" for b, r in zip(budgets, recalls, strict=True))
        drawn.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        drawn += [
            f'<circle cx="{x(b):.1f}" cy="{y(r):.1f}" r="2.5" fill="{colour}"/>'
            for b, r in zip(budgets, recalls, strict=True)
        ]
        row = HEIGHT - BOTTOM - 16 * (len(lines) - number)
        drawn.append(f'<path d="M{WIDTH - 190} {row - 4}h24" stroke="{colour}" stroke-width="2"/>')
        drawn.append(f'<text x="{WIDTH - 160}" y="{row}">{name}</text>')
    path.write_text("\n".join([*drawn, "</svg>", ""]), encoding="utf-8")
