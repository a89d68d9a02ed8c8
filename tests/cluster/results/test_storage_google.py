"""Sources and results at gs://, against a stand-in that speaks Google's XML interface."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from framemill.actors.object_store import open_store
from framemill.cluster.cli.main import main
from framemill.cluster.results import remote_lease
from framemill.cluster.results.remote_path import RemotePath
from framemill.cluster.results.storage import open_root
from framemill.errors import LeaseError
from tests.cluster.extraction import extract
from tests.cluster.results.test_storage_engine import assert_nothing_is_left, tables_at
from tests.google_store import running_google_store


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with running_google_store() as url:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        open_store.cache_clear()
        yield
        open_store.cache_clear()


@pytest.mark.slow
@pytest.mark.usefixtures("google")
def test_rows_are_those_of_a_local_run(clips: Path, tmp_path: Path) -> None:
    for clip in clips.iterdir():
        open_store("gs", "videos").put(f"in/{clip.name}", clip.read_bytes())
    extract(clips, out=tmp_path / "out")
    out = "gs://videos/out"
    assert extract("gs://videos/in", out=out).exit_code == 0
    assert tables_at(out) == tables_at(tmp_path / "out")
    again = extract("gs://videos/in/*.mp4", out=out)
    assert (again.files_total, again.files_cached) == (2, 2)
    assert main(["compact", out]) == 0
    assert tables_at(out) == tables_at(tmp_path / "out")
    assert_nothing_is_left(out)


@pytest.mark.usefixtures("google")
def test_what_is_there_is_not_made_again() -> None:
    root = open_root("gs://videos/out")
    assert isinstance(root, RemotePath)
    (root / "a").write_new(b"one")
    with pytest.raises(FileExistsError):
        (root / "a").write_new(b"two")
    held = remote_lease.RemoteLease.acquire(root, "r", wait_seconds=0)
    with pytest.raises(LeaseError):
        remote_lease.RemoteLease.acquire(root, "s", wait_seconds=0)
    held.release()
    (root / "a").unlink()
    (root / "a").unlink(missing_ok=True)
