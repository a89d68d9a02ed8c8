"""Mutants of media through `framemill extract` and `framemill check`, beside what plain PyAV decodes of them.

A crash is an exit code that is none of a run's, or a file that killed its worker; a hang a run that passes
its deadline; broken what `framemill check` finds; a silent loss a file called ok of which PyAV decodes more;
an escape a file that a run left or changed anywhere but in its result folder.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import framemill
from tests.cluster.extraction import render_clip
from tests.fuzz.mutants import KINDS, Mutant, make_mutant, originals
from tests.fuzz.tally import Fault
from tests.shared import SHARED

REPOSITORY = Path(__file__).resolve().parents[2]
BATCH = 50  # mutants of one run
DEADLINE_SECONDS = 240.0  # of a run: fifty files of a few seconds each take some twenty
ORACLE_SECONDS = 60.0  # of PyAV over a batch; it is asked again without the file at which it stopped
SAME_SECONDS = 0.1  # lengths that differ less are the same
_RENDERED = {".mp4", ".mkv", ".ts"}  # where no real files are at hand
LOUD_DB = -46.0  # of a tenth of a second that holds what the oracle calls loud, or half of it


def run_kind(kind: str, seed: int, count: int) -> Iterator[tuple[int, list[Fault]]]:
    """How many mutants of this kind of damage were run, and what came of them, batch by batch."""
    files = originals(SHARED / "media", SHARED / "cases", suffixes=KINDS[kind][1])
    with tempfile.TemporaryDirectory(prefix="fuzz") as clips:
        rendered = [] if files else sorted(_RENDERED.intersection(KINDS[kind][1]))
        files = files or [render_clip(Path(clips) / f"clip{suffix}", seed=1) for suffix in rendered]
        for first in range(0, count, BATCH):
            with tempfile.TemporaryDirectory(prefix="fuzz") as folder:
                numbers = range(first, min(first + BATCH, count))
                mutants = [make_mutant(seed, n, files, kind) for n in numbers]
                yield len(mutants), list(run_batch(mutants, Path(folder)))


def run_batch(mutants: Sequence[Mutant], folder: Path) -> Iterator[Fault]:
    """Faults of one run over mutants, each with the file and what was done to it."""
    (folder / "in").mkdir()
    paths = {str(folder / "in" / mutant.name): mutant for mutant in mutants}
    for path, mutant in paths.items():
        Path(path).write_bytes(mutant.content)
    out = folder / "out"
    ops = ("--ops", "media,frames,scenes,audio_levels", "--sample", "all")
    code, _ = _command("extract", *paths, "-o", str(out), *ops, "-q")
    run = f"a run of {_named(mutants[0])} to {_named(mutants[-1])}"
    if code is None:
        yield "hangs", run
    elif code not in (0, 3, 4):
        yield "crashes", f"exit code {code} of {run}"
    if not out.is_dir():
        return
    code, said = _command("check", str(out))
    if code not in (0, 3):
        yield "crashes", f"exit code {code} of `framemill check` after {run}"
    if {path.name for path in (folder / "in").iterdir()} != {Path(path).name for path in paths}:
        yield "escapes", f"files came or went beside the sources, in {run}"
    if strange := {path.name for path in folder.iterdir()} - {"in", "out"}:
        yield "escapes", f"{', '.join(sorted(strange))} was written outside of the result folder, in {run}"
    for path, mutant in paths.items():
        if Path(path).read_bytes() != mutant.content:
            yield "escapes", f"a source was written to: {_named(mutant)}"
    for line in said.splitlines()[:-1]:
        yield "broken", f"{line}, in {run}"
    results = framemill.open(out)
    media = results.table("media").to_pylist() if "media" in results.tables() else []
    errors = results.table("errors").to_pylist()
    for uri in paths.keys() - {row["uri"] for row in (*media, *errors)}:
        yield "silent losses", f"nothing is said of {_named(paths[uri])}"
    for uri in {row["uri"] for row in (*media, *errors) if row["status"] == "quarantined"}:
        yield "crashes", f"the worker died of {_named(paths.pop(uri))}"
    sound = {row["uri"]: row for row in media if row["status"] == "ok"}
    frames = _count(results, "SELECT source_id, count(*) FROM frames GROUP BY 1")
    loud = _count(
        results, f"SELECT source_id, count(*) FROM audio_levels WHERE peak_db > {LOUD_DB} GROUP BY 1"
    )
    for right in _oracle([path for path in paths if path in sound]):
        row, mutant = sound[right["path"]], paths[right["path"]]
        found = {
            "frames": min(frames.get(row["source_id"], 0), row["num_frames_delivered"] or 0),
            "seconds": row["duration_seconds"] or 0.0,
            "loud": loud.get(row["source_id"], 0) * 0.1,
        }
        slack = {"frames": 0, "seconds": SAME_SECONDS, "loud": SAME_SECONDS}
        if any(found[what] < right[what] - slack[what] for what in found):
            yield "silent losses", f"{_named(mutant)}: {found}, where PyAV decodes {right}"


def _count(results: framemill.Results, sql: str) -> dict[str, int]:
    """Rows of each source; none where no file has such a table."""
    return dict(results.sql(sql).rows)


def _named(mutant: Mutant) -> str:
    return f"{mutant.name} ({mutant.kind}, {mutant.origin.name}: {', '.join(mutant.damage)}; {mutant.salt})"


def _command(*arguments: str) -> tuple[int | None, str]:
    """Exit code of the command line and what it printed; None where it had to be ended."""
    process = subprocess.Popen(
        [sys.executable, "-m", "framemill", *arguments],
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=DEADLINE_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return None, ""
    return process.returncode, said


def _oracle(paths: list[str]) -> Iterator[dict[str, Any]]:
    """What PyAV decodes of each file, in a process of its own: of what it dies of there is no answer."""
    quiet = subprocess.DEVNULL
    while paths:
        command = [sys.executable, "-m", "tests.fuzz.oracle", *paths]
        try:
            said = subprocess.run(
                command, cwd=REPOSITORY, timeout=ORACLE_SECONDS, stdout=subprocess.PIPE, stderr=quiet
            ).stdout
        except subprocess.TimeoutExpired as late:
            said = late.stdout or b""
        answers = [json.loads(line) for line in said.splitlines() if line.endswith(b"}")]
        yield from answers
        paths = paths[len(answers) + 1 :]
