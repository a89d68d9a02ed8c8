"""Range and matrix where container and bitstream say different things: FFmpeg's word counts on every path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from framemill.actors import dali_rules
from framemill.actors.coded_range import is_full_range_coded
from framemill.actors.colour_matrices import rgb_from_samples
from framemill.actors.indexing import index_source
from tests.actors.clips import write_clip
from tests.actors.device_stand_in import StandIn
from tests.actors.test_dali_reader import assert_alike, both

STUDIO, FULL = 1, 2
BT709, SMPTE170M, UNTAGGED = 1, 6, 2
Tags = tuple[int, int]
NOTHING: Tags = (0, UNTAGGED)
RULE = "only the container says that samples use the full range, and the device does not look there"
# Luma and colours whose RGB differs clearly by range and matrix.
SAMPLES = (150, 90, 170)


@pytest.fixture(autouse=True)
def any_amount_of_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dali_rules, "GPU_LEAST_PIXELS", 0)


def plain(count: int, samples: tuple[int, int, int]) -> list[av.VideoFrame]:
    luma, *colours = samples
    values = np.repeat(np.array([luma, *colours], np.uint8), (144 * 192, 72 * 96, 72 * 96)).reshape(216, 192)
    return [av.VideoFrame.from_ndarray(values, format="yuv420p") for _ in range(count)]


def tagged(
    path: Path, codec: str, bitstream: Tags, container: Tags, samples: tuple[int, int, int] = SAMPLES
) -> Path:
    """A clip whose bitstream has some tags, as (range, matrix), and whose container others."""
    options = {"libx265": {"preset": "ultrafast", "x265-params": "log-level=none"}}.get(codec, {"g": "6"})
    source = path.with_name("untagged.nut" if codec != "libx264" else "untagged.h264")
    frames = plain(12, samples)
    for frame in frames:
        frame.color_range, frame.colorspace = bitstream
    write_clip(source, frames, codec=codec, options=options, **tags(bitstream))
    muxing = {"movflags": "write_colr"} if path.suffix == ".mp4" else {}
    with av.open(str(source)) as given, av.open(str(path), "w", options=muxing) as made:
        track = made.add_stream_from_template(given.streams.video[0])
        for name, value in tags(container).items():
            setattr(track.codec_context, name, value)
        packets = [packet for packet in given.demux(video=0) if packet.size]
        for number, packet in enumerate(packets):
            packet.stream = track
            packet.pts = packet.dts = round(number / 25 / packet.time_base)
            made.mux(packet)
    return path


def tags(pair: Tags) -> dict[str, int]:
    names = ("color_range", "colorspace", "color_primaries", "color_trc")
    return dict(zip(names, (pair[0], *[pair[1]] * 3), strict=True))


# Who says what, and what counts: of each attribute the bitstream's word, else the container's.
CASES = [
    ("libx264", NOTHING, NOTHING, (False, "bt601"), True),
    ("libx264", NOTHING, (FULL, BT709), (True, "bt709"), False),
    ("libx264", NOTHING, (STUDIO, BT709), (False, "bt709"), True),
    ("libx264", (FULL, BT709), (STUDIO, SMPTE170M), (True, "bt709"), True),
    ("libx264", (FULL, UNTAGGED), (STUDIO, BT709), (True, "bt709"), True),
    ("libx264", (STUDIO, SMPTE170M), (FULL, BT709), (False, "bt601"), True),
    ("mpeg4", NOTHING, (FULL, BT709), (True, "bt709"), False),
    # These decoders never look at the container for what the bitstream has a place for.
    ("libx265", NOTHING, (FULL, BT709), (False, "bt601"), True),
    ("libvpx-vp9", NOTHING, (FULL, BT709), (False, "bt601"), True),
]


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
@pytest.mark.parametrize(("codec", "bitstream", "container", "counts", "is_taken"), CASES)
def test_both_paths_take_range_and_matrix_as_ffmpeg_does(
    tmp_path: Path, codec: str, bitstream: Tags, container: Tags, counts: Any, is_taken: bool, ending: str
) -> None:  # fmt: skip
    is_full, matrix = counts
    path = tagged(tmp_path / f"a.{ending}", codec, bitstream, container)
    index = index_source(str(path))
    assert bool(index.description.is_full_range) == is_full and index.matrix == matrix
    # Such a decoder reads the range from the bitstream.
    decoder = StandIn(full_range=bitstream[0] == FULL)
    expected, got, report = both(path, range(12), decoder)
    if is_taken:
        assert report.decoder == "stand-in on the gpu"
    else:
        assert report.decoder == f"pyav: {RULE}" and decoder.num_packets == 0
    assert_alike(expected, got)
    to_rgb = rgb_from_samples(matrix, 8, is_full)
    right = to_rgb[:, :3] @ SAMPLES + to_rgb[:, 3]
    for found in (expected, got):
        assert np.abs(found[6]["rgb"].mean(axis=(0, 1)) - right).max() < 2


def test_a_picture_about_whose_range_nobody_could_tell_by_looking_is_not_for_a_device(tmp_path: Path) -> None:
    """Full and studio range meet at 113: near it pictures of both are alike, and other frames are not."""
    path = tagged(tmp_path / "a.mp4", "libx264", NOTHING, (FULL, BT709), (113, 128, 128))
    assert both(path, range(12), StandIn())[2].decoder == f"pyav: {RULE}"


def test_the_range_of_pictures_is_known_without_the_container(tmp_path: Path) -> None:
    for number, (bitstream, is_full) in enumerate(((NOTHING, False), ((FULL, UNTAGGED), True))):
        path = tagged(tmp_path / f"{number}.mp4", "libx264", bitstream, (FULL, BT709))
        assert is_full_range_coded(str(path), index_source(str(path))) == is_full


@pytest.mark.parametrize(
    ("tag", "name"), [(BT709, "itu709"), (5, "itu601"), (SMPTE170M, "smpte170m"), (7, "smpte240m"), (2, None)]
)
def test_media_names_the_matrix_of_the_first_picture(tmp_path: Path, tag: int, name: str | None) -> None:
    path = tagged(tmp_path / "a.mkv", "libx264", (STUDIO, tag), NOTHING)
    assert index_source(str(path)).description.color_space == name
