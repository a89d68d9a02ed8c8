"""The head of a report: what failed, what ran where, what it cost, and how the corpus is spread."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from framemill.cluster.view.source_rows import Row, SourceRows

MAX_BARS = 12
MAX_FAILURES = 500
# Upper ends of the bars of lengths, in seconds, and what they are called.
_SHOT_LENGTHS = ((1, "< 1 s"), (2, "1-2 s"), (4, "2-4 s"), (8, "4-8 s"), (16, "8-16 s"), (32, "16-32 s"))
_FILE_LENGTHS = (
    (10, "< 10 s"),
    (60, "10-60 s"),
    (300, "1-5 min"),
    (900, "5-15 min"),
    (3600, "15-60 min"),
    (10_800, "1-3 h"),
)
_STATUSES = ("ok", "partial", "failed", "quarantined", "unsupported")

Bars = list[list[Any]]  # name, number


def failures(rows: SourceRows) -> list[Row]:
    """Rows of `errors`, whole failures first: uri, operation, status, message."""
    columns = ["uri", "operation", "status", "message"]
    found = rows.rows("errors", columns, order="uri")
    return sorted(found, key=lambda row: (row["operation"] != "*", row["status"] == "partial"))


def runs(rows: SourceRows) -> tuple[list[Row], list[Row], list[list[Any]]]:
    """Models with where they ran last; the runs, newest first; and per operation its seconds of work."""
    columns = ["run_id", "started_at", "engine", "exit_code", "num_files", "elapsed_seconds"]
    found = rows.rows("runs", [*columns, "sessions", "seconds", "providers"], order="started_at")
    seconds: Counter[str] = Counter()
    models: dict[str, Row] = {}
    shown = []
    for run in found:
        seconds.update({name: value for name, value in run["seconds"] or () if value > 0})
        for role, provider in run["providers"] or ():
            models[role] = {"role": role, "model": "", "provider": provider, "precision": ""}
        for role, text in run["sessions"] or ():
            told = json.loads(text)
            models[role] = {"role": role} | {
                name: str(told.get(name) or "") for name in ("model", "provider", "precision")
            }
        shown.append(
            {
                "started": run["started_at"].isoformat(" ", "seconds"),
                **{name: run[name] for name in ("engine", "exit_code", "num_files")},
                "seconds": round(run["elapsed_seconds"] or 0.0, 1),
            }
        )
    costs = [[name, round(value, 2)] for name, value in seconds.most_common() if value >= 0.005]
    return sorted(models.values(), key=lambda model: model["role"]), shown[::-1][:20], costs


def histograms(files: Sequence[Row]) -> dict[str, Bars]:
    """Bars of what the files on a page hold: title -> name and number, in the order to be shown.

    Args:
        files: as the page has them, with `shots`, `seconds`, `codec` and `sounds`.
    """
    lengths = [shot["end"] - shot["start"] for file in files for shot in file["shots"]]
    objects: Counter[str] = Counter()
    labels: Counter[str] = Counter()
    for file in files:
        for shot in file["shots"]:
            objects.update(name for name, number, _ in shot["labels"] if number)
            labels.update(name for name, number, _ in shot["labels"] if not number)
    sounds = Counter(
        lane["name"]
        for file in files
        for lane in file["lanes"]
        if lane["kind"] == "sound" and lane["name"] != "music, speech"
    )
    found = {
        "Length of shots": _binned(lengths, _SHOT_LENGTHS, "> 32 s"),
        "Length of files": _binned([file["seconds"] for file in files], _FILE_LENGTHS, "> 3 h"),
        "Codec": _most(Counter(file["codec"] for file in files if file["codec"])),
        "Objects, by shots": _most(objects),
        "Labels, by shots": _most(labels),
        "Sounds, by files": _most(sounds),
    }
    return {title: bars for title, bars in found.items() if bars}


def _binned(values: Iterable[float], ends: Sequence[tuple[float, str]], beyond: str) -> Bars:
    counts = Counter(next((name for end, name in ends if value < end), beyond) for value in values)
    names = [*(name for _, name in ends), beyond]
    used = [position for position, name in enumerate(names) if counts[name]]
    return [[name, counts[name]] for name in names[used[0] : used[-1] + 1]] if used else []


def _most(counts: Counter[str]) -> Bars:
    return [[name, number] for name, number in counts.most_common(MAX_BARS)]
