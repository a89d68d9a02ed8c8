"""Sound of any kind becomes mono at 16 kHz of the right length, at the right time."""

from __future__ import annotations

import itertools
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest

from actors.indexing import index_source
from actors.sound import CHUNK_SAMPLES, SAMPLE_RATE
from ops.chunks import Audio
from tests.actors.clips import remux, sine, sound_frames, write_sound
from tests.actors.reading import read
from tests.actors.real import real_files

Samples = npt.NDArray[np.float32]


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
    assert (
        np.abs(joined(listen(write_sound(tmp_path / "o.wav", opposite, 44100, layout="stereo")))).max() < 1e-3
    )


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
