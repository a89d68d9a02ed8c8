"""Engines are built before a worker is ready: their minutes are no file's, and a person is told."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.dataset as ds
import pytest

from framemill.cluster.engines.local import run as local_run
from framemill.errors import SetupError
from tests.actors.clips import sine, write_clip
from tests.actors.test_dali_reader import smooth
from tests.cluster.extraction import RecordingReporter, extract, patch_worker

# A runtime that builds an engine for each model, for longer than a shard may take.
BUILD = """
import time
import framemill.actors.shard_processor as processor
from framemill.models.engines import open_with_engine
from pathlib import Path
real = processor.open_model
def open_model(entry, path, threads, require, sharing, precision, tell):
    def build(place):
        if place.name.startswith('.building-'):
            time.sleep({seconds})
    open_with_engine(Path({folder!r}) / entry.name, build, tell, entry.name)
    return real(entry, path, threads, require, sharing, precision)
processor.open_model = open_model
processor.may_build_engines = lambda *given: True
"""


@pytest.mark.slow
def test_a_build_longer_than_a_deadline_fails_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_run, "DEADLINE_SECONDS", 15.0)
    patch_worker(monkeypatch, tmp_path, BUILD.format(seconds=20, folder=str(tmp_path / "engines")))
    path = write_clip(tmp_path / "a.mp4", smooth(12), tone=sine(1.0, 48_000))
    reporter = RecordingReporter()
    summary = extract(path, out=tmp_path / "out", ops=("speech",), reporter=reporter, deadline_factor=0.0)
    assert summary.exit_code == 0, reporter.said
    said = "\n".join(reporter.said)
    assert said.index("engine of silero_vad_v6: TensorRT builds it") < said.index("built in 20 s")
    assert "another" not in said, "the worker was ended"
    (run,) = ds.dataset(tmp_path / "out" / "runs", format="parquet").to_table().to_pylist()
    assert json.loads(dict(run["sessions"])["vad"])["model"] == "silero_vad_v6"


@pytest.mark.slow
def test_a_build_that_hangs_ends_the_run_and_blames_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_run, "DEADLINE_SECONDS", 15.0)
    monkeypatch.setattr(local_run, "PREPARE_SECONDS", 1.0)
    patch_worker(monkeypatch, tmp_path, BUILD.format(seconds=600, folder=str(tmp_path / "engines")))
    path = write_clip(tmp_path / "a.mp4", smooth(12), tone=sine(1.0, 48_000))
    with pytest.raises(SetupError, match=r"took longer than 15 seconds .* with no file to blame"):
        extract(path, out=tmp_path / "out", ops=("speech",), deadline_factor=0.0)
