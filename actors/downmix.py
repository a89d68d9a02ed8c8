"""Mono sound that can be heard: the louder channel where the mix cancels itself, and no constant offset."""

from __future__ import annotations

import math
from typing import Any, cast

import av
import numpy as np
import numpy.typing as npt

from framemill.ops.chunks import Float32Array, Float64Array

# The mean of independent channels has 1/n of their mean power. Where it has less than this share of that, one
# channel is turned over: of two equally loud ones, correlation is below -0.9.
CANCELLED_SHARE = 0.1
# Powers are means over about so long.
MEMORY_SECONDS = 0.25
# While channels are mixed, and while they are silent, frames are looked at so often: looking at each would
# take as long again as decoding sound.
LOOK_SECONDS, SILENT_LOOK_SECONDS = 0.5, 0.1
# Another channel takes over once it has so many times the power.
LOUDER = 2.0
# A mean of a chunk of sound beyond both, of full scale and of the sound's deviation, is an offset that a bad
# sound card or cable left; that of sound itself is a tenth of this and less.
OFFSET, OFFSET_SHARE = 0.002, 0.1


class Downmix:
    """Looks at the frames of one track in order, and replaces those whose mix would be silent.

    A microphone wired the wrong way round, or a "surround" effect, gives two channels of which one is the
    other turned over: each is heard well, their mean is silence.
    """

    def __init__(self) -> None:
        self._noted = ""
        self._chosen = -1  # channel of the frame before; -1 for the mix
        self._powers: Float64Array = np.zeros(0)
        self._mix = 0.0
        self._since_seconds = 0.0  # from the end of the last frame that was looked at
        self._wait_seconds = 0.0  # after it, until the next look

    def prepare(self, frame: av.AudioFrame) -> av.AudioFrame:
        """The frame, or one of the same kind whose channels are all the loudest of its channels."""
        seconds = frame.samples / frame.sample_rate
        self._since_seconds += seconds
        if self._since_seconds < self._wait_seconds or (count := frame.layout.nb_channels) < 2:
            return frame
        stored = cast(npt.NDArray[Any], frame.to_ndarray())
        if not self._mix and self._chosen < 0 and not stored.any():
            # Silence as before, as most of a track may be.
            self._since_seconds, self._wait_seconds = 0.0, SILENT_LOOK_SECONDS
            return frame
        channels = stored if frame.format.is_planar else stored.reshape(-1, count).T
        self._measure(_centred(channels), self._since_seconds)
        self._since_seconds = self._wait_seconds = 0.0
        if self._chosen < 0:
            self._wait_seconds = LOOK_SECONDS if self._mix > 0 else SILENT_LOOK_SECONDS
            return frame
        if frame.format.is_planar:
            alike = np.repeat(channels[self._chosen : self._chosen + 1], count, axis=0)
        else:
            alike = np.repeat(channels[self._chosen], count)[None]
        made = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(alike), format=frame.format.name, layout=frame.layout.name
        )
        made.sample_rate, made.pts, made.time_base = frame.sample_rate, frame.pts, frame.time_base
        name = frame.layout.channels[self._chosen].name
        self._noted = name if name != "NONE" else str(self._chosen + 1)
        return made

    def take_note(self) -> str:
        """The channel that stood for all since the last call, as in `Audio.channel`; empty where none did."""
        noted = self._noted
        if self._chosen < 0:
            self._noted = ""
        return noted

    def _measure(self, channels: Float32Array, seconds: float) -> None:
        """Decides for the mix or a channel by the powers of channels, float32 [channels, n].

        What was measured up to `seconds` before counts less and less.
        """
        if len(channels) != len(self._powers):
            self._powers, self._mix, self._chosen = np.zeros(len(channels)), 0.0, -1
        with np.errstate(invalid="ignore", over="ignore"):
            total = channels.sum(axis=0)
            powers, mix = np.vecdot(channels, channels), float(np.vecdot(total, total))
        if not 0 < powers.sum() < math.inf:
            return  # neither silence nor damaged samples tell anything
        kept = math.exp(-seconds / MEMORY_SECONDS)
        self._powers = kept * self._powers + powers
        self._mix = kept * self._mix + mix
        if not self._mix < CANCELLED_SHARE * self._powers.sum():
            self._chosen = -1
            return
        loudest = int(self._powers.argmax())
        if self._chosen < 0 or self._powers[loudest] > LOUDER * self._powers[self._chosen]:
            self._chosen = loudest


def _centred(samples: npt.NDArray[Any]) -> Float32Array:
    """Samples of any format as float32 on their own scale, with silence at 0."""
    values = samples.astype(np.float32, copy=False)
    return values - np.float32(128) if samples.dtype == np.uint8 else values


def without_offset(samples: Float32Array) -> Float32Array:
    """A chunk of mono sound, float32 [n], less its mean where that is an offset.

    Voices are found and recognised less well with one: at 20% of full scale, four of eight words were lost.
    """
    if not len(samples):
        return samples
    with np.errstate(invalid="ignore", over="ignore"):  # damaged sound holds NaN and infinity: it is left
        mean = float(samples.mean())
        is_offset = abs(mean) > OFFSET and abs(mean) > OFFSET_SHARE * float(samples.std())
    return samples - np.float32(mean) if is_offset else samples
