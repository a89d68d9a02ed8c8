"""A device that is lost in the middle of a run: another process does the work again, and no file suffers."""

from __future__ import annotations

from pathlib import Path

import pytest

from framemill.cluster.run.devices import DEVICE_LOST
from tests.cluster.extraction import RecordingReporter, check_only, extract, patch_worker, six_alike

# The first frames that are looked at find no device any more; a later process finds one.
LOSE = """
import os
import framemill.ops.frames.frames as frames
real = frames.measure_lumas
def measure_lumas(lumas):
    try:
        open({mark!r}, 'x').close()
    except FileExistsError:
        return real(lumas)
    raise RuntimeError('cudaErrorIllegalAddress: an illegal memory access was encountered')
frames.measure_lumas = measure_lumas
"""


def test_a_lost_device_costs_no_file(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patch_worker(monkeypatch, tmp_path, LOSE.format(mark=str(tmp_path / "lost")))
    folder = six_alike(tmp_path / "videos", clips / "b.mp4")
    reporter = RecordingReporter()
    summary = extract(folder, out=tmp_path / "out", reporter=reporter)
    assert (tmp_path / "lost").exists() and summary.exit_code == 0
    assert any(str(DEVICE_LOST) in said for said in reporter.said), reporter.said
    check_only({}, folder, tmp_path / "out")
