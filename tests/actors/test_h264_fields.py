"""Pictures coded as two fields are counted and read as pictures, however many packets they lie in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from framemill.actors.h264_fields import FieldPairs
from framemill.actors.indexing import index_source
from tests.actors.clips import moving, write_clip
from tests.actors.fields import fields, write_fields
from tests.actors.greys import luma_of, read_whole
from tests.actors.reading import read

COUNT = 30


@pytest.mark.parametrize("one_packet", [False, True])
@pytest.mark.parametrize("ending", ["h264", "ts", "mkv", "mp4"])
def test_two_fields_are_one_picture(ending: str, one_packet: bool, tmp_path: Path) -> None:
    whole = read_whole(write_fields(tmp_path / f"fields.{ending}", COUNT, one_packet))
    assert whole.luma == pytest.approx([luma_of(n) for n in range(COUNT)], abs=0.5)
    assert np.diff(whole.index.frames.pts_seconds) == pytest.approx(0.04, abs=0.0011)
    assert whole.seconds == pytest.approx(COUNT / 25, abs=0.001)
    assert whole.shortfall == "" and whole.index.description.num_frames == COUNT
    assert whole.index.description.num_frames_promised in (None, COUNT)


@pytest.mark.parametrize("wanted", [[0], [5], [11, 12], [7, 19, 29]])
def test_any_pictures_come_with_both_fields(wanted: list[int], tmp_path: Path) -> None:
    path = write_fields(tmp_path / "fields.ts", COUNT)
    index = index_source(str(path))
    heard = read(path, index, (), wanted)
    assert sorted(heard.signals) == wanted and heard.report.num_missing == 0
    for number, (luma, _, _) in heard.signals.items():
        assert np.all(luma == luma_of(number)), "both fields, line by line"


def test_no_decoder_starts_at_a_second_field(tmp_path: Path) -> None:
    index = index_source(str(write_fields(tmp_path / "fields.ts", COUNT)))
    # All are whole in themselves here, but a second field is half a picture.
    assert np.flatnonzero(index.packets.is_key).tolist() == list(range(0, 2 * COUNT, 2))
    assert index.packets.frame.tolist() == np.repeat(np.arange(COUNT), 2).tolist()
    # Devices count packets, which are more than the pictures here: `has_hidden` refuses them.
    assert len(index.packets.frame) != len(index.frames)


def test_a_stream_that_begins_with_a_second_field_goes_on_as_it_should() -> None:
    pairs = FieldPairs(None)
    (first, second), (third, fourth), (fifth, _) = fields(3)
    assert [pairs.is_second(data) for data in (first, third, fourth, fifth)] == [False, False, True, False]
    again = FieldPairs(None)
    assert [again.is_second(data) for data in (second, first, second)] == [False, False, True]


@pytest.mark.parametrize("options", [{}, {"profile": "baseline"}, {"x264-params": "cqm=jvt"}])
def test_progressive_streams_are_not_looked_into(options: dict[str, str], tmp_path: Path) -> None:
    import av

    for ending in ("mp4", "ts"):
        path = write_clip(tmp_path / f"a.{ending}", moving(4), options=options)
        with av.open(str(path)) as container:
            assert not FieldPairs(container.streams.video[0].codec_context.extradata).may_have_fields


@pytest.mark.parametrize(
    "data", [b"", b"\0\0\1", b"\0\0\1\x67", b"\1\x64\0\x1f\xff\xe1\0\4\x67\x64\0\x1f", bytes(90)]
)
def test_damaged_parameters_tell_nothing(data: bytes) -> None:
    pairs = FieldPairs(data)
    assert not pairs.is_second(data) and not pairs.is_second(bytes(50) + b"\0\0\1\x61")
