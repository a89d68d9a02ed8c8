"""Loss is told: what did not come, what is damaged, what the file lacks; lengths are those of the decode."""

from __future__ import annotations

from dataclasses import replace

import pytest

from framemill.actors.indexing import SourceIndex, index_source
from framemill.actors.pyav_reader import ReadReport
from framemill.actors.shortfalls import (
    Delivered,
    LossKind,
    Shortfall,
    add_up,
    find_shortfall,
    measure,
    stated_shortfall,
    update,
)
from framemill.errors import CorruptError
from tests.actors.clips import moving, sine, write_clip


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> SourceIndex:
    path = tmp_path_factory.mktemp("clip") / "a.mp4"
    return index_source(str(write_clip(path, moving(50), tone=sine(2, 48000))))


def shortfall(index: SourceIndex, **seen: int | float | bool) -> Shortfall | None:
    report = ReadReport(**{"num_decoded": 50, "sound_seconds": 2.0, **seen})  # type: ignore[arg-type]
    return find_shortfall(index, 50, True, True, report)


def message(found: Shortfall | None) -> str:
    assert found is not None
    return found.message


def test_nothing_is_short_where_everything_came(index: SourceIndex) -> None:
    assert shortfall(index) is None and stated_shortfall(index) is None


@pytest.mark.parametrize(
    ("seen", "said", "kind"),
    [
        ({"num_missing": 1}, "1 of 50 frames", "damaged_pictures"),
        ({"num_damaged": 1}, "1 pictures are damaged", "damaged_pictures"),
        ({"cut_off": True}, "ended in an error", "cut_short"),
        ({"sound_seconds": 1.0}, "1.00 of 2", "missing_sound"),
        ({"num_sound_lost": 2}, "2 packets of sound", "missing_sound"),
        ({"num_text_lost": 1}, "1 subtitles", "damaged_subtitles"),
        ({"num_missing": 1, "cut_off": True}, "of the file: 1 of 50 frames did not come", "cut_short"),
        ({"num_damaged": 1, "num_sound_lost": 2}, "1 pictures", "damaged_pictures"),
    ],
)
def test_a_single_loss_is_told_with_its_kind(
    index: SourceIndex, seen: dict[str, int], said: str, kind: str
) -> None:
    found = shortfall(index, **seen)
    assert said in message(found) and found is not None and found.kind == LossKind(kind)


def test_pictures_before_the_first_key_frame_may_lack(index: SourceIndex) -> None:
    assert shortfall(index, num_missing=3, num_leading=3) is None
    assert "1 of 50 frames" in message(shortfall(index, num_missing=4, num_leading=3))


def test_a_file_that_ends_inside_a_box_falls_short(index: SourceIndex) -> None:
    assert "77 bytes" in message(stated_shortfall(replace(index, missing_bytes=77)))
    found = stated_shortfall(replace(index, missing_bytes=77, missing_seconds=1.5))
    assert found is not None and "1.50 seconds" in found.message and found.kind == LossKind.CUT_SHORT


def test_a_piece_of_which_nothing_came_is_corrupt_only_where_it_is_the_whole(index: SourceIndex) -> None:
    nothing = ReadReport(num_missing=50)
    with pytest.raises(CorruptError, match="none of the 50 frames"):
        find_shortfall(index, 50, False, True, nothing)
    assert "50 of 50" in message(find_shortfall(index, 50, False, False, nothing))


@pytest.mark.parametrize(
    ("stated", "heard", "length"), [(2.0, 2.5, 2.5), (2.0, 1.97, 2.0), (2.0, 2.02, 2.0), (18.0, 9.0, 9.0)]
)
def test_the_length_is_what_was_delivered(
    stated: float, heard: float, length: float, index: SourceIndex
) -> None:
    report = ReadReport(sound_end_seconds=heard)
    assert measure(replace(index, duration_seconds=stated), report).duration_seconds == length


def test_the_picture_counts_where_it_outlasts_the_sound(index: SourceIndex) -> None:
    measured = measure(replace(index, duration_seconds=9.0), ReadReport(sound_end_seconds=0.5))
    assert measured.duration_seconds == pytest.approx(index.frames.end_seconds)


def test_unheard_sound_says_nothing_of_the_length(index: SourceIndex) -> None:
    assert measure(index, ReadReport()) == Delivered()


def test_pieces_add_up_and_later_decodes_complete_earlier_ones() -> None:
    sound, first, second = Delivered(duration_seconds=9.0), Delivered(5, 1), Delivered(7, 0)
    assert add_up([sound, first, second]) == Delivered(12, 1, 9.0)
    assert add_up([]) == Delivered()
    assert update(None, first) == first
    assert update(first, Delivered(3, 2, 4.0, 16000, 1)) == Delivered(5, 2, 4.0, 16000, 1)


def test_lost_frames_are_counted_apart_from_damaged_ones(index: SourceIndex) -> None:
    measured = measure(index, ReadReport(num_missing=5, num_leading=2, num_damaged=1))
    assert (measured.num_lost, measured.num_damaged) == (5, 4)
