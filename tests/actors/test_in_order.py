"""Frames are put back into order, whatever a decoder makes of damage."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from framemill.actors.in_order import MAX_HELD, InOrder
from framemill.actors.indexing import index_source
from framemill.actors.pyav_reader import ReadReport, ReadRequest, read_shard
from framemill.actors.shortfalls import measure
from tests.actors.kinds import transport_stream
from tests.shared import SHARED


def handed_on(wanted: list[int], arrivals: list[int]) -> tuple[list[int], list[int]]:
    """Indices given while frames come, and after the last."""
    order, frame = InOrder(np.array(wanted, np.int64)), cast(av.VideoFrame, object())
    at_once = [index for arrival in arrivals for index, _ in order.put(arrival, frame)]
    return at_once, [index for index, _ in order.flush()]


def test_frames_in_order_wait_for_nothing() -> None:
    assert handed_on([1, 3, 5], [1, 2, 3, 5]) == ([1, 3, 5], [])


def test_a_late_frame_comes_before_those_after_it() -> None:
    assert handed_on([1, 2, 3, 4], [1, 3, 4, 2]) == ([1, 2, 3, 4], [])


def test_a_frame_that_never_comes_holds_up_a_few_at_most() -> None:
    wanted = list(range(40))
    at_once, rest = handed_on(wanted, wanted[1:])
    assert at_once + rest == wanted[1:] and not rest
    assert handed_on(wanted, wanted[1 : MAX_HELD + 1]) == ([], wanted[1 : MAX_HELD + 1])


def test_one_that_comes_after_others_were_handed_on_without_it_is_left_out() -> None:
    wanted = list(range(40))
    at_once, rest = handed_on(wanted, [*wanted[1 : MAX_HELD + 2], 0])
    assert at_once + rest == wanted[1 : MAX_HELD + 2]


@given(st.lists(st.integers(0, 60)), st.sets(st.integers(0, 60)))
def test_whatever_comes_is_given_once_and_in_order(arrivals: list[int], wanted: set[int]) -> None:
    at_once, rest = handed_on(sorted(wanted), arrivals)
    given_on = at_once + rest
    assert given_on == sorted(set(given_on)) and set(given_on) <= wanted & set(arrivals)
    if len(wanted) <= MAX_HELD:
        assert set(given_on) == wanted & set(arrivals)


CASE = SHARED / "cases/hostile/zeros_in_the_middle.mp4"


@pytest.mark.skipif(not CASE.is_file(), reason="no cases at ../shared/cases")
def test_a_decoder_that_hands_a_damaged_key_picture_out_late() -> None:
    path = str(CASE)
    index = index_source(path)
    everything = np.arange(len(index.frames))
    chunks: list[Any] = []
    for frames, signals in ((everything, everything[:0]), (everything[:0], everything)):
        request = ReadRequest(frames, signals, with_sound=False, threads=1)
        found = np.concatenate([c.frame_index for c in read_shard(path, index, request, ReadReport())])
        assert np.all(np.diff(found) > 0) and 25 in found
        chunks.append(found)
    np.testing.assert_array_equal(*chunks)


def test_a_picture_that_comes_too_late_for_its_time_is_lost_and_no_leading_one(tmp_path: Path) -> None:
    path = transport_stream(tmp_path)
    content = bytearray(path.read_bytes())
    heads = [at for at in range(len(content) - 14) if content[at : at + 4] == b"\0\0\1\xe0"]
    late = next(at for at in heads[25:] if content[at + 7] & 0xC0 == 0xC0)  # it has two times
    content[late + 9 : late + 14] = bytes([0x31, 0, 1, 0, 1])  # it is to be shown at 0
    path.write_bytes(content)
    index = index_source(str(path))
    report, wanted = ReadReport(), np.arange(len(index.frames))
    request = ReadRequest(wanted, wanted[:0], with_sound=False, threads=1)
    given = [int(i) for chunk in read_shard(str(path), index, request, report) for i in chunk.frame_index]
    assert given == wanted[1:].tolist() and index.frames.is_key[1]
    assert report.num_decoded == len(wanted) and (report.num_missing, report.num_leading) == (1, 0)
    delivered = measure(index, report)
    assert (delivered.num_lost, delivered.num_damaged) == (1, 1)
