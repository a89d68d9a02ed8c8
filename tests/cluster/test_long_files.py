"""Forty minutes in one piece and in eight give the same rows, on both engines."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from framemill.cluster.results.dataset import Dataset
from tests.cluster.engines.local.test_shards import divided
from tests.cluster.extraction import extract, rows_of, tables_of

MINUTES = 40
FPS, RATE = 5, 16_000
SECONDS = 60 * MINUTES
EIGHTH_SECONDS = SECONDS / 8
# Shots of 7 to 16 s: cuts lie before, at and after the borders of pieces. The tone changes every minute.
SHOT_SECONDS = (7, 11, 16, 9)
LOUD, SOFT = 0.5, 0.05


def cuts() -> list[int]:
    """Frames at which shots begin, the first left out."""
    found, at, number = [], 0, 0
    while (at := at + SHOT_SECONDS[number % len(SHOT_SECONDS)] * FPS) < SECONDS * FPS:
        found.append(at)
        number += 1
    return found


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty minutes of five small pictures a second, with a tone that is loud every other minute."""
    path = tmp_path_factory.mktemp("film") / "film.mkv"
    rng = np.random.default_rng(1)
    starts = {0, *cuts()}
    with av.open(str(path), "w") as container:
        options = {"preset": "ultrafast", "crf": "30", "threads": "1"}
        video = container.add_stream("libx264", rate=FPS, options=options)
        video.width, video.height, video.pix_fmt, video.gop_size = 96, 64, "yuv420p", 10 * FPS
        audio = container.add_stream("flac", rate=RATE, layout="mono")
        for index in range(SECONDS * FPS):
            if index in starts:
                shot = rng.integers(0, 256, (4, 6, 3), np.uint8).repeat(16, 0).repeat(16, 1)
            frame = av.VideoFrame.from_ndarray(shot, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        minute = np.sin(2 * np.pi * 440 * np.arange(60 * RATE) / RATE) * 32767
        resampler = av.AudioResampler(format=audio.format, layout="mono", frame_size=4096)
        for number in range(MINUTES):
            samples = (minute * (SOFT if number % 2 else LOUD)).astype(np.int16)[None]
            sound = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            sound.sample_rate, sound.pts, sound.time_base = RATE, number * 60 * RATE, Fraction(1, RATE)
            for piece in resampler.resample(sound):
                container.mux(audio.encode(piece))
        for piece in resampler.resample(None):
            container.mux(audio.encode(piece))
        container.mux(audio.encode(None))
    return path


@pytest.fixture(scope="module")
def whole(film: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default operations over the film as one piece, on the local engine."""
    out = divided(tmp_path_factory.mktemp("whole") / "out", 2 * SECONDS)
    assert extract(film, out=out, ops=()).exit_code == 0
    return out


def _num_pieces(film: Path, out: Path) -> int:
    """Pieces of picture that the film is cut into in this folder."""
    from framemill.actors.indexing import index_source
    from framemill.actors.shards import cut_shards

    index = index_source(str(film))
    seconds = Dataset.open(out, create=False).constants["shard_seconds"]
    pieces = cut_shards(index.frames, index.audio_stream >= 0, SECONDS, seconds)
    return sum(piece.end_frame > piece.start_frame for piece in pieces)


@pytest.mark.slow
def test_the_rows_are_what_was_rendered(film: Path, whole: Path) -> None:
    assert _num_pieces(film, whole) == 1
    shots = sorted(row["start_frame"] for row in rows_of(whole, "scenes"))
    assert shots == [0, *cuts()]
    levels = {round(row["start_seconds"], 3): row["rms_db"] for row in rows_of(whole, "audio_levels")}
    assert len(levels) == 10 * SECONDS
    for minute in range(MINUTES):
        amplitude = SOFT if minute % 2 else LOUD
        assert levels[60.0 * minute + 30] == pytest.approx(20 * np.log10(amplitude / np.sqrt(2)), abs=0.1)
    (row,) = rows_of(whole, "media")
    assert row["num_frames"] == SECONDS * FPS and row["status"] == "ok"


@pytest.mark.slow
def test_eight_pieces_on_this_machine(film: Path, whole: Path, tmp_path: Path) -> None:
    out = divided(tmp_path / "out", EIGHTH_SECONDS)
    assert extract(film, out=out, ops=()).exit_code == 0
    assert _num_pieces(film, out) == 8
    assert tables_of(out) == tables_of(whole)


@pytest.fixture(scope="module")
def on_ray() -> Iterator[None]:
    pytest.importorskip("ray")
    from tests.cluster.engines.ray.ray_local import small_ray

    with small_ray():
        yield


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.parametrize("shard_seconds", [EIGHTH_SECONDS, 2.0 * SECONDS], ids=["eight", "one"])
@pytest.mark.usefixtures("on_ray")
def test_on_ray(film: Path, whole: Path, tmp_path: Path, shard_seconds: float) -> None:
    from tests.cluster.engines.ray.ray_local import extract_on_ray

    out = divided(tmp_path / "out", shard_seconds)
    assert extract_on_ray(film, out=out, ops=()).exit_code == 0
    assert tables_of(out) == tables_of(whole)
