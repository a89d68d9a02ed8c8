"""Decoders that DALI keeps fit the memory of each chip, whatever files come, as its own cache has them."""

from __future__ import annotations

import io
import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from framemill.actors import dali_rules
from framemill.actors.dali_copies import copy_pieces
from framemill.actors.dali_reader import DaliDecoder
from framemill.actors.device_reader import Source
from framemill.actors.indexing import index_source
from framemill.actors.kept_decoders import MOST_KEPT, KeptDecoders, Kind, held_bytes
from framemill.actors.packet_track import PacketTrack
from framemill.actors.pieces import plan_pieces
from framemill.actors.safe_open import open_media
from framemill.models.memory_plan import decoder_bytes, plan_memory, plan_readers
from tests.actors.clips import write_clip
from tests.actors.device_stand_in import StandIn
from tests.actors.test_dali_reader import assert_alike, both, smooth
from tests.models.test_memory_plan import CHIPS

SIZES = [
    (426, 240),
    (640, 360),
    (854, 480),
    (1280, 720),
    (1920, 1080),
    (1080, 1920),
    (2560, 1440),
    (3840, 2160),
]


@dataclass
class Cache:
    """DALI's: looks for the coded size, remembers the shown one, and has no more than a hundred."""

    kept: list[tuple[str, int, int]]

    def decode(self, codec: str, shown: tuple[int, int], coded: tuple[int, int], at_once: int) -> None:
        free = [one for one in self.kept if one == (codec, *coded)]
        self.kept += [(codec, *shown)] * max(0, at_once - len(free))
        del self.kept[: max(0, len(self.kept) - MOST_KEPT)]

    @property
    def num_bytes(self) -> int:
        return sum(decoder_bytes(width, height) for _, width, height in self.kept)


def source_of(codec: str, size: tuple[int, int]) -> Any:
    """As much of a file as tells which decoder it needs."""
    context = SimpleNamespace(codec=SimpleNamespace(canonical_name=codec), width=size[0], height=size[1])
    return SimpleNamespace(stream=SimpleNamespace(codec_context=context))


def in_blocks(size: tuple[int, int]) -> tuple[int, int]:
    width, height = ((side + 15) // 16 * 16 for side in size)
    return width, height


@pytest.mark.parametrize("is_reused", [True, False], ids=["widened", "as they are"])
@pytest.mark.parametrize("chip", CHIPS)
def test_whatever_comes_they_fit(chip: str, is_reused: bool) -> None:
    gigabytes, units = CHIPS[chip]
    plan = plan_readers(units, plan_memory(gigabytes << 30).decoder, 16)
    decoder = DaliDecoder("gpu", plan.frame_bytes, plan.calls, 1 << 20, plan.sessions, plan.kept_bytes)
    cache, taken, rng = Cache([]), Counter[tuple[int, int]](), random.Random(3)
    for _ in range(400):
        size, num_pieces = rng.choice(SIZES), rng.randint(1, 6)
        coded = in_blocks(size)
        if decoder.refusal(source_of("h264" if is_reused else "mpeg4", size), num_pieces):
            continue
        taken[size] += 1
        # All readers at work on such files at once is the worst; and a piece is decoded again for the check.
        at_once = plan.calls * decoder._at_once(*size) if is_reused or coded == size else 1
        for _ in range(num_pieces + 1):
            cache.decode("h264", coded if is_reused else size, coded, at_once)
        assert cache.num_bytes <= plan.kept_bytes
    if is_reused:
        # What came last may be left to the host, at most one of these on the largest chips.
        assert len(taken) >= (len(SIZES) - 1 if gigabytes >= 80 else 3), taken
        assert len(cache.kept) <= len(SIZES) * plan.calls * plan.sessions


def test_files_of_one_size_need_no_more_than_are_at_work() -> None:
    budget = 4 * decoder_bytes(1920, 1080)
    kept = KeptDecoders(budget)
    full_hd = Kind("h264", 1920, 1080)
    assert not any(kept.refusal(full_hd, 4, True) for _ in range(1000))
    refused = kept.refusal(Kind("hevc", 640, 360), 1, True)
    assert refused.startswith("another decoder of 640 x 360 does not fit") and str(budget) in refused
    assert not kept.refusal(full_hd, 4, True), "what is there is used on"


def test_no_more_than_a_hundred_of_the_largest_count() -> None:
    small, large = Kind("vp9", 640, 360), Kind("vp9", 1920, 1080)
    held = held_bytes(Counter({small: 500, large: 60}))
    assert held == 60 * decoder_bytes(1920, 1080) + 40 * decoder_bytes(640, 360)


def test_a_file_beyond_them_is_read_by_pyav(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dali_rules, "GPU_LEAST_PIXELS", 0)
    dali = DaliDecoder("gpu", kept_bytes=4 * decoder_bytes(200, 138))

    class Full(StandIn):
        def refusal(self, source: Source, num_pieces: int) -> str:
            return dali.refusal(source, num_pieces)

    path = write_clip(tmp_path / "clip.mp4", smooth(20, 200, 138), options={"g": "5"})
    expected, got, report = both(path, range(20), Full())
    assert report.decoder == "stand-in on the gpu"
    path = write_clip(tmp_path / "other.mp4", smooth(20, 320, 240), options={"g": "5"})
    expected, got, report = both(path, range(20), Full())
    assert report.decoder.startswith("pyav: another decoder of 320 x 240 does not fit")
    assert_alike(expected, got)


def test_on_the_host_none_are_kept(tmp_path: Path) -> None:
    path = str(write_clip(tmp_path / "clip.mp4", smooth(2)))
    with open_media(path) as container:
        source = Source(path, index_source(path), container, container.streams.video[0])
        assert DaliDecoder("cpu").refusal(source, 1000) == ""


def test_larger_pictures_are_decoded_by_fewer_at_once() -> None:
    decoder = DaliDecoder("gpu", kept_bytes=1 << 30, sessions=4)
    assert [decoder._at_once(*size) for size in SIZES[-4:]] == [4, 4, 2, 1]
    assert decoder._at_once(640, 360) == 4


@pytest.mark.parametrize("ending", ["mp4", "ts"])
@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_pictures_that_show_what_is_coded_are_cut_to_what_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codec: str, ending: str
) -> None:
    monkeypatch.setattr(dali_rules, "GPU_LEAST_PIXELS", 0)
    options = {"g": "6", "bf": "2", "crf": "8", "x265-params": "keyint=6:log-level=error"}
    if codec == "libx264":
        del options["x265-params"]
    path = write_clip(tmp_path / f"clip.{ending}", smooth(24, 200, 146), codec=codec, options=options)
    decoder = StandIn(widens=True)
    expected, got, report = both(path, range(24), decoder)
    assert report.decoder == "stand-in on the gpu" and list(got) == list(range(24))
    assert decoder.sizes == {(208, 160) if codec == "libx264" else (200, 152)}
    assert_alike(expected, got)
    plain = both(path, range(24), StandIn())[1]
    for frame in range(24):
        # Colours of the last rows and columns are drawn with what is coded beyond them.
        assert np.abs(got[frame]["luma"].astype(int) - plain[frame]["luma"]).max() <= 2


@pytest.mark.parametrize("ending", ["mp4", "ts"])
def test_the_parameters_of_copies_themselves_show_all(tmp_path: Path, ending: str) -> None:
    """FFmpeg's decoder takes the size of the header where it can, and DALI's that of the parameters."""
    options = {"g": "6", "bf": "2", "crf": "8"}
    path = write_clip(tmp_path / f"clip.{ending}", smooth(12, 200, 146), options=options)
    index = index_source(str(path))
    pieces = plan_pieces(index.packets, index.frames, np.arange(12), 6)
    for widens, size in ((False, (200, 146)), (True, (208, 160))):
        with open_media(str(path)) as container:
            stream = container.streams.video[0]
            track = PacketTrack(container, stream, index, np.ones(len(index.packets.pts), bool))
            for copy in copy_pieces(track, stream, index.packets, pieces, widens):
                with av.open(io.BytesIO(bare(copy.content)), format="h264") as made:
                    assert {(frame.width, frame.height) for frame in made.decode(video=0)} == {size}


def bare(content: bytes) -> bytes:
    """The packets of a file one after the other, without a header."""
    out = io.BytesIO()
    with av.open(io.BytesIO(content)) as source, av.open(out, "w", format="h264") as target:
        track = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = track
                target.mux(packet)
    return out.getvalue()
