"""Files cut off in an object store lack what they lack on a disk; joined ones are joined there too."""

from __future__ import annotations

from pathlib import Path

import pytest

from framemill.actors import range_reader
from framemill.actors.indexing import index_source
from tests.actors.clips import moving, sine, write_clip
from tests.actors.greys import Part, luma_of, read_whole, write_joined
from tests.object_stores import Bucket

FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
AT_FRONT = {"movflags": "faststart"}


@pytest.mark.parametrize("share", [0.4, 0.9])
@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("front.mp4", "libx264", AT_FRONT), ("parts.mp4", "libx264", FRAGMENTED), ("a.avi", "mpeg4", {}),
        ("a.mkv", "libx264", {}),
    ],
)  # fmt: skip
def test_a_cut_object_lacks_what_a_cut_file_lacks(
    name: str,
    codec: str,
    options: dict[str, str],
    share: float,
    tmp_path: Path,
    bucket: Bucket,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(range_reader, "BLOCK_BYTES", 512)
    path = write_clip(
        tmp_path / name, moving(50), codec=codec, options={"g": "10"}, container_options=options,
        tone=sine(2.0, 48_000),
    )  # fmt: skip
    content = path.read_bytes()
    assert index_source(bucket.put(f"whole_{name}", path)).missing_bytes == 0
    path.write_bytes(content[: int(len(content) * share)])
    local, remote = index_source(str(path)), index_source(bucket.put(name, path))
    assert local.missing_bytes == remote.missing_bytes > 0
    assert local.missing_seconds == pytest.approx(remote.missing_seconds, abs=0.001)
    told, there = local.description, remote.description
    assert (told.num_frames, told.num_frames_promised) == (there.num_frames, there.num_frames_promised)


def test_joined_segments_are_read_from_a_store(tmp_path: Path, bucket: Bucket) -> None:
    path = write_joined(tmp_path / "joined.mkv", (Part(10, 0.4), Part(1), Part(12, 0.5)))
    whole = read_whole(bucket.put("joined.mkv", path))
    assert whole.luma == pytest.approx([luma_of(n) for n in range(23)], abs=1.5)
    assert whole.shortfall == ""
