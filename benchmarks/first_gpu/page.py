"""The page that tells what the checks found."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.3rem .8rem;"
    "border-bottom:1px solid #ccc}td.passed{color:#176b2c}td.failed{color:#a3131b}td.skipped{color:#666}"
    "pre{white-space:pre-wrap;margin:0;font-size:.85em}"
)


def render(found: Mapping[str, Any]) -> str:
    """The page as HTML that needs nothing beside it.

    Args:
        found: what the JSON holds.
    """
    counts = ", ".join(
        f"{sum(step['status'] == status for step in found['steps'])} {status}"
        for status in ("passed", "failed", "skipped")
    )
    device = found["device"].get("name", "unknown GPU")
    parts = [
        f"<h1>First minutes on {escape(device)}</h1><p>{escape(counts)}; {escape(found['started_at'])}</p>",
        "<h2>Checks</h2>",
        _table(
            ("check", "", "seconds", "what it found"),
            (
                (step["name"], step["status"], f"{step['seconds']:.1f}", _details(step))
                for step in found["steps"]
            ),
        ),
        "<h2>Shares of the limits</h2>",
        _table(("what", "reached"), ((name, f"{share:.0%}") for name, share in found["shares"].items()))
        if found["shares"]
        else "<p>None could be measured.</p>",
        "<h2>Thresholds in <code>actors/dali_rules.py</code></h2>",
        _table(
            ("name", "is", "should be"),
            (
                (name, _short(each["is"]), _short(each["should_be"]))
                for name, each in found["thresholds"].items()
            ),
        ),
    ]
    head = f"<meta charset=utf-8><title>First minutes on a GPU</title><style>{_STYLE}</style>"
    return f"<!doctype html>\n<html lang=en><head>{head}</head><body>{''.join(parts)}</body></html>\n"


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = ["".join(f"<th>{escape(head)}</th>" for head in heads)]
    for row in rows:
        cells = list(row)
        lines.append("".join(_cell(text) for text in cells))
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _cell(text: str) -> str:
    kind = f" class={text}" if text in ("passed", "failed", "skipped") else ""
    return (
        f"<td{kind}><pre>{escape(text)}</pre></td>"
        if "\n" in text
        else f"<td{kind}>{escape(text, quote=False)}</td>"
    )


def _details(step: Mapping[str, Any]) -> str:
    figures = json.dumps(step["figures"], indent=1) if step["figures"] else ""
    return "\n".join(filter(None, [step["detail"], figures]))


def _short(value: Any) -> str:
    return "not measured" if value is None else json.dumps(value)
