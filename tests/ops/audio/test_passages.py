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
    first = made.add(segment(40, 40.5))
    assert first is not None and len(first.samples) == 30 * SECOND
    assert first.samples[10 * SECOND] == 12 * SECOND
    second = made.finish()
    assert second is not None and second.samples.tolist() == list(range(40 * SECOND, int(40.5 * SECOND)))
    assert made.finish() is None


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
    made.add(segment(10, 14))
    done = made.finish()
    assert done is not None
    return done


@pytest.mark.parametrize(
    ("seconds", "is_end", "index", "source"),
    [
        (0.0, False, 0, 1.7),
        (1.0, False, 0, 2.5),
        (1.9, False, 0, 3.3),
        (2.0, False, 1, 10.7),
        (2.0, True, 0, 3.3),
        (5.0, False, 1, 13.5),
        (6.0, True, 1, 14.3),
        (9.0, True, 1, 14.3),
        (-1.0, False, 0, 1.7),
    ],
)
def test_times_find_their_way_back(
    passage: Passage, seconds: float, is_end: bool, index: int, source: float
) -> None:
    assert passage.segment_at(seconds, is_end) == index
    assert passage.source_seconds(seconds, index) == pytest.approx(source)
