"""Sound lies where its timestamps say: holes are filled, jitter changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framemill.actors.sound import FEW_WITNESSES, LATE_SECONDS, SoundTrack
from framemill.ops.chunks import Audio, NativeAudio
from tests.actors.clips import sine, sound_frames
from tests.actors.test_sound import SAMPLE_RATE, Samples, joined, listen, pitch

FRAME = 1024


def heard(samples: npt.NDArray[Any], rate: int, shifts: Sequence[float], native: bool = False) -> Samples:
    """Mono sound at 16 kHz, or as recorded, of frames whose timestamps are shifted by these seconds."""
    context = SimpleNamespace(decode=lambda packet: [])
    stream: Any = SimpleNamespace(codec_context=context)
    track = SoundTrack(stream, 0.0, () if native else (SAMPLE_RATE,), native)
    chunks: list[Audio | NativeAudio] = []
    for frame, shift in zip(sound_frames(samples, rate, "fltp", "mono"), shifts, strict=True):
        assert frame.pts is not None
        frame.pts = frame.pts * 90_000 // rate + round(shift * 90_000)
        frame.time_base = Fraction(1, 90_000)
        packet: Any = SimpleNamespace(decode=lambda frame=frame: [frame])
        chunks += track.feed(packet)
    chunks += track.finish()
    return np.concatenate([np.atleast_2d(chunk.samples)[0] for chunk in chunks])


def with_clicks(num_frames: int, at: Sequence[int]) -> npt.NDArray[np.float64]:
    """Silence with a click in the middle of these frames."""
    samples = np.zeros(num_frames * FRAME)
    samples[np.asarray(at) * FRAME + FRAME // 2] = 0.9
    return samples


def click_seconds(samples: Samples) -> npt.NDArray[np.float64]:
    """Times of the clicks, each the loudest sample of its surroundings."""
    near = np.flatnonzero(np.abs(samples) > 0.1)
    groups = np.split(near, np.flatnonzero(np.diff(near) > 100) + 1)
    return np.array([group[np.abs(samples[group]).argmax()] for group in groups]) / SAMPLE_RATE


@pytest.mark.parametrize("rate", [44_100, 48_000])
@pytest.mark.parametrize(("gap_seconds", "every"), [(0.04, 10), (0.004, 5), (0.011, 1)])
def test_many_small_holes_do_not_add_up(tmp_path: Path, rate: int, gap_seconds: float, every: int) -> None:
    """Fifty and more holes, each too small to be told from jitter by itself or nearly so."""
    num_frames = 50 * every + 20
    clicks = list(range(every, num_frames, max(every, 7)))
    shifts = [gap_seconds * min(k // every, 50) for k in range(num_frames)]
    path = tmp_path / "holes.mkv"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=rate, layout="mono")
        for frame, shift in zip(
            sound_frames(with_clicks(num_frames, clicks), rate, "s16", "mono"), shifts, strict=True
        ):
            assert frame.pts is not None
            frame.pts += round(shift * rate)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    found = click_seconds(joined(listen(path)))
    expected = (np.array(clicks) * FRAME + FRAME // 2) / rate + np.array(shifts)[clicks]
    assert len(found) == len(expected)
    assert np.abs(found - expected).max() <= LATE_SECONDS + 0.002
    if gap_seconds > LATE_SECONDS:
        assert np.abs(found - expected).max() <= 0.002, "each hole is filled by itself, where it is"


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**32),
    jitter_seconds=st.floats(0, 0.02),
    rate=st.sampled_from([8_000, 44_100, 48_000]),
    native=st.booleans(),
)
def test_jitter_changes_nothing(seed: int, jitter_seconds: float, rate: int, native: bool) -> None:
    num_frames = 200
    samples = np.random.default_rng(seed).uniform(-0.5, 0.5, num_frames * FRAME)
    shifts = np.random.default_rng(seed + 1).uniform(0, jitter_seconds, num_frames)
    plain = heard(samples, rate, [0.0] * num_frames, native)
    assert np.array_equal(heard(samples, rate, shifts.tolist(), native), plain)
    assert abs(len(plain) - (len(samples) if native else len(samples) / rate * SAMPLE_RATE)) <= 1


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32), st.lists(st.floats(0, 0.3), min_size=1, max_size=12))
def test_holes_are_filled_under_jitter(seed: int, gaps: list[float]) -> None:
    """Every click is at its time but for the jitter and what is too little to be filled."""
    rate, jitter_seconds = 48_000, 0.004
    frames_between = 20
    num_frames = (len(gaps) + 1) * frames_between
    starts = np.concatenate([[0.0], np.cumsum(gaps)]).repeat(frames_between)
    jitter = np.random.default_rng(seed).uniform(0, jitter_seconds, num_frames)
    clicks = list(range(0, num_frames, 6))
    found = click_seconds(heard(with_clicks(num_frames, clicks), rate, (starts + jitter).tolist()))
    expected = (np.array(clicks) * FRAME + FRAME // 2) / rate + starts[clicks]
    assert np.abs(found - expected).max() <= LATE_SECONDS + jitter_seconds + 0.001


def test_one_wrong_timestamp_is_no_hole() -> None:
    shifts = np.zeros(150)
    shifts[60] = 3.0
    shifts[100:104] = 0.2
    tone = sine(150 * FRAME / 48_000, 48_000)
    assert np.array_equal(heard(tone, 48_000, shifts.tolist()), heard(tone, 48_000, [0.0] * 150))


@pytest.mark.parametrize(("num_after", "gap_seconds"), [(1, 0.5), (3, 0.12), (FEW_WITNESSES, 0.03)])
def test_a_hole_shortly_before_the_end_is_filled(num_after: int, gap_seconds: float) -> None:
    num_frames = 40
    shifts = [0.0] * (num_frames - num_after) + [gap_seconds] * num_after
    samples = heard(with_clicks(num_frames, [num_frames - 1]), 48_000, shifts)
    (found,) = click_seconds(samples)
    assert found == pytest.approx((num_frames - 0.5) * FRAME / 48_000 + gap_seconds, abs=0.001)


def test_jitter_of_the_last_frames_is_no_hole() -> None:
    tone = sine(40 * FRAME / 48_000, 48_000)
    assert len(heard(tone, 48_000, [0.0] * 37 + [0.01, 0.04, 0.08])) == len(heard(tone, 48_000, [0.0] * 40))


def test_sound_that_overlaps_itself_is_kept_whole() -> None:
    """Timestamps of a recorder whose clock is slow: nothing is lost, and later holes are still filled."""
    num_frames = 200
    shifts = np.linspace(0, -0.3, num_frames)
    tone = sine(num_frames * FRAME / 48_000, 48_000)
    assert len(heard(tone, 48_000, shifts.tolist())) == len(heard(tone, 48_000, [0.0] * num_frames))
    shifts[100:] += 1
    # From 0.15 s early it falls to 0.25 s within the frames that are asked.
    filled = len(heard(tone, 48_000, shifts.tolist())) / SAMPLE_RATE - num_frames * FRAME / 48_000
    assert 1 - 0.25 <= filled <= 1 - 0.15


def test_frames_without_timestamps_follow_each_other() -> None:
    frames = sound_frames(sine(3, 48_000), 48_000, "fltp", "mono")
    for number, frame in enumerate(frames):
        if number % 3:
            frame.pts = None
    stream: Any = SimpleNamespace(codec_context=SimpleNamespace(decode=lambda packet: []))
    track = SoundTrack(stream, 0.0, (SAMPLE_RATE,))
    packet: Any = SimpleNamespace(decode=lambda: frames)
    samples = joined([c for c in [*track.feed(packet), *track.finish()] if isinstance(c, Audio)])
    assert abs(len(samples) - 3 * SAMPLE_RATE) <= 1 and pitch(samples) == pytest.approx(440, abs=1)
