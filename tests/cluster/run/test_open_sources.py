"""Opening sources: what is looked at first, and what is never read."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from framemill.actors.tracing import Trace
from framemill.cluster.run import content_ids
from framemill.cluster.run.content_ids import content_id
from framemill.cluster.run.messages import Opened, OpenSource, WorkerConfig
from framemill.cluster.run.open_sources import OpenSources
from framemill.errors import LimitError, UnsupportedError

HOLE = 1 << 40


def _open(path: Path) -> Opened:
    config = WorkerConfig(
        root="out",
        run_id="r",
        keys={},
        options={},
        after={},
        shard_seconds=600.0,
        models={},
        sampling="all",
        threads=1,
    )
    return OpenSources(config, Trace()).open(OpenSource(uri=str(path), path=os.fsencode(path)))


def _sparse(path: Path) -> Path:
    try:
        os.truncate(path, HOLE)
    except OSError as exc:
        pytest.skip(f"no sparse terabyte here: {exc}")
    return path


def test_a_terabyte_that_is_no_media_is_refused_by_its_header_alone(tmp_path: Path) -> None:
    (tmp_path / "zeros.mp4").touch()
    path = _sparse(tmp_path / "zeros.mp4")
    started = time.monotonic()
    opened = _open(path)
    assert time.monotonic() - started < 20
    assert opened.failed is not None and opened.failed.error == "CorruptError"
    # It is known again, and known as another once it is written to.
    assert opened.source_id == _open(path).source_id
    os.utime(path, ns=(1, 1))
    assert opened.source_id != _open(path).source_id


def test_a_hole_behind_a_good_header_is_not_read(clips: Path, tmp_path: Path) -> None:
    path = _sparse(Path(shutil.copy(clips / "a.mp4", tmp_path / "hole.mp4")))
    started = time.monotonic()
    with pytest.raises(LimitError, match=f"of its {HOLE} bytes were never written"):
        _open(path)
    assert time.monotonic() - started < 20


def test_a_short_file_that_is_refused_has_the_id_of_its_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "text.mp4").write_text("no media at all " * 100)
    opened = _open(tmp_path / "text.mp4")
    assert opened.failed is not None and opened.source_id == content_id(str(tmp_path / "text.mp4"))
    monkeypatch.setattr(content_ids, "LEAST_LONG_BYTES", 100)
    assert _open(tmp_path / "text.mp4").source_id != opened.source_id


@pytest.mark.skipif(not os.path.exists("/proc/kmsg"), reason="only Linux has such files")
def test_what_the_kernel_makes_up_is_not_waited_for() -> None:
    opened = _open(Path("/proc/kmsg"))
    assert opened.failed is not None and "0 bytes" in opened.failed.message


@pytest.mark.skipif(os.name != "posix", reason="no named pipes elsewhere")
def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(UnsupportedError, match="not a regular file"):
        _open(tmp_path / "pipe.mp4")
