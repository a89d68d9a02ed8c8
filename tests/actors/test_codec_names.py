"""A track without a decoder is named as its container names it."""

from __future__ import annotations

from pathlib import Path

import pytest

from framemill.actors.codec_names import UNKNOWN, codec_tag
from framemill.actors.indexing import index_source
from framemill.errors import UnsupportedError
from tests.actors.clips import moving, sine, write_clip, write_sound


def test_tracks_of_mp4_and_matroska_are_named_in_their_order(tmp_path: Path) -> None:
    mp4 = write_clip(tmp_path / "a.mp4", moving(5), tone=sine(1, 48_000))
    assert [codec_tag(str(mp4), i) for i in range(3)] == ["avc1", "mp4a", UNKNOWN]
    mkv = write_clip(tmp_path / "a.mkv", moving(5), tone=sine(1, 48_000))
    assert [codec_tag(str(mkv), i) for i in range(3)] == ["V_MPEG4/ISO/AVC", "A_AAC", UNKNOWN]


def test_what_is_no_container_or_damaged_has_no_name(tmp_path: Path) -> None:
    wav = write_sound(tmp_path / "a.wav", sine(1, 8000), 8000)
    assert codec_tag(str(wav), 0) == UNKNOWN
    mp4 = write_clip(tmp_path / "a.mp4", moving(5)).read_bytes()
    for length in (0, 5, 40, len(mp4) - 200):
        (tmp_path / "cut.mp4").write_bytes(mp4[:length])
        assert codec_tag(str(tmp_path / "cut.mp4"), 0) == UNKNOWN
    (tmp_path / "loop.mp4").write_bytes(b"\0\0\0\x08moov" * 20_000)
    assert codec_tag(str(tmp_path / "loop.mp4"), 0) == UNKNOWN
    assert codec_tag("s3://bucket/a.mp4", 0) == UNKNOWN


def test_a_codec_that_ffmpeg_does_not_know_is_named_in_the_error(media_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"no decoder for the sound track \(codec ac-4\)"):
        index_source(str(media_dir / "video" / "audio_unsupported_ac4.mp4"))
    clip = write_clip(tmp_path / "a.mp4", moving(5), tone=sine(1, 48_000)).read_bytes()
    at = clip.rindex(b"mp4a", 0, clip.rindex(b"esds"))
    renamed = clip[:at] + b"zz z" + clip[at + 4 :].replace(b"esds", b"free")
    (tmp_path / "b.mp4").write_bytes(renamed)
    assert (
        index_source(str(tmp_path / "b.mp4")).sound_problem == "no decoder for the sound track (codec zz z)"
    )
