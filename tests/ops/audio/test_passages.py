from __future__ import annotations

import numpy as np
import pytest

from framemill.ops.audio.passages import Passage, PassageMaker
from framemill.ops.audio.vad import Segment

SECOND = 16_000


def maker(seconds: int = 60, start_sample: int = 0) -> PassageMaker:
    made = PassageMaker(start_sample, 30 * SECOND)
    made.append(np.arange(seconds * SECOND, dtype=np.float32))
    return made


def segment(start: float, end: float) -> Segment:
    first, last = int(start * SECOND), int(end * SECOND)
    return Segment(first, last, 1.0, first + SECOND // 4, last - SECOND // 4)


def test_segments_are_joined_up_to_thirty_seconds() -> None:
    made = maker(100)
    assert made.add(segment(1, 11)) is None
    assert made.add(segment(12, 32)) is None
    first = made.add(segment(36, 36.5))
    assert first is not None and len(first.samples) == 30 * SECOND
    assert first.samples[10 * SECOND] == 12 * SECOND
    second = made.finish()
    assert second is not None and second.samples.tolist() == list(range(36 * SECOND, int(36.5 * SECOND)))
    assert made.finish() is None


def test_a_long_pause_ends_a_passage() -> None:
    """The speech of a segment starts 0.25 s after it and ends 0.25 s before its end."""
    made = maker()
    assert made.add(segment(1, 3)) is None
    assert made.add(segment(7.4, 9)) is None
    first = made.add(segment(13.6, 15))
    assert first is not None and len(first.starts) == 2
    second = made.finish()
    assert second is not None and second.samples[0] == 13.6 * SECOND


def test_dropped_sound_is_gone_and_the_rest_stays_in_place() -> None:
    made = maker(10)
    made.drop_before(4 * SECOND)
    made.append(np.arange(10 * SECOND, 12 * SECOND, dtype=np.float32))
    assert len(made._kept) == 8 * SECOND
    made.add(segment(9, 11))
    passage = made.finish()
    assert passage is not None and passage.samples[0] == 9 * SECOND and passage.samples[-1] == 11 * SECOND - 1


@pytest.fixture
def passage() -> Passage:
    made = maker(start_sample=SECOND // 2)
    made.add(segment(1, 3))
    made.add(segment(7, 11))
    done = made.finish()
    assert done is not None
    return done


@pytest.mark.parametrize(
    ("seconds", "is_end", "index", "source"),
    [
        (0.0, False, 0, 1.7),
        (1.0, False, 0, 2.5),
        (1.9, False, 0, 3.3),
        (2.0, False, 1, 7.7),
        (2.0, True, 0, 3.3),
        (5.0, False, 1, 10.5),
        (6.0, True, 1, 11.3),
        (9.0, True, 1, 11.3),
        (-1.0, False, 0, 1.7),
    ],
)
def test_times_find_their_way_back(
    passage: Passage, seconds: float, is_end: bool, index: int, source: float
) -> None:
    assert passage.segment_at(seconds, is_end) == index
    assert passage.source_seconds(seconds, index) == pytest.approx(source)


@pytest.mark.parametrize(
    ("heard", "lost", "pieces"),
    [
        # Speech is from 1.25 to 2.75 s and from 7.25 to 10.75 s.
        (0.5, 1.25 + 3.5, [(1.5, 3.0), (7.0, 11.0)]),
        (1.5, 3.5, [(7.0, 11.0)]),  # the quarter of a second before is the end of the last word
        (2.1, 3.5, [(7.1, 11.0)]),
        (3.0, 2.75, [(8.0, 11.0)]),
    ],
)
def test_what_follows_a_time_is_a_passage_of_its_own(
    passage: Passage, heard: float, lost: float, pieces: list[tuple[float, float]]
) -> None:
    assert passage.speech_after(heard) == pytest.approx(lost)
    rest = passage.after(heard)
    kept = [np.arange(round(a * SECOND), round(b * SECOND)) for a, b in pieces]
    assert np.array_equal(rest.samples, np.concatenate(kept))
    assert rest.starts[0] == (pieces[0][0] + 0.5) * SECOND and rest.ends[-1] == len(rest.samples)
    # A time of the rest is the same time of the track.
    late = (len(passage.samples) - len(rest.samples)) / SECOND
    for seconds in (0.6, 1.7, 2.9):
        at = rest.source_seconds(seconds, rest.segment_at(seconds))
        whole = passage.source_seconds(seconds + late, passage.segment_at(seconds + late))
        assert at == pytest.approx(whole)


def test_nothing_follows_the_end(passage: Passage) -> None:
    assert passage.speech_after(5.5) == 0
    with pytest.raises(ValueError, match=r"no speech follows 5\.5 s"):
        passage.after(5.5)
