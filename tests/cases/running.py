"""Runs of `extract` over cases: healthy files of one command together, each hostile one alone."""

from __future__ import annotations

import html
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

import framemill
from framemill.cluster.cli.extract import extract as extract_command
from framemill.cluster.cli.output import Invocation
from framemill.cluster.config import read_settings
from framemill.cluster.exports.speech import export_speech
from tests.cases.described import Case

Rows = list[dict[str, Any]]
REPOSITORY = Path(__file__).resolve().parents[2]
# A process that holds this much more than the case allows has shown enough.
_MEMORY_FACTOR = 1.5
_MEMORY_MB = 6000.0  # where a case names no limit
_LATE_FACTOR = 1.5  # likewise of time
_MEBIBYTE = 2**20
_NO_SETTINGS = ("sources", "output", "config", "preview")  # what else the command takes
# Columns by which rows are in the order of frame or time; those that a table has count.
_ORDER = ("frame_index", "start_seconds", "pts_seconds", "time_seconds", "end_seconds", "text_index")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run did to one file.

    Attributes:
        exit_code: of `extract`; of a run over several healthy files, what the file alone would have given.
        media, errors: the file's rows of these tables.
        neighbours: status of each healthy file beside it, by file; `missing` where it has no row.
        seconds: how long the command took; of a run over several files None.
        memory_mb: resident size of the largest process in MiB; None where it was not watched.
        output: folder of the results.
    """

    exit_code: int
    media: Rows
    errors: Rows
    neighbours: dict[str, str]
    seconds: float | None
    memory_mb: float | None
    output: Path

    def table(self, name: str) -> Rows:
        """The file's rows in the order of frame or time; none where the table is not there."""
        if name in ("media", "errors"):
            return self.media if name == "media" else self.errors
        results = framemill.open(self.output)
        if name not in results.tables():
            return []
        owners = {row["source_id"] for row in self.media}
        rows = [row for row in results.table(name).to_pylist() if row["source_id"] in owners]
        return sorted(rows, key=lambda row: [row[column] for column in _ORDER if column in row])

    def exported_text(self, form: str) -> str:
        """The words of the subtitles that `export` writes in this format, without numbers and times."""
        owners = {row["source_id"] for row in self.media}
        written, _ = export_speech(self.output, form, self.output / "exported")
        texts = [Path(file.path).read_text("utf-8") for file in written if file.source_id in owners]
        if form == "txt":
            return "\n".join(texts)
        cues = [cue for text in texts for cue in re.findall(r" --> .*\n((?:.+\n?)*)", text)]
        return "\n".join(html.unescape(cue) if form == "vtt" else cue for cue in cues)


def run_together(cases: Sequence[Case], folder: Path, work: Path) -> dict[str, Outcome]:
    """Runs the files of healthy cases with the same command and sources of their own, in this process.

    Args:
        folder: of the cases; work: an empty one for what is made here.

    Returns:
        Outcome by name of the case.
    """
    sources = {case.file: str(folder / case.file) for case in cases}
    if names := cases[0].names:
        (work / "sources").mkdir()
        for name in names:
            shutil.copyfile(folder / cases[0].file, work / "sources" / name)
        sources = {cases[0].file: str(work / "sources")}
    output = work / "out"
    arguments = [*sources.values(), "-o", str(output), *cases[0].command]
    given = extract_command.make_context("extract", arguments, obj=Invocation()).params
    settings = read_settings({key: value for key, value in given.items() if key not in _NO_SETTINGS}, {})
    summary = framemill.extract(list(sources.values()), output, **settings)
    found = {case.name: _outcome(output, sources[case.file]) for case in cases}
    codes = {outcome.exit_code for outcome in found.values()}
    expected = codes.pop() if len(codes) == 1 else 3
    assert summary.exit_code == expected, f"exit code {summary.exit_code}, but {expected} by the tables"
    return found


def run_alone(case: Case, folder: Path, work: Path) -> Outcome:
    """Runs the command line over a case and its neighbours, ended where it goes far beyond its limits."""
    output = work / "out"
    sources = [str(folder / file) for file in (case.file, *case.neighbours)]
    command = [sys.executable, "-m", "framemill", "extract", *sources, "-o", str(output), *case.command]
    started = time.monotonic()
    with open(work / "said", "wb") as said:
        process = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
        latest = started + case.expect.within_seconds * _LATE_FACTOR
        most = (case.expect.memory_mb_max or _MEMORY_MB) * _MEMORY_FACTOR
        memory_mb = 0.0
        while process.poll() is None:
            memory_mb = max(memory_mb, _largest_mb(process.pid))
            if time.monotonic() > latest or memory_mb > most:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            time.sleep(0.05)
    seconds = time.monotonic() - started
    outcome = _outcome(output, sources[0]) if output.is_dir() else Outcome(0, [], [], {}, None, None, output)
    beside = {}
    for file, source in zip(case.neighbours, sources[1:], strict=True):
        rows = _outcome(output, source).media if output.is_dir() else []
        beside[file] = rows[0]["status"] if rows else "missing"
    return Outcome(process.returncode, outcome.media, outcome.errors, beside, seconds, memory_mb, output)


def _largest_mb(pid: int) -> float:
    """The most that any process now alive at or below this one has held in memory, in MiB."""
    try:
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0.0
    return max(map(_peak_mb, family))


def _peak_mb(process: psutil.Process) -> float:
    # The peak as the kernel keeps it, where it does: nothing between two looks is missed.
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        status = ""
    if found := re.search(r"VmHWM:\s+(\d+) kB", status):
        return int(found[1]) / 1024
    try:
        return float(process.memory_info().rss) / _MEBIBYTE
    except psutil.Error:
        return 0.0


def _outcome(output: Path, source: str) -> Outcome:
    """What a folder of results holds about a file, or about the files in a folder."""
    results = framemill.open(output)

    def of_source(rows: Iterable[dict[str, Any]]) -> Rows:
        return [row for row in rows if row["uri"] == source or row["uri"].startswith(source + os.sep)]

    tables = results.tables()
    media = of_source(results.table("media").to_pylist()) if "media" in tables else []
    errors = of_source(results.table("errors").to_pylist())
    unusable = any(row["operation"] == "*" and row["status"] != "partial" for row in errors)
    is_short = bool(errors) or any(row["status"] != "ok" for row in media)
    return Outcome(4 if unusable else 3 if is_short else 0, media, errors, {}, None, None, output)
