"""Sound of any kind becomes mono at 16 kHz of the right length, at the right time."""

from __future__ import annotations

import itertools
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest

from framemill.actors.indexing import index_source
from framemill.actors.pyav_reader import ReadReport, ReadRequest, read_shard
from framemill.actors.sound import CHUNK_SECONDS, MAX_CHUNK_NUMBERS
from framemill.ops.chunks import Audio, NativeAudio
from tests.actors.clips import remux, sine, sound_frames, write_sound
from tests.actors.reading import read
from tests.actors.real import real_files

Samples = npt.NDArray[np.float32]

SAMPLE_RATE = 16_000
CHUNK_SAMPLES = CHUNK_SECONDS * SAMPLE_RATE


def listen(path: Path) -> list[Audio]:
    heard = read(path, index_source(str(path)), with_sound=True)
    for before, after in itertools.pairwise(heard.sound):
        assert after.start_sample == before.start_sample + len(before.samples)
    for chunk in heard.sound:
        assert (
            chunk.samples.dtype == np.float32 and chunk.samples.ndim == 1 and chunk.sample_rate == SAMPLE_RATE
        )
        assert len(chunk.samples) < 2 * CHUNK_SAMPLES
    assert heard.report.sound_seconds == pytest.approx(sum(len(c.samples) for c in heard.sound) / SAMPLE_RATE)
    return heard.sound


def joined(chunks: list[Audio]) -> Samples:
    return np.concatenate([c.samples for c in chunks])


def pitch(samples: Samples) -> float:
    """Hertz of the strongest tone."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(spectrum.argmax() * SAMPLE_RATE / len(samples))


@pytest.mark.parametrize(
    ("rate", "layout", "codec", "sample_format", "suffix"),
    [
        (8000, "mono", "pcm_u8", "u8", "wav"),
        (8000, "mono", "pcm_s16le", "s16", "wav"),
        (11025, "stereo", "pcm_s16le", "s16", "wav"),
        (16000, "mono", "pcm_s16le", "s16", "wav"),
        (44100, "stereo", "pcm_s16le", "s16", "wav"),
        (44100, "stereo", "pcm_s24le", "s32", "wav"),
        (48000, "5.1", "pcm_s16le", "s16", "wav"),
        (48000, "7.1", "pcm_f32le", "flt", "wav"),
        (96000, "mono", "pcm_f32le", "flt", "wav"),
        (192000, "stereo", "pcm_s24le", "s32", "wav"),
        (40000, "mono", "pcm_s16le", "s16", "wav"),
        (48000, "16 channels", "pcm_s16le", "s16", "wav"),
        (44100, "hexadecagonal", "pcm_f32le", "flt", "mkv"),
        (32000, "quad", "pcm_s16le", "s16", "mkv"),
        (48000, "5.1(side)", "flac", "s16", "flac"),
        (48000, "stereo", "flac", "s16", "flac"),
        (22050, "mono", "pcm_s16be", "s16", "mov"),
    ],
)
def test_length_and_pitch(
    tmp_path: Path, rate: int, layout: str, codec: str, sample_format: str, suffix: str
) -> None:
    path = tmp_path / f"tone.{suffix}"
    write_sound(path, sine(2.37, rate), rate, codec=codec, sample_format=sample_format, layout=layout)
    samples = joined(listen(path))
    assert abs(len(samples) - 2.37 * SAMPLE_RATE) <= 1
    assert pitch(samples) == pytest.approx(440, abs=1)
    middle = samples[4000:-4000]
    assert np.abs(middle).max() == pytest.approx(0.5, abs=0.02), "all channels alike sound as each"


@pytest.mark.parametrize(
    ("codec", "kind", "suffix"),
    [("aac", "fltp", "m4a"), ("libmp3lame", "fltp", "mp3"), ("libopus", "flt", "ogg")],
)
def test_lossy_codecs_keep_length_within_a_frame(tmp_path: Path, codec: str, kind: str, suffix: str) -> None:
    path = write_sound(tmp_path / f"t.{suffix}", sine(3, 48000), 48000, codec=codec, sample_format=kind)
    samples = joined(listen(path))
    assert abs(len(samples) / SAMPLE_RATE - 3) < 0.06 and pitch(samples) == pytest.approx(440, abs=1)


def test_both_channels_are_heard(tmp_path: Path) -> None:
    channels = np.stack([sine(1, 44100, 440), sine(1, 44100, 1000)])
    samples = joined(listen(write_sound(tmp_path / "s.wav", channels, 44100, layout="stereo")))
    spectrum = np.abs(np.fft.rfft(samples))
    assert spectrum[440] == pytest.approx(spectrum[1000], rel=0.05)
    assert np.abs(samples).max() < 0.55, "a mean, not a sum"
    opposite = np.stack([sine(1, 44100), -sine(1, 44100)])
    samples = joined(listen(write_sound(tmp_path / "o.wav", opposite, 44100, layout="stereo")))
    assert np.abs(samples).max() == pytest.approx(0.5, abs=0.01), (
        "their mean is silent, so one stands for both"
    )


@pytest.mark.parametrize("layout", ["5.1", "7.1"])
def test_each_channel_has_its_part_in_the_mix(tmp_path: Path, layout: str) -> None:
    """Front pair equal, centre louder, surrounds quieter, the low frequency one left out; full stays full."""
    names = [channel.name for channel in av.AudioLayout(layout).channels]
    tones = np.stack([sine(1, 48000, 300 + 200 * k) for k in range(len(names))])
    path = write_sound(
        tmp_path / "m.wav", tones, 48000, layout=layout, codec="pcm_f32le", sample_format="flt"
    )
    spectrum = np.abs(np.fft.rfft(joined(listen(path)))) / (SAMPLE_RATE / 4)
    part = {name: spectrum[300 + 200 * k] for k, name in enumerate(names)}
    assert part["FL"] == pytest.approx(part["FR"], rel=0.02)
    # ITU-R BS.775: the centre goes into both front channels at -3 dB, surrounds into their own side.
    assert part["FC"] == pytest.approx(2**0.5 * part["FL"], rel=0.03)
    assert part["BL"] == pytest.approx(part["FL"] / 2**0.5, rel=0.03)
    assert part["LFE"] < 0.01 and sum(part.values()) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("rate", [8000, 40000])
def test_ten_milliseconds_and_numbers_that_are_none(tmp_path: Path, rate: int) -> None:
    path = write_sound(tmp_path / "t.wav", sine(0.01, rate), rate)
    assert abs(len(joined(listen(path))) - 160) <= 1
    broken = sine(1, rate)
    broken[rate // 2 :] = np.nan
    path = write_sound(tmp_path / "n.wav", broken, rate, codec="pcm_f32le", sample_format="flt")
    samples = joined(listen(path))
    assert abs(len(samples) - SAMPLE_RATE) <= 1
    assert pitch(samples[:7000]) == pytest.approx(440, abs=3), "what is sound stays sound"


def test_channels_without_a_place_are_mixed_too(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "many.wav", sine(1, 48000), 48000, layout="12 channels")
    samples = joined(listen(path))
    assert abs(len(samples) - SAMPLE_RATE) <= 1 and pitch(samples) == pytest.approx(440, abs=1)


def test_a_late_start_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "late.mkv"
    with av.open(str(path), "w") as out:
        picture = out.add_stream("mpeg4", rate=25)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        sound = out.add_stream("pcm_s16le", rate=48000, layout="mono")
        for number in range(50):
            frame = av.VideoFrame(64, 48, "yuv420p")
            frame.pts = number
            out.mux(picture.encode(frame))
        for piece in sound_frames(sine(1, 48000), 48000, "s16", "mono", first=24000):
            out.mux(sound.encode(piece))
        out.mux(picture.encode(None))
        out.mux(sound.encode(None))
    chunks = listen(path)
    assert chunks[0].start_sample == pytest.approx(8000, abs=16)
    assert abs(len(joined(chunks)) - SAMPLE_RATE) <= 1


@pytest.mark.parametrize("gap_seconds", [0.5, 12.0])
def test_a_gap_becomes_silence_and_later_sound_keeps_its_time(tmp_path: Path, gap_seconds: float) -> None:
    gap = round(gap_seconds * 44100)
    whole = np.concatenate([sine(1, 44100, 440), sine(1, 44100, 1000)])
    path = write_sound(tmp_path / "gap.mkv", whole, 44100, skip=(44032, gap))
    samples = joined(listen(path))
    assert abs(len(samples) - (2 + gap_seconds) * SAMPLE_RATE) <= 16, (
        "within the millisecond of the container"
    )
    start, end = 16100, round((1 + gap_seconds) * SAMPLE_RATE) - 100
    assert np.abs(samples[start:end]).max() < 1e-3
    assert pitch(samples[:15900]) == pytest.approx(440, abs=1)
    assert pitch(samples[end + 200 : end + 15900]) == pytest.approx(1000, abs=1)


def test_a_jump_of_many_hours_is_no_gap(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "jump.mkv", sine(2, 8000), 8000, skip=(8192, 8000 * 36000))
    assert len(joined(listen(path))) == pytest.approx(2 * SAMPLE_RATE, abs=1)


def test_an_hour_of_silence_comes_in_small_chunks(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "hour.mkv", sine(2, 8000), 8000, skip=(8192, 8000 * 3600))
    chunks = listen(path)
    total = sum(len(c.samples) for c in chunks)
    assert abs(total - 3602 * SAMPLE_RATE) <= 16
    assert max(len(c.samples) for c in chunks) < 2 * CHUNK_SAMPLES


def test_jitter_of_times_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "jitter.mkv"
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=44100, layout="mono")
        for frame in sound_frames(sine(3, 44100), 44100, "s16", "mono"):
            assert frame.pts is not None
            frame.pts += int(rng.integers(0, 1000))
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    samples = joined(listen(path))
    assert abs(len(samples) - 3 * SAMPLE_RATE) <= 1
    assert np.abs(samples[2000:-2000]).max() == pytest.approx(0.5, abs=0.01), "no holes, no clicks"


@pytest.mark.parametrize("rate", [44100, 22050])
def test_ten_minutes_do_not_drift(tmp_path: Path, rate: int) -> None:
    tone = np.zeros(600 * rate)
    clicks = np.arange(0, 600, 30) * rate
    tone[clicks] = 0.9
    samples = joined(listen(write_sound(tmp_path / "long.wav", tone, rate)))
    assert abs(len(samples) - 600 * SAMPLE_RATE) <= 1
    for second in range(30, 600, 30):
        around = samples[second * SAMPLE_RATE - 50 : second * SAMPLE_RATE + 50]
        assert abs(int(np.abs(around).argmax()) - 50) <= 1


@pytest.mark.slow
def test_two_hours_do_not_drift(tmp_path: Path) -> None:
    """A quarter of a minute of FLAC over and over, at the rate that fits 16 kHz worst, its times jittered."""
    seconds, rate, times = 15, 11025, 480
    jitter = np.random.default_rng(3)
    tone = np.zeros(seconds * rate)
    tone[0] = 0.9
    once = write_sound(tmp_path / "once.mkv", tone, rate, codec="flac")
    path = tmp_path / "long.mkv"
    with av.open(str(once)) as given, av.open(str(path), "w") as made:
        packets = [p for p in given.demux(audio=0) if p.size]
        stream = made.add_stream_from_template(given.streams.audio[0])
        for repetition in range(times):
            for packet in packets:
                copy = av.Packet(bytes(packet))
                assert packet.pts is not None
                late = int(jitter.integers(0, 20)) if repetition else 0
                copy.pts = copy.dts = packet.pts + repetition * seconds * 1000 + late
                copy.stream, copy.time_base, copy.duration = stream, packet.time_base, packet.duration
                made.mux(copy)
    num_samples, clicks = 0, []
    for chunk in listen(path):
        found = np.flatnonzero(np.abs(chunk.samples) > 0.3)
        clicks += [found[0] + num_samples] if len(found) else []
        num_samples += len(chunk.samples)
    assert abs(num_samples - 7200 * SAMPLE_RATE) <= 1
    assert np.abs(np.array(clicks) - np.arange(times) * seconds * SAMPLE_RATE).max() <= 2


def test_an_edit_list_moves_and_cuts_the_sound(tmp_path: Path) -> None:
    """MP4 says with one that the first samples of AAC are priming: what is left has its exact time."""
    tone = np.zeros(3 * 48000)
    tone[48000] = 0.9
    path = write_sound(tmp_path / "e.m4a", tone, 48000, codec="aac", sample_format="fltp")
    assert b"elst" in path.read_bytes()
    samples = joined(listen(path))
    assert abs(int(np.abs(samples).argmax()) - SAMPLE_RATE) <= 2
    assert len(samples) == pytest.approx(3 * SAMPLE_RATE, abs=0.03 * SAMPLE_RATE)


def test_one_decode_gives_several_kinds_of_sound(tmp_path: Path) -> None:
    channels = np.stack([sine(5, 44100, 440), 0.5 * sine(5, 44100, 1000)])
    path = write_sound(
        tmp_path / "gap.mkv", channels, 44100, layout="stereo", first=22050, skip=(88064, 44100)
    )
    index = index_source(str(path))
    none = np.zeros(0, np.int64)
    request = ReadRequest(none, none, True, 1, sound_rates=(16_000, 32_000), native_sound=True)
    report = ReadReport()
    chunks = list(read_shard(str(path), index, request, report))
    mono = {
        rate: joined([c for c in chunks if isinstance(c, Audio) and c.sample_rate == rate])
        for rate in (16_000, 32_000)
    }
    assert np.array_equal(mono[16_000], joined(listen(path))), "as if it were the only one"
    assert len(mono[32_000]) == pytest.approx(2 * len(mono[16_000]), abs=2)
    native = [c for c in chunks if isinstance(c, NativeAudio)]
    assert {(c.sample_rate, len(c.channels)) for c in native} == {(44100, 2)}
    for before, after in itertools.pairwise(native):
        assert after.start_sample == before.start_sample + before.samples.shape[1]
    planes = np.concatenate([c.samples for c in native], axis=1)
    assert planes.shape[1] == pytest.approx(6 * 44100, abs=50) and planes.dtype == np.float32
    assert np.allclose(planes[:, :88064], channels[:, :88064], atol=1e-4), "not touched by any resampler"
    assert not planes[:, 88064 + 50 : 88064 + 44000].any(), "the gap is silence"
    assert np.allclose(planes[:, -44100:], channels[:, -44100:], atol=1e-4)
    assert report.sound_seconds == pytest.approx(6, abs=0.01)


@pytest.mark.parametrize(
    ("codec", "sample_format", "step"),
    [
        ("pcm_u8", "u8", 0.02),
        ("pcm_s16le", "s16", 1e-4),
        ("pcm_s24le", "s32", 1e-6),
        ("pcm_f32le", "flt", 1e-7),
        ("flac", "s16", 1e-4),
    ],
)
def test_native_sound_is_what_was_recorded(
    tmp_path: Path, codec: str, sample_format: str, step: float
) -> None:
    channels = np.stack([sine(1, 44100, 440 + 100 * k) for k in range(3)])
    suffix = "flac" if codec == "flac" else "wav"
    path = write_sound(
        tmp_path / f"n.{suffix}", channels, 44100, codec=codec, sample_format=sample_format, layout="3.0"
    )
    none = np.zeros(0, np.int64)
    request = ReadRequest(none, none, True, 1, sound_rates=(), native_sound=True)
    chunks = list(read_shard(str(path), index_source(str(path)), request, ReadReport()))
    assert all(isinstance(c, NativeAudio) and c.channels == ("FL", "FR", "FC") for c in chunks)
    planes = np.concatenate([c.samples for c in chunks if isinstance(c, NativeAudio)], axis=1)
    assert planes.shape == channels.shape and np.allclose(planes, channels, atol=step)


def test_native_sound_alone_of_many_channels_comes_in_small_chunks(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "m.wav", sine(9, 48000), 48000, layout="16 channels")
    none = np.zeros(0, np.int64)
    request = ReadRequest(none, none, True, 1, sound_rates=(), native_sound=True)
    report = ReadReport()
    chunks = list(read_shard(str(path), index_source(str(path)), request, report))
    assert all(isinstance(c, NativeAudio) and c.samples.size <= 2 * MAX_CHUNK_NUMBERS for c in chunks)
    assert report.sound_seconds == pytest.approx(9)


def test_a_format_that_changes_half_way(tmp_path: Path) -> None:
    first = write_sound(
        tmp_path / "a.aac", sine(2, 44100), 44100, codec="aac", sample_format="fltp", layout="stereo"
    )
    second = write_sound(tmp_path / "b.aac", sine(2, 22050, 1000), 22050, codec="aac", sample_format="fltp")
    path = tmp_path / "both.aac"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    samples = joined(listen(path))
    assert pitch(samples[:28000]) == pytest.approx(440, abs=2)
    assert pitch(samples[-28000:]) == pytest.approx(1000, abs=2)
    assert len(samples) == pytest.approx(4 * SAMPLE_RATE, abs=0.2 * SAMPLE_RATE)


def test_broken_packets_are_counted_and_survived(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "b.mkv", sine(4, 48000), 48000, codec="aac", sample_format="fltp")
    with av.open(str(path)) as container:
        spans = [(p.pos, p.size) for p in container.demux(audio=0) if p.size]
    data = bytearray(path.read_bytes())
    for position, size in spans[50:60]:
        assert position is not None
        data[position + 8 : position + size] = b"\xff" * (size - 8)
    path.write_bytes(data)
    heard = read(path, index_source(str(path)), with_sound=True)
    assert heard.report.num_errors > 0
    total = sum(len(c.samples) for c in heard.sound)
    assert total == pytest.approx(4 * SAMPLE_RATE, abs=0.1 * SAMPLE_RATE), "the hole is filled"


def test_the_same_sound_in_another_container_is_the_same(tmp_path: Path) -> None:
    wav = write_sound(tmp_path / "s.wav", sine(5, 44100), 44100, layout="stereo")
    there = remux(wav, tmp_path / "s.mkv")
    assert np.array_equal(joined(listen(wav)), joined(listen(there)))


@pytest.mark.media
@pytest.mark.parametrize("name", real_files("audio"))
def test_real_sound_has_its_length(media_dir: Path, name: str) -> None:
    path = media_dir / name
    index = index_source(str(path))
    chunks = listen(path)
    length = sum(len(c.samples) for c in chunks) / SAMPLE_RATE
    assert length == pytest.approx(index.duration_seconds, abs=0.03)
    assert np.abs(joined(chunks)).max() > 0.01
