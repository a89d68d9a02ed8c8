"""SIGTERM ends a run on Ray as it ends one on this machine: what is finished is committed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("ray")

from tests.cluster.engines.ray.ray_local import slow_down
from tests.cluster.extraction import PROJECT, command, extract, rows_of, tables_of

NUM_FILES = 24
OPS = ("media", "frames")
MOST_SECONDS = 180.0


# As Ray does: a handler of Python's, and one of its core under it that nobody in Python knows of.
CONNECTING = """
import faulthandler, os, signal, sys
from framemill.cluster.engines.interrupts import noticing_interrupts
from framemill.cluster.engines.ray.connecting import _keeping_sigterm
seen = []
with {around}:
    with _keeping_sigterm():
        signal.signal(signal.SIGTERM, lambda *given: sys.exit("ended by Ray"))
        faulthandler.register(signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)
    print(seen)
"""


@pytest.mark.parametrize(
    ("around", "code", "said"),
    [
        ("noticing_interrupts(seen.append)", 0, f"[{int(signal.SIGTERM)}]\n"),
        ("open(os.devnull)", -signal.SIGTERM, ""),
    ],
)
def test_after_ray_connected_a_signal_does_what_it_did_before(around: str, code: int, said: str) -> None:
    line = [sys.executable, "-c", CONNECTING.format(around=around)]
    done = subprocess.run(line, cwd=PROJECT, capture_output=True, text=True, timeout=MOST_SECONDS)
    assert (done.returncode, done.stdout, done.stderr) == (code, said, "")


@pytest.mark.cluster
@pytest.mark.slow
def test_what_is_finished_is_committed(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    videos, out = tmp_path / "videos", tmp_path / "out"
    videos.mkdir()
    for number in range(NUM_FILES):
        content = (clips / "c.mkv").read_bytes() + b"\xec\x81\0" * number  # void elements
        (videos / f"{number}.mkv").write_bytes(content)
    with monkeypatch.context() as patched:
        patched.setenv("PYTHONPATH", os.pathsep.join(map(str, (slow_down(tmp_path), PROJECT))))
        patched.setenv("RAY_AUTH_MODE", "disabled")
        run = command(videos, "-o", out, "--engine", "ray", "--actors", "1", "--actor-cpus", "1", ops=OPS)
    deadline = time.monotonic() + MOST_SECONDS
    while not any(out.glob("media/*.parquet")):
        assert run.poll() is None and time.monotonic() < deadline, "nothing was committed"
        time.sleep(0.05)
    os.kill(run.pid, signal.SIGTERM)
    _, said = run.communicate(timeout=MOST_SECONDS)
    assert (run.returncode, "interrupted" in said, "Traceback" in said) == (143, True, False), said
    done = len(rows_of(out, "media"))
    assert 0 < done < NUM_FILES
    assert [row["exit_code"] for row in rows_of(out, "runs")] == [143]
    resumed = extract(videos, out=out, ops=OPS)
    assert (resumed.exit_code, resumed.files_cached, resumed.files_computed) == (0, done, NUM_FILES - done)
    extract(videos, out=tmp_path / "fresh", ops=OPS)
    assert tables_of(out) == tables_of(tmp_path / "fresh")
