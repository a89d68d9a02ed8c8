"""python -m benchmarks.accuracy [NAME...] [--media DIR] [--models DIR]

Compares all families, or these, with their references. All together write the table in docs/accuracy.md; some
are only printed.
"""

from __future__ import annotations

import argparse
import importlib
import time
from collections.abc import Iterable
from pathlib import Path

from benchmarks.accuracy.table import Comparison, render, replaced, skipped
from benchmarks.harness import REPOSITORY, Setting, SkippedError
from benchmarks.report import say

PAGE = REPOSITORY / "docs" / "accuracy.md"
FAMILIES = ("objects", "faces", "text", "scenes", "embeddings", "sounds", "speech", "speakers")
PACKAGES = ("numpy", "onnxruntime", "opencv-python-headless", "av")


def measured(names: Iterable[str], setting: Setting) -> list[Comparison]:
    """Rows of these families; one for each that could not be compared, too."""
    rows: list[Comparison] = []
    for name in names:
        started = time.monotonic()
        try:
            found: list[Comparison] = importlib.import_module(f"benchmarks.accuracy.{name}").measure(setting)
        except SkippedError as exc:
            found = [skipped(name, str(exc))]
        for row in found:
            say(f"{row.family}: {row.figure}")
        say(f"{name} took {time.monotonic() - started:.0f} s")
        rows += found
    return rows


def main() -> None:
    shared = REPOSITORY.parent / "shared"
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description="Ours and references.")
    parser.add_argument("names", nargs="*", help=f"out of {', '.join(FAMILIES)}; all by default")
    parser.add_argument("--media", type=Path, default=shared / "media", help="folder of real clips")
    parser.add_argument("--models", type=Path, default=shared / "models", help="folder of weights")
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(FAMILIES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(FAMILIES)}")
    cache = REPOSITORY / "build" / "bench"
    setting = Setting(asked.media.resolve(), asked.models.resolve(), cache, 1, 2)
    table = render(measured(asked.names or FAMILIES, setting), PACKAGES)
    if asked.names:
        print(table)
    else:
        PAGE.write_text(replaced(PAGE.read_text("utf-8"), table), encoding="utf-8")


if __name__ == "__main__":
    main()
