"""`python -m tests.fuzz.guided TARGET SEED RUNS`: a function of `harness` under atheris, guided by coverage.

Where atheris cannot be imported the table of `tests.fuzz` says that this was skipped.
"""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.fuzz.tally import Fault

REPOSITORY = Path(__file__).resolve().parents[2]
SECONDS_EACH = 20  # of one input; atheris ends with an error above it
MOST_MB = 4096
DEADLINE_SECONDS = 4 * 3600.0
BATCH = 20_000
KINDS = ("packet index", "subtitles")  # the targets of `harness`, which is imported under instruments alone
# Small ones, to be changed.
_CUES = (
    b"1\n00:00:01,000 --> 00:00:02,500\n{\\an8}Hello <i>there</i>\n\n2\n00:00:02,000 --> 00:00:03,000\nwho?\n"
)


def missing() -> str:
    """Why nothing is guided here; empty where it is."""
    return "" if importlib.util.find_spec("atheris") else "atheris is not installed"


def run_kind(target: str, seed: int, count: int) -> Iterator[tuple[int, list[Fault]]]:
    """How many inputs were tried, and what came of them, batch by batch."""
    from tests.cluster.extraction import render_clip  # imports what is to be imported under instruments

    for first in range(0, count, BATCH):
        number = min(BATCH, count - first)
        with tempfile.TemporaryDirectory(prefix="fuzz") as folder:
            corpus = Path(folder) / "corpus"
            corpus.mkdir()
            if target == "subtitles":
                (corpus / "cues").write_bytes(_CUES)
            else:
                for suffix in (".mp4", ".mkv", ".ts"):
                    render_clip(corpus / f"clip{suffix}", seed=1, seconds=0.5, size=(64, 48))
            command = [sys.executable, "-m", "tests.fuzz.guided", target, str(seed + first), str(number)]
            try:
                done = subprocess.run(
                    [*command, str(corpus), f"{folder}/found-"],
                    cwd=REPOSITORY,
                    capture_output=True,
                    timeout=DEADLINE_SECONDS,
                )
            except subprocess.TimeoutExpired:
                yield number, [("hangs", f"{target}: not within {DEADLINE_SECONDS:.0f} s")]
                continue
            faults: list[Fault] = []
            if done.returncode:
                said = (done.stdout + done.stderr)[-3000:].decode("utf-8", "replace")
                inputs = [path.read_bytes()[:200] for path in Path(folder).glob("found-*")]
                fault = "hangs" if "timeout" in said or "out-of-memory" in said else "crashes"
                faults.append((fault, f"{target}, seed {seed + first}: {inputs} {said}"))
            yield number, faults


def main(target: str, seed: str, runs: str, corpus: str, found: str) -> None:
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["framemill"]):
        harness = importlib.import_module("tests.fuzz.harness")
    options = [f"-seed={seed}", f"-runs={runs}", f"-timeout={SECONDS_EACH}", f"-rss_limit_mb={MOST_MB}"]
    atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={found}", corpus], harness.TARGETS[target])
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
