from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest

from framemill.actors.downmix import LOOK_SECONDS, Downmix, without_offset
from framemill.actors.indexing import index_source
from framemill.actors.pyav_reader import ReadReport, ReadRequest, read_shard
from framemill.ops.chunks import NativeAudio
from tests.actors.reading import read

RATE = 16_000
Samples = npt.NDArray[np.float64]


def voice(seconds: float, seed: int = 0) -> Samples:
    """Noise in syllables, with pauses of digital silence."""
    noise = np.random.default_rng(seed).normal(0, 0.1, round(seconds * RATE))
    return noise * (np.arange(len(noise)) // 3200 % 2)


def mixed(channels: Samples, sample_format: str = "fltp", layout: str = "stereo") -> tuple[Samples, Downmix]:
    """The mean of channels, float64 [channels, n], as it comes out behind a downmix; frames hold 1000."""
    scale = {"s16": 2**15, "s32p": 2**31, "u8": 128}.get(sample_format, 1)
    kind = {"s16": np.int16, "s32p": np.int32, "u8": np.uint8, "dbl": np.float64}.get(
        sample_format, np.float32
    )
    middle = 128 if sample_format == "u8" else 0
    stored = np.round(channels * scale) + middle if scale > 1 else channels
    downmix, heard = Downmix(), []
    for start in range(0, channels.shape[1], 1000):
        piece: Any = stored[:, start : start + 1000].astype(kind)
        if not sample_format.endswith("p"):
            piece = piece.T.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(piece), format=sample_format, layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
        made = downmix.prepare(frame)
        assert (made.format.name, made.layout.name, made.sample_rate) == (sample_format, layout, RATE)
        assert made.pts == start and made.samples == frame.samples
        values = made.to_ndarray().astype(np.float64)
        if not sample_format.endswith("p"):
            values = values.reshape(-1, len(channels)).T
        heard.append((values - middle).mean(axis=0) / scale)
    return np.concatenate(heard), downmix


@pytest.mark.parametrize("sample_format", ["fltp", "flt", "s16", "s32p", "u8", "dbl"])
def test_of_channels_that_cancel_each_other_the_louder_is_heard(sample_format: str) -> None:
    left = np.concatenate([np.zeros(RATE), voice(2.0)])
    heard, downmix = mixed(np.stack([0.9 * -left, left]), sample_format)
    # Before the first sound a look may come a little late.
    late = RATE + 3200
    assert np.allclose(heard[late + 2000 :], left[late + 2000 :], atol=0.01)
    assert downmix.take_note() == "FR"


@pytest.mark.parametrize(
    "right",
    [
        pytest.param(lambda left: left, id="equal"),
        pytest.param(lambda left: voice(2.0, 1), id="independent"),
        pytest.param(lambda left: 0 * left, id="one is silent"),
        pytest.param(lambda left: -0.3 * left, id="a weak echo turned over"),
        pytest.param(lambda left: np.full_like(left, np.nan), id="damaged"),
    ],
)
def test_all_other_sound_is_left_as_it_is(right: Any) -> None:
    left = voice(2.0)
    heard, downmix = mixed(np.stack([left, right(left)]))
    assert np.allclose(heard, (left + right(left)) / 2, atol=1e-6, equal_nan=True)
    assert downmix.take_note() == ""


def test_it_follows_a_file_that_changes() -> None:
    sound = voice(3.0)
    left = np.concatenate([sound, sound, sound])
    right = np.concatenate([sound, -sound, sound])
    heard, downmix = mixed(np.stack([left, right]))
    assert downmix.take_note() == "FL"
    slack = round((LOOK_SECONDS + 1.0) * RATE)
    for part in range(3):
        stretch = slice(part * 3 * RATE + slack, (part + 1) * 3 * RATE)
        assert np.allclose(heard[stretch], left[stretch], atol=1e-6)


def test_two_of_six_channels_that_cancel_each_other() -> None:
    channels = np.zeros((6, 2 * RATE))
    channels[0], channels[1] = voice(2.0), -voice(2.0)
    heard, downmix = mixed(channels, layout="5.1")
    assert downmix.take_note() == "FL" and np.allclose(heard[4000:], channels[0, 4000:], atol=1e-6)
    channels[2] = voice(2.0, 3)  # a voice in the centre is heard in the mix
    assert mixed(channels, layout="5.1")[1].take_note() == ""


def test_an_offset_is_taken_off_and_all_else_is_left() -> None:
    sound = voice(4.0).astype(np.float32)
    for offset in (0.01, -0.3):
        assert np.allclose(without_offset(sound + np.float32(offset)), sound, atol=1e-3)
    for other in (sound, 0.001 * sound, sound + np.float32(0.001), np.zeros(0, np.float32)):
        assert without_offset(other) is other
    for wrong in ("nan", "inf", "-inf"):
        damaged = np.where(np.arange(len(sound)) == 7, np.float32(wrong), sound)
        assert without_offset(damaged) is damaged


def test_a_file_of_opposite_phase_is_heard_and_its_channels_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "opposite.wav"
    left = voice(4.0).astype(np.float32)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=RATE, layout="stereo")
        both = np.round(np.stack([left, -left]) * 32_767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(both.T.reshape(1, -1), format="s16", layout="stereo")
        frame.sample_rate = RATE
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    index = index_source(str(path))
    chunks = read(path, index, with_sound=True).sound
    assert {chunk.channel for chunk in chunks} == {"1"}
    heard = np.concatenate([chunk.samples for chunk in chunks])
    # The file begins with 0.2 s of silence.
    assert np.sqrt(np.mean(heard**2)) == pytest.approx(float(np.sqrt(np.mean(left**2))), rel=0.05)
    request = ReadRequest(np.zeros(0, np.int64), np.zeros(0, np.int64), True, 1, (), True)
    native = read_shard(str(path), index, request, ReadReport())
    kept = np.concatenate([chunk.samples for chunk in native if isinstance(chunk, NativeAudio)], axis=1)
    assert np.allclose(kept[0], left, atol=1e-3) and np.allclose(kept[1], -left, atol=1e-3)
