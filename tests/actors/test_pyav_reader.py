"""Whatever shortcut the reader takes, frames and signals are those of a straight decode."""

from __future__ import annotations

import gc
import itertools
import os
from pathlib import Path

import av
import numpy as np
import pytest

from framemill.actors.indexing import SourceIndex, index_and_keep, index_source
from framemill.actors.plan import Sampling, sample_frames
from framemill.actors.pyav_reader import (
    FRAMES_BYTES,
    MAX_FRAMES,
    MAX_SIGNALS,
    ReadReport,
    ReadRequest,
    read_shard,
)
from framemill.actors.shards import cut_shards
from framemill.ops.chunks import Audio, Frames, Signals
from tests.actors.clips import decode_all, moving, remux, sine, write_clip
from tests.actors.kinds import KINDS
from tests.actors.reading import NONE, NUM_THINNED, digest, read, straight, thinned
from tests.actors.real import long_ones_apart, real_files

HAS_PICTURE = [
    name for name in real_files("video", "gif") if not str(name).endswith((".mp3", ".flac", "eac3.mp4"))
]


def subsets(index: SourceIndex) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(len(index.frames))
    count = len(index.frames)
    return {
        "keys": sample_frames(index.frames, Sampling("keyframes")),
        "every": sample_frames(index.frames, Sampling("every", 0.3)),
        "few": np.flatnonzero(rng.random(count) < 0.04),
        "many": np.flatnonzero(rng.random(count) < 0.4),
        "all": np.arange(count),
    }


def check(
    path: Path, index: SourceIndex, expected: list[tuple[int, ...]], frames: np.ndarray, **how: object
) -> None:
    heard = read(path, index, frames=frames, **how)  # type: ignore[arg-type]
    assert heard.order == frames.tolist(), "in time order, each once"
    wrong = [i for i in heard.order if heard.digests[i] != expected[i]]
    assert not wrong
    assert heard.report.num_missing == 0 and heard.report.num_errors == 0 and not heard.report.cut_off
    assert all(heard.seconds[i] == index.frames.pts_seconds[i] for i in heard.order)


@pytest.mark.parametrize("kind", KINDS)
def test_rendered_kinds_by_every_way(tmp_path: Path, kind: str) -> None:
    path = KINDS[kind](tmp_path)
    index = index_source(str(path))
    expected = [digest(f) for f in decode_all(path, index.video_stream)]
    assert len(set(expected)) > len(expected) // 2, "pictures that can be told apart"
    for frames in subsets(index).values():
        for with_sound in (False, True):
            for threads in (1, 2):
                check(path, index, expected, frames, with_sound=with_sound, threads=threads)


@pytest.mark.parametrize("kind", KINDS)
def test_rendered_signals_are_thinned_planes(tmp_path: Path, kind: str) -> None:
    path = KINDS[kind](tmp_path)
    index = index_source(str(path))
    expected = [thinned(f) for f in decode_all(path, index.video_stream)]
    for wanted in (np.arange(len(expected)), subsets(index)["few"]):
        heard = read(path, index, signals=wanted)
        assert sorted(heard.signals) == wanted.tolist()
        for i, planes in heard.signals.items():
            for plane, other in zip(planes, expected[i], strict=True):
                assert np.array_equal(plane, other)


@pytest.mark.media
@pytest.mark.parametrize("name", long_ones_apart(HAS_PICTURE))
def test_real_files_by_every_policy(media_dir: Path, name: str) -> None:
    path = media_dir / name
    index = index_source(str(path))
    whole = straight(path)
    picks = subsets(index)
    check(path, index, whole.digests, picks["keys"])
    check(path, index, whole.digests, picks["every"], threads=2)
    check(path, index, whole.digests, picks["few"], with_sound=True)
    wanted = np.arange(min(NUM_THINNED, len(index.frames)))
    heard = read(path, index, signals=wanted)
    assert sorted(heard.signals) == wanted.tolist()
    for i, planes in whole.thinned.items():
        assert all(np.array_equal(a, b) for a, b in zip(heard.signals[i], planes, strict=True))


@pytest.mark.parametrize(
    "size", [(256, 144), (257, 144), (1280, 720), (1922, 8), (6, 600), (16, 2), (4098, 34)]
)
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p", "yuv422p10le", "gray", "gray10le"])
def test_signals_of_any_geometry(tmp_path: Path, size: tuple[int, int], pixel_format: str) -> None:
    path = write_clip(tmp_path / "g.mkv", moving(2, *size), codec="ffv1", pixel_format=pixel_format)
    index = index_source(str(path))
    heard = read(path, index, signals=[0, 1])
    for i, frame in enumerate(decode_all(path, 0)):
        for plane, other in zip(heard.signals[i], thinned(frame), strict=True):
            assert np.array_equal(plane, other)
            assert max(plane.shape) <= 256


def test_signals_keep_their_size_when_the_stream_changes_its_own(tmp_path: Path) -> None:
    first = write_clip(tmp_path / "a.ts", moving(80, 96, 64), codec="mpeg2video")
    second = write_clip(
        tmp_path / "b.ts",
        moving(80, 352, 288),
        codec="mpeg2video",
        times=list(range(80, 160)),
    )
    path = tmp_path / "both.ts"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    index = index_source(str(path))
    heard = read(path, index, signals=np.arange(len(index.frames)))
    assert len(heard.signals) > 150
    assert {tuple(p.shape for p in planes) for planes in heard.signals.values()} == {
        ((64, 96), (32, 48), (32, 48))
    }
    frames = read_shard(
        str(path), index, ReadRequest(np.arange(len(index.frames)), NONE, False, 1), ReadReport()
    )
    assert {c.rgb().shape[1:3] for c in frames if isinstance(c, Frames)} == {(64, 96)}


@pytest.mark.parametrize("kind", ["open_gops", "open_gops_hevc", "long_gops", "transport_stream", "raw_h264"])
def test_shards_together_give_the_whole(tmp_path: Path, kind: str) -> None:
    path = KINDS[kind](tmp_path)
    index = index_source(str(path))
    expected = [digest(f) for f in decode_all(path, index.video_stream)]
    shards = cut_shards(index.frames, False, index.duration_seconds, 0.7)
    assert len(shards) >= 2
    together: list[int] = []
    for shard in shards:
        frames = np.arange(shard.start_frame, shard.end_frame)
        check(path, index, expected, frames)
        together += frames.tolist()
    assert together == list(range(len(expected)))


def test_distant_key_frames_are_reached_by_seeking(tmp_path: Path) -> None:
    path = KINDS["long_gops"](tmp_path)
    index = index_source(str(path))
    heard = read(path, index, frames=sample_frames(index.frames, Sampling("keyframes")))
    assert heard.order == [0, 100, 200, 300]
    assert heard.report.num_decoded == 4, "nothing else was decoded"


def test_every_decodes_less_than_everything(tmp_path: Path) -> None:
    path = KINDS["b_frames"](tmp_path)
    index = index_source(str(path))
    whole = read(path, index, frames=np.arange(50)).report.num_decoded
    few = read(path, index, frames=[13, 37]).report.num_decoded
    assert whole == 50 and few < 10


def test_a_container_that_seeks_elsewhere_is_read_from_its_start(tmp_path: Path) -> None:
    path = KINDS["long_gops"](tmp_path)
    index = index_source(str(path))
    wrong = KINDS["matroska_without_cues"](tmp_path)
    other = index_source(str(wrong))
    expected = [digest(f) for f in decode_all(path, 0)]
    check(wrong, other, expected, np.array([0, 100, 300, 399]))
    # An index whose times the file does not have: no key frame is where it should be.
    shifted = index_source(str(path))
    shifted.packets.pts[:] = index.packets.pts + 1
    heard = read(path, shifted, frames=[300])
    assert heard.digests == {300: expected[300]}
    assert heard.report.num_decoded == 1, "read over, not decoded"


def test_chunks_are_bounded_and_ordered(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "n.mp4", moving(200), tone=sine(8, 48000))
    index = index_source(str(path))
    request = ReadRequest(np.arange(0, 200, 2), np.arange(200), True, 1)
    chunks = list(read_shard(str(path), index, request, ReadReport()))
    for kind, longest in ((Frames, MAX_FRAMES), (Signals, MAX_SIGNALS)):
        mine = [c.frame_index for c in chunks if isinstance(c, kind)]
        assert max(map(len, mine)) <= longest and len(mine) > 1
        assert (np.diff(np.concatenate(mine)) > 0).all()
    sound = [c for c in chunks if isinstance(c, Audio)]
    assert all(b.start_sample == a.start_sample + len(a.samples) for a, b in itertools.pairwise(sound))
    positions = [i for i, c in enumerate(chunks) if isinstance(c, Audio)]
    assert positions[0] < len(chunks) - len(sound), "sound comes with the picture, not after it"


def test_a_large_picture_fills_a_batch_by_bytes(tmp_path: Path) -> None:
    path = write_clip(
        tmp_path / "large.mkv",
        [np.full((2160, 3840, 3), n * 20, np.uint8) for n in range(6)],
        options={"preset": "ultrafast"},
    )
    index = index_source(str(path))
    chunks = list(read_shard(str(path), index, ReadRequest(np.arange(6), NONE, False, 1), ReadReport()))
    sizes = [len(c) for c in chunks if isinstance(c, Frames)]
    picture_bytes = 3840 * 2160 * 3 // 2
    assert sum(sizes) == 6 and max(sizes) == -(-FRAMES_BYTES // picture_bytes)


def test_stopping_early_closes_the_file(tmp_path: Path) -> None:
    path = KINDS["long_gops"](tmp_path)
    index = index_source(str(path))
    before = len(os.listdir("/proc/self/fd"))
    chunks = read_shard(str(path), index, ReadRequest(NONE, np.arange(400), False, 1), ReadReport())
    next(chunks)
    assert len(os.listdir("/proc/self/fd")) == before + 1
    chunks.close()  # type: ignore[attr-defined]
    assert len(os.listdir("/proc/self/fd")) == before
    report = ReadReport()
    abandoned = read_shard(str(path), index, ReadRequest(np.arange(400), NONE, False, 2), report)
    next(abandoned)
    del abandoned
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before and report.num_decoded < 400


@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "mpeg2video", "libvpx-vp9", "libx265"])
@pytest.mark.parametrize("threads", [1, 2])
def test_flipped_bytes_never_raise(tmp_path: Path, codec: str, threads: int) -> None:
    options = {"g": "10", "cpu-used": "8", "deadline": "realtime"} if "vp9" in codec else {"g": "10"}
    if codec == "libx265":
        options = {"x265-params": "keyint=10:log-level=none"}
    path = write_clip(tmp_path / "f.mkv", moving(60, 160, 96), codec=codec, options=options)
    index = index_source(str(path))
    with av.open(str(path)) as container:
        spans = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(7)
    for position, size in spans[5:50:4]:
        assert position is not None
        inside = slice(position + 16, position + max(17, size - 2))
        data[inside] = rng.bytes(len(data[inside]))
    path.write_bytes(data)
    for request in (np.arange(60), np.arange(0, 60, 7)):
        heard = read(path, index, frames=request, signals=request, threads=threads)
        assert heard.report.num_missing == len(request) - len(heard.order)
        assert heard.order == sorted(heard.order) and len(heard.order) > 0
        undamaged = range(51, 60)
        assert set(request.tolist()) & set(undamaged) <= set(heard.order) or codec != "mpeg4"
    again = index_source(str(path))
    assert len(again.frames) > 0


def test_undecodable_packets_are_counted(tmp_path: Path) -> None:
    path = KINDS["matroska"](tmp_path)
    index = index_source(str(path))
    with av.open(str(path)) as container:
        spans = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    data = bytearray(path.read_bytes())
    for position, size in spans[20:30]:
        assert position is not None
        data[position + 12 : position + size] = b"\xff" * (size - 12)
    path.write_bytes(data)
    report = read(path, index, frames=np.arange(50)).report
    assert 0 < report.num_errors <= 10
    assert 0 < report.num_missing < 50 and not report.cut_off


def test_a_file_cut_off_gives_what_it_has(tmp_path: Path) -> None:
    whole = remux(KINDS["b_frames"](tmp_path), tmp_path / "whole.mp4", {"movflags": "+faststart"})
    before = index_source(str(whole))
    os.truncate(whole, whole.stat().st_size // 2)
    heard = read(whole, before, frames=np.arange(50), with_sound=True)
    assert 5 < len(heard.order) < 50
    assert heard.report.num_missing == 50 - len(heard.order)
    assert 0 < heard.report.sound_seconds < 1.9


def test_sound_alone_reads_no_picture(tmp_path: Path) -> None:
    path = KINDS["b_frames"](tmp_path)
    heard = read(path, index_source(str(path)), with_sound=True)
    assert heard.report.num_decoded == 0 and heard.report.sound_seconds == pytest.approx(2, abs=0.05)
    nothing = read(path, index_source(str(path)))
    assert nothing.report == ReadReport() and not nothing.sound


def test_without_the_usual_hint_frames_are_reordered_all_the_same(tmp_path: Path) -> None:
    """H.264 from encoders that do not tell how far they reorder (no bitstream restriction in the VUI)."""
    source = write_clip(
        tmp_path / "o.mp4", moving(60), options={"x264-params": "bframes=3:keyint=20:b-pyramid=normal"}
    )
    data = bytearray(source.read_bytes())
    index = index_source(str(source))
    expected = [digest(f) for f in decode_all(source, 0)]
    at = data.index(b"avcC")
    length = int.from_bytes(data[at + 10 : at + 12], "big")
    sps = data[at + 12 : at + 12 + length]
    plain = without_usability_information(bytes(sps))
    assert len(plain) <= length
    data[at + 12 : at + 12 + length] = plain + bytes(length - len(plain))
    source.write_bytes(data)
    with av.open(str(source)) as container:
        assert container.streams.video[0].codec_context.has_b_frames
    index = index_source(str(source))
    for frames in subsets(index).values():
        check(source, index, expected, frames)


def without_usability_information(sps: bytes) -> bytes:
    """A sequence header (ITU-T H.264 7.3.2.1.1) of the profiles above baseline that ends before its VUI."""
    raw = sps.replace(b"\0\0\3", b"\0\0")
    bits = "".join(f"{byte:08b}" for byte in raw)
    at = 32

    def golomb() -> int:
        nonlocal at
        zeros = bits.index("1", at) - at
        value = int(bits[at + zeros : at + 2 * zeros + 1], 2) - 1
        at += 2 * zeros + 1
        return value

    golomb()
    if raw[1] >= 100:
        assert golomb() == 1, "4:2:0"
        golomb(), golomb()
        at += 2
        assert bits[at - 1] == "0", "no scaling matrix"
    golomb()
    assert golomb() == 0, "picture order count of type 0"
    golomb(), golomb()
    at += 1
    golomb(), golomb()
    assert bits[at] == "1", "frames only"
    at += 2
    at += 1
    if bits[at - 1] == "1":
        for _ in range(4):
            golomb()
    text = bits[:at] + "0" + "1"
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_left_open_by_the_index_reads_as_one_opened_anew(tmp_path: Path, kind: str) -> None:
    path = KINDS[kind](tmp_path)
    for frames in subsets(index_source(str(path))).values():
        index, container = index_and_keep(str(path))
        if container is None:
            assert path.suffix not in (".mp4", ".mkv"), "kept where seeking is exact"
            return
        fresh = read(path, index, frames=frames, signals=frames)
        again = read(path, index, frames=frames, signals=frames, container=container)
        assert (again.order, again.digests) == (fresh.order, fresh.digests)
        assert again.report == fresh.report
        pairs = zip(again.sound, fresh.sound, strict=True)
        assert all(
            np.array_equal(a.samples, b.samples) and a.start_sample == b.start_sample for a, b in pairs
        )
