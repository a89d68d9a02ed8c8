"""Result files, the page with their tables and pictures, and the check against ratios that must not fall."""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks.benchmark import Benchmark, Measured
from benchmarks.pictures import draw_curve, draw_ratios

HOME = Path(__file__).resolve().parent
RESULTS = HOME / "results"
PAGE = HOME.parent / "docs" / "benchmarks.md"
PICTURES = PAGE.parent / "pictures"
REGRESSIONS = HOME / "regressions.json"
START, END = "<!-- results: written by python -m benchmarks -->", "<!-- end of results -->"
HEAD = (
    "| work | against | goal | measured (median) | reached | share of bare work |",
    "|---|---|---|---|---|---|",
)
MOST_DRAWN = 256.0  # bytes kept off a network by four powers of ten would leave no room for the others
PACKAGES = ("av", "numpy", "opencv-python-headless", "onnxruntime", "pyarrow", "scenedetect")


def machine(cores: int) -> dict[str, str]:
    """What the figures depend on."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    if shutil.which("ffmpeg"):
        told = subprocess.run(["ffmpeg", "-version"], capture_output=True, text=True, check=True).stdout
        versions["ffmpeg"] = told.split()[2]
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": str(cores),
        **versions,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def save(benchmark: Benchmark, found: Measured | str, cores: int, seconds: float) -> dict[str, Any]:
    """Writes one result file; a string says why nothing was measured, `seconds` how long it took."""
    record: dict[str, Any] = {
        "name": benchmark.name,
        "work": benchmark.work,
        "against": benchmark.against,
        "goal": benchmark.goal,
        "at_least": benchmark.at_least,
        "unit": benchmark.unit,
        "taken_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "took_seconds": round(seconds, 1),
        "machine": machine(cores),
    }
    if isinstance(found, str):
        record["not_measured"] = found
    else:
        record["values"] = list(found.values)
        record["median"] = statistics.median(found.values)
        record["reached"] = benchmark.reached(found)
        record["shares"] = list(found.shares)
        record["details"] = dict(found.details)
    RESULTS.mkdir(exist_ok=True)
    target = RESULTS / f"{benchmark.name}.json"
    unfinished = target.with_suffix(".new")
    unfinished.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    os.replace(unfinished, target)
    return record


def line(record: Mapping[str, Any]) -> str:
    """One row of the table."""
    bound = "at least" if record["at_least"] else "at most"
    goal = f"{bound} {record['goal']:g} {record['unit']}".strip()
    if "not_measured" in record:
        why = " ".join(record["not_measured"].split())[:200].replace("|", "/")
        return f"| {record['work']} | {record['against']} | {goal} | not measured: {why} | | |"
    values, unit = record["values"], record["unit"]
    spread = f"{min(values):.3g} to {max(values):.3g}, {len(values)} runs" if len(values) > 1 else "1 run"
    measured = f"**{record['median']:.3g}** {unit}".strip()
    verdict = "yes" if record["reached"] else "**no**"
    shares = record.get("shares")
    share = f"{statistics.median(shares):.0%}" if shares else ""
    row = (record["work"], record["against"], goal, f"{measured} ({spread})", verdict, share)
    return f"| {' | '.join(row)} |".replace("|  |", "| |")


def write_page(suites: Iterable[ModuleType]) -> None:
    """Renders all result files between the markers, a table a suite, and draws the pictures of the page."""
    shown: list[dict[str, Any]] = []
    parts: list[str] = []
    for suite in suites:
        paths = [RESULTS / f"{benchmark.name}.json" for benchmark in suite.BENCHMARKS]
        records = [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.exists()]
        if records:
            shown += records
            about, _, notes = (suite.__doc__ or "").partition("\n")
            parts += [f"### {about.rstrip('.')}", "", *([notes.strip(), ""] if notes.strip() else []), *HEAD]
            parts += [*map(line, records), ""]
    machines = dict.fromkeys(
        ", ".join(f"{key} {value}" for key, value in record["machine"].items()) for record in shown
    )
    parts += [f"Measured on: {words}." for words in machines]
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    PAGE.write_text("\n\n".join([before.rstrip(), START, "\n".join(parts).strip(), END + after]), "utf-8")
    _draw(shown)


def _draw(records: Sequence[Mapping[str, Any]]) -> None:
    ratios = [record for record in records if record["unit"] == "x" and "median" in record]
    faster = [record for record in ratios if record["at_least"] and record["median"] < MOST_DRAWN]
    if faster:
        draw_ratios(PICTURES / "benchmarks-faster.svg", "how many times as fast as what it replaces", faster)
    if costs := [record for record in ratios if not record["at_least"]]:
        draw_ratios(PICTURES / "benchmarks-limits.svg", "time over that of the limit: less is better", costs)
    nodes = {record["name"]: record for record in records}.get("ray_scaling", {}).get("details", {})
    if nodes:
        numbers = [int(name.partition("_")[0]) for name in nodes]
        lines = {"share of time that is work": list(nodes.values())}
        title = "worker nodes kept busy"
        draw_curve(PICTURES / "benchmarks-nodes.svg", title, numbers, lines, below="nodes", ticks=numbers)


def stored_ratios() -> dict[str, dict[str, float]]:
    """The ratios that must not fall, by benchmark: `median` and `worst` of the runs that were accepted."""
    stored: dict[str, dict[str, float]] = json.loads(REGRESSIONS.read_text(encoding="utf-8"))
    return stored


def worse_than_stored(record: Mapping[str, Any], tolerance: float) -> str | None:
    """What to say if a ratio is worse than the stored one by more than the tolerance (0.1 is a tenth).

    No median is worse that single runs fell to when the ratio was accepted: some ratios vary by more than
    a tenth between runs of the same code.
    """
    stored = stored_ratios().get(record["name"])
    if stored is None or "median" not in record:
        return None
    median, was = record["median"], stored["median"]
    if record["at_least"]:
        limit = min(was * (1 - tolerance), stored["worst"])
        fell = median < limit
    else:
        limit = max(was * (1 + tolerance), stored["worst"])
        fell = median > limit
    return f"{record['name']}: {median:.3g}, was {was:.3g}; the limit is {limit:.3g}" if fell else None


def accept(record: Mapping[str, Any]) -> None:
    """Makes a ratio the one to compare with. Seconds and bytes belong to a machine and are not kept."""
    if "median" in record and record["unit"] == "x":
        worst = (min if record["at_least"] else max)(record["values"])
        accepted = {"median": round(record["median"], 3), "worst": round(worst, 3)}
        ratios = stored_ratios() | {record["name"]: accepted}
        REGRESSIONS.write_text(json.dumps(dict(sorted(ratios.items())), indent=1) + "\n", encoding="utf-8")


def say(text: str) -> None:
    """A line for the person who waits."""
    print(text, file=sys.stderr, flush=True)
