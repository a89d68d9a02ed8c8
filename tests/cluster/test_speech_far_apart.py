"""Words far from each other or from the file's start: heard, and at the time at which they are said."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest

from tests.cluster.extraction import extract, failures, rows_of

pytestmark = pytest.mark.slow

RATE = 16_000
SAME_SECONDS = 0.2  # what the recogniser's times may be off
# (clip, second at which it begins)
Said = list[tuple[str, float]]


@pytest.fixture(autouse=True)
def _weights(models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faster_whisper")
    monkeypatch.setenv("FRAMEMILL_MODEL_MIRROR", str(models_dir))


def _read(path: Path) -> npt.NDArray[np.int16]:
    with av.open(str(path)) as container:
        return np.concatenate([frame.to_ndarray().ravel() for frame in container.decode(audio=0)])


def _check(out: Path, folder: Path, said: Said, seconds: float) -> None:
    described = {c["file"]: c for c in json.loads((folder / "transcripts.json").read_text("utf-8"))["clips"]}
    (media,) = rows_of(out, "media")
    assert media["status"] == "ok" and not failures(out)
    assert media["duration_seconds"] == pytest.approx(seconds, abs=0.1)
    rows = rows_of(out, "transcript")
    assert [row["text"] for row in rows] == [described[name]["text"] for name, _ in said]
    for row, (name, start) in zip(rows, said, strict=True):
        (utterance,) = described[name]["utterances"]
        found = [(word["start_seconds"] - start, word["end_seconds"] - start) for word in row["words"]]
        wanted = [(word["start"], word["end"]) for word in utterance["words"]]
        assert np.abs(np.array(found) - np.array(wanted)).max() < SAME_SECONDS


def test_words_at_both_ends_of_three_hours(media_dir: Path, tmp_path: Path) -> None:
    folder, path = media_dir / "audio" / "whisper_words", tmp_path / "three_hours.flac"
    first, last = (_read(folder / f"en_{n}.flac") for n in ("03", "02"))
    silence = np.zeros(10_790 * RATE - len(first), np.int16)
    samples = np.concatenate([first, silence, last])
    with av.open(str(path), "w") as container:
        track = container.add_stream("flac", rate=RATE, layout="mono")
        for start in range(0, len(samples), RATE):
            frame = av.AudioFrame.from_ndarray(samples[None, start : start + RATE], "s16", "mono")
            frame.sample_rate, frame.pts = RATE, start
            container.mux(track.encode(frame))
        container.mux(track.encode(None))
    out = tmp_path / "out"
    extract(path, out=out, ops=("media", "transcript"), models={"transcript": "whisper_words"})
    _check(out, folder, [("en_03.flac", 0.0), ("en_02.flac", 10_790.0)], len(samples) / RATE)


def test_sound_beyond_what_is_looked_at_of_a_transport_stream(media_dir: Path, tmp_path: Path) -> None:
    """Its track is found by its bytes: 10 MB of picture come before it."""
    folder, path = media_dir / "audio" / "whisper_words", tmp_path / "late.ts"
    noise = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        film = container.add_stream("mpeg2video", rate=25)
        film.width, film.height, film.pix_fmt, film.bit_rate = 640, 360, "yuv420p", 8_000_000
        track = container.add_stream("aac", rate=RATE, layout="mono")
        samples = _read(folder / "en_03.flac").astype(np.float32) / 32768
        sent = 0
        for number in range(24 * 25):
            picture = noise.integers(0, 256, (360 * 3 // 2, 640), np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, "yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(film.encode(frame))
            while number >= 14 * 25 and sent < len(samples) and sent / RATE <= number / 25 - 14:
                block = av.AudioFrame.from_ndarray(samples[None, sent : sent + 1024], "fltp", "mono")
                block.sample_rate, block.pts = RATE, 14 * RATE + sent
                block.time_base = Fraction(1, RATE)
                container.mux(track.encode(block))
                sent += 1024
        for stream in (film, track):
            container.mux(stream.encode(None))
    assert path.stat().st_size > 10_000_000
    out = tmp_path / "out"
    extract(path, out=out, ops=("media", "transcript"), models={"transcript": "whisper_words"})
    (media,) = rows_of(out, "media")
    assert (media["num_frames"], media["audio_codec"], media["sample_rate"]) == (600, "aac", RATE)
    _check(out, folder, [("en_03.flac", 14.0)], 24.0)
