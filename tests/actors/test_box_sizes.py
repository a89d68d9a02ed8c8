"""Files that end before what their outermost boxes state were cut off; what states nothing was not."""

from __future__ import annotations

from pathlib import Path

import pytest

from framemill.actors.box_sizes import missing_bytes
from framemill.actors.indexing import index_source
from tests.actors.clips import moving, sine, write_clip, write_sound

FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}


@pytest.mark.parametrize(
    ("name", "kind", "options"),
    [
        ("plain.mp4", "mov", {}), ("parts.mp4", "mov", FRAGMENTED), ("clip.avi", "avi", {}),
        ("clip.mkv", "matroska", {}),
    ],
)  # fmt: skip
def test_a_cut_file_lacks_what_was_cut(name: str, kind: str, options: dict[str, str], tmp_path: Path) -> None:
    path = write_clip(tmp_path / name, moving(30), options={"g": "10"}, container_options=options)
    assert missing_bytes(str(path), kind) == 0
    content = path.read_bytes()
    for cut in (20, len(content) // 2):
        path.write_bytes(content[:-cut])
        assert missing_bytes(str(path), kind) > 0


def test_a_fragmented_file_that_ends_inside_a_box_is_known_to_be_cut(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "f.mp4", moving(40), options={"g": "10"}, container_options=FRAGMENTED)
    content = path.read_bytes()
    path.write_bytes(content[: content.rindex(b"moof") + 20])
    assert index_source(str(path)).missing_bytes > 0


@pytest.mark.parametrize("size", [0, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_size_that_was_never_filled_in_states_nothing(size: int, tmp_path: Path) -> None:
    path = write_sound(tmp_path / "pipe.wav", sine(0.5, 16000), 16000)
    content = bytearray(path.read_bytes())
    content[4:8] = size.to_bytes(4, "little")
    path.write_bytes(content)
    assert missing_bytes(str(path), "wav") == 0


def test_what_is_appended_is_no_box(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", moving(5))
    path.write_bytes(path.read_bytes() + b"\0\0\xff\xffjunk that somebody appended")
    assert missing_bytes(str(path), "mov") == 0


def test_a_live_segment_of_unknown_size_states_nothing(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "live.mkv", moving(30), container_options={"live": "1"})
    path.write_bytes(path.read_bytes()[:-100])
    assert missing_bytes(str(path), "matroska") == 0


@pytest.mark.parametrize("content", [b"", b"RIFF", b"\x1a\x45\xdf\xa3", b"\0\0\0\1ftyp", b"\0" * 64])
@pytest.mark.parametrize("kind", ["mov", "avi", "matroska", "asf"])
def test_no_file_is_too_short_to_look_at(kind: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "stub"
    path.write_bytes(content)
    assert missing_bytes(str(path), kind) == 0


def test_a_cut_file_of_windows_media_lacks_what_was_cut(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.wmv", moving(30), codec="wmv2")
    content = path.read_bytes()
    assert missing_bytes(str(path), "asf") == index_source(str(path)).missing_bytes == 0
    path.write_bytes(content[: len(content) // 2])
    assert index_source(str(path)).missing_bytes > len(content) // 4
    # What was recorded as it came states the length of no data.
    at = content.index(bytes.fromhex("3626b2758e66cf11")) + 16
    path.write_bytes(content[:at] + (50).to_bytes(8, "little") + content[at + 8 : len(content) // 2])
    assert missing_bytes(str(path), "asf") == 0
