"""Families of networks that turn a voice into a vector: how they are fed.

wespeaker: ResNets of the WeSpeaker toolkit (Wang et al., ICASSP 2023), on Kaldi's log-mel features.
3d_speaker: networks of the toolkit 3D-Speaker, such as CAM++ (Wang et al., arXiv:2303.00332), on features of
another window and scale.
ge2e: the LSTM of Wan et al., "Generalized end-to-end loss for speaker verification" (ICASSP 2018), as
Resemblyzer trained and applies it: on mel powers without logarithm, in stretches of 160 frames.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from framemill.errors import ModelError
from framemill.models.runner import Model
from framemill.ops.audio.filterbank import FRAME, HOP, SAMPLE_RATE, centred_filterbank, slaney_bands
from framemill.ops.chunks import Float32Array

# Resemblyzer's: bands, frames of a stretch, frames from one to the next, and how much of the last is sound.
_GE2E_BANDS, _GE2E_FRAMES, _GE2E_STEP, _GE2E_COVERAGE = 40, 160, 77, 0.75
_GE2E_LEVEL = 10 ** (-30 / 20)  # root mean square to which quieter sound is raised


@dataclass(frozen=True, kw_only=True, slots=True)
class VoiceFamily:
    """How a network is fed.

    Attributes:
        input_name: of its input. output: name of its output.
        prepare: from samples float32 [n] at 16 kHz, at least FRAME of them, to its input, float32
            [stretches, frames, bands]; the vectors of all stretches are averaged.
    """

    input_name: str
    prepare: Callable[[Float32Array], Float32Array]
    output: str = "embs"


def embed_voice(model: Model, samples: Float32Array) -> Float32Array:
    """Vector of length 1 of the voice in samples float32 [n] at 16 kHz, n >= FRAME: float32 [d].

    Raises:
        ModelError: the model is of no family of `VOICES`, or gives another shape.
    """
    entry = model.entry
    if entry.family not in VOICES:
        raise ModelError(
            f"model {entry.name} is of family {entry.family!r}; voices are told apart by models of "
            + ", ".join(VOICES)
        )
    family = VOICES[entry.family]
    features = family.prepare(samples)
    vectors = model.runner.run({family.input_name: features}).get(family.output, np.zeros(0, np.float32))
    if vectors.ndim != 2 or len(vectors) != len(features):
        raise ModelError(
            f"model {entry.name} gives {list(vectors.shape)} as output `{family.output}` for features "
            f"{list(features.shape)}; expected [{len(features)}, d]: choose one of family "
            + " or ".join(VOICES)
        )
    mean: Float32Array = vectors.astype(np.float32).mean(axis=0)
    return mean / max(float(np.linalg.norm(mean)), 1e-12)


def _kaldi_features(samples: Float32Array) -> Float32Array:
    return centred_filterbank(samples)[None]


def _3d_speaker_features(samples: Float32Array) -> Float32Array:
    return centred_filterbank(samples, scale=1, window="povey")[None]


def _mel_powers(samples: Float32Array) -> Float32Array:
    """Mel powers of stretches of 1.6 s, 1.3 a second, as Resemblyzer takes them: float32 [n, 160, 40].

    Frames are centred on their time, with the sound mirrored at both ends. A last stretch of which less than
    three quarters are sound is left out. Sound shorter than a stretch is one of its own length: Resemblyzer
    fills it up with silence, and turns of half a second would sound like silence above all.
    """
    level = float(np.sqrt(np.mean(samples**2)))
    if 0 < level < _GE2E_LEVEL:
        samples = samples * np.float32(_GE2E_LEVEL / level)
    num_steps = max(1, len(samples) // HOP + 2 - _GE2E_FRAMES + _GE2E_STEP)
    starts = np.arange(0, num_steps, _GE2E_STEP)
    if len(starts) > 1 and len(samples) - starts[-1] * HOP < _GE2E_COVERAGE * _GE2E_FRAMES * HOP:
        starts = starts[:-1]
    missing = (int(starts[-1]) + _GE2E_FRAMES) * HOP - len(samples) if len(starts) > 1 else 0
    sound = np.pad(np.pad(samples, (0, max(0, missing))), FRAME // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(sound, FRAME)[::HOP]
    # A periodic Hann window: without the last zero of the symmetric one.
    shape = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME) / FRAME)).astype(np.float32)
    spectrum = np.fft.rfft(frames * shape)
    powers: Float32Array = (spectrum.real**2 + spectrum.imag**2).astype(np.float32) @ _ge2e_bands()
    return np.stack([powers[start : start + _GE2E_FRAMES] for start in starts])


@cache
def _ge2e_bands() -> Float32Array:
    return slaney_bands(_GE2E_BANDS, FRAME, SAMPLE_RATE, 0.0, SAMPLE_RATE / 2)


VOICES: Mapping[str, VoiceFamily] = {
    "wespeaker": VoiceFamily(input_name="feats", prepare=_kaldi_features),
    "ge2e": VoiceFamily(input_name="mels", prepare=_mel_powers),
    "3d_speaker": VoiceFamily(input_name="x", output="embedding", prepare=_3d_speaker_features),
}
