"""What a container states of one track is not held against another; what it states and lacks is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from framemill.actors.indexing import index_source
from framemill.actors.promises import _tagged_seconds
from tests.actors.clips import moving, sine, write_clip


@pytest.mark.parametrize("ending", ["mkv", "mp4", "flv", "avi"])
def test_sound_that_outlasts_the_picture_takes_nothing_from_it(ending: str, tmp_path: Path) -> None:
    path = write_clip(tmp_path / f"a.{ending}", moving(25), tone=sine(3.0, 48000))
    index = index_source(str(path))
    assert index.missing_seconds == 0 and index.missing_bytes == 0
    assert index.duration_seconds == pytest.approx(3.0, abs=0.1)
    assert index.frames.end_seconds == pytest.approx(1.0, abs=0.06)


def test_sound_does_not_stand_for_pictures_that_a_container_states(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.avi", moving(60), codec="mpeg4", tone=sine(2.4, 48000))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    index = index_source(str(path))
    assert index.description.num_frames_promised is not None
    assert index.description.num_frames_promised >= 60 > len(index.frames)
    assert index.missing_seconds == pytest.approx((60 - len(index.frames)) / 25, abs=0.1)


@pytest.mark.parametrize(("ending", "promised"), [("mp4", 30), ("avi", 30), ("mkv", None)])
def test_frames_are_promised_where_the_container_counts_them(
    ending: str, promised: int | None, tmp_path: Path
) -> None:
    path = write_clip(tmp_path / f"a.{ending}", moving(30), codec="mpeg4")
    assert index_source(str(path)).description.num_frames_promised == promised


def test_the_last_frame_lasts_as_long_as_the_file_says(tmp_path: Path) -> None:
    alone = write_clip(tmp_path / "one.gif", moving(1), codec="gif", pixel_format="rgb8", rate=10)
    index = index_source(str(alone))
    assert index.missing_seconds == 0 and index.frames.end_seconds > 0


@pytest.mark.parametrize(
    ("tags", "seconds"),
    [
        ({"DURATION": "00:00:03.023000000"}, 3.023), ({"duration-eng": "01:00:00.5"}, 3600.5),
        ({"DURATION": "soon"}, 0.0), ({"DURATION": "1:2:nan"}, 0.0), ({"DURATION": "0:0:inf"}, 0.0),
        ({}, 0.0),
    ],
)  # fmt: skip
def test_lengths_in_tags_are_read_or_left(tags: dict[str, str], seconds: float) -> None:
    assert _tagged_seconds(tags) == seconds
