"""Files that change or vanish while a run reads them: no row of one content lands under another's name."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from framemill.actors.tracing import Trace
from framemill.cluster.run import open_sources
from framemill.cluster.run.messages import OpenSource, WorkerConfig
from framemill.cluster.run.open_sources import OpenSources
from framemill.errors import UnreadableError
from tests.cluster.extraction import OPS, extract, failures, patch_worker, render_clip, rows_of, tables_of

# In the worker: once the file is hashed, and before it is decoded, another takes its place.
SWAP = """
import os
from framemill.cluster.run import shard_runner
run = shard_runner.ShardRunner.run
def swapped(self, request):
    there, other = os.fsdecode(request.path), {other!r}
    if os.path.basename(there) == {name!r} and os.path.exists(other):
        os.replace(other, there)
    return run(self, request)
shard_runner.ShardRunner.run = swapped
"""


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [2.0, 14.0], ids=["whole", "in pieces"])
def test_a_file_that_is_replaced_between_hashing_and_decoding_gives_no_rows(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    folder, other = tmp_path / "videos", tmp_path / "marks" / "other.mp4"
    shutil.copytree(clips, folder)
    other.parent.mkdir()
    render_clip(folder / "b.mp4", seed=7, seconds=seconds)
    render_clip(other, seed=8, seconds=seconds)
    shutil.copy2(folder / "b.mp4", tmp_path / "kept.mp4")
    with monkeypatch.context() as patch:
        patch.setenv("FRAMEMILL_SANDBOX", "off")  # in which a worker could not change its sources
        patch_worker(patch, tmp_path, SWAP.format(other=str(other), name="b.mp4"))
        summary = extract(folder, out=tmp_path / "out", sandbox="off", threads=1)
    assert summary.exit_code == 3
    assert failures(tmp_path / "out") == {("b.mp4", "*"): "failed"}
    (row,) = rows_of(tmp_path / "out", "errors")
    assert "replaced while it was read" in row["message"] and "the next run reads it" in row["message"]
    # What was hashed comes under another name, and what took its place stays: each has its own rows.
    shutil.copy2(tmp_path / "kept.mp4", folder / "kept.mp4")
    assert extract(folder, out=tmp_path / "out").exit_code == 0
    extract(folder, out=tmp_path / "fresh")
    assert tables_of(tmp_path / "out") == tables_of(tmp_path / "fresh")


def test_a_file_that_is_written_to_while_it_is_hashed_has_no_content_yet(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.mp4"
    shutil.copy(clips / "a.mp4", path)

    def growing(there: str) -> str:
        digest = open_sources_id(there)
        with open(there, "ab") as file:
            file.write(b"\0\0\0\x08free")
        return digest

    open_sources_id = open_sources.content_id
    monkeypatch.setattr(open_sources, "content_id", growing)
    config = WorkerConfig(
        root=str(tmp_path), run_id="run", keys={}, options={op: {} for op in OPS}, after={},
        shard_seconds=60.0, models={}, sampling="keyframes", threads=1,
    )  # fmt: skip
    with pytest.raises(UnreadableError, match=rf"it had {path.stat().st_size} bytes.*next run reads it"):
        OpenSources(config, Trace()).open(OpenSource(uri=str(path), path=os.fsencode(path)))
