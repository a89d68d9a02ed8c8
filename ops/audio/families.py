"""Families of audio networks that take windows of sound: their inputs and outputs.

yamnet: MobileNet v1 on log-mel spectrograms that it makes itself (Hershey et al., "CNN architectures for
large-scale audio classification", ICASSP 2017); one window a call. Conversions name the outputs differently,
and give the spectrogram as a third.
panns: the audio networks of Kong et al. (arXiv:1912.10211), from waveforms at 32 kHz. panns_16k: the one that
they trained on 16 kHz, whose conversions name the outputs differently.
vggish: the embedding of Hershey et al. from log-mel spectrograms made here.
openl3: Cramer et al., "Look, listen and learn more" (ICASSP 2019), exported with its own log-mel front end.
clap: the sound half of LAION's contrastive model (Wu et al., arXiv:2211.06687), as Hugging Face exports it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from framemill.errors import ModelError
from framemill.models.runner import Model
from framemill.ops.audio.filterbank import slaney_bands, triangles
from framemill.ops.chunks import Float32Array, Float64Array


@dataclass(frozen=True, kw_only=True, slots=True)
class SoundFamily:
    """How a network is fed.

    Attributes:
        sample_rate: hertz. window: samples of one input.
        scores, embedding: names of its outputs; "" stands for the only one, None for one it does not have.
        prepare: from windows float32 [n, window] to its input, which is usually called `input_name`.
        is_batched: whether its input has an axis for windows.
        repeats: whether a sound shorter than a window is repeated; else silence follows it.
        embedding_width: numbers of an embedding, by which outputs of other names are told apart: such are as
            wide as there are labels, or this wide; 0 where names decide.
    """

    sample_rate: int
    window: int
    scores: str | None
    embedding: str
    prepare: Callable[[Float32Array], Float32Array]
    input_name: str = "input"
    is_batched: bool = True
    repeats: bool = False
    embedding_width: int = 0

    @property
    def window_seconds(self) -> float:
        return self.window / self.sample_rate


def family_of(model: Model) -> SoundFamily:
    """How this model is fed; raises ModelError for a family that takes no windows of sound."""
    if model.entry.family not in FAMILIES:
        raise ModelError(
            f"model {model.entry.name} is of family {model.entry.family!r}; sound is heard by models of "
            + ", ".join(FAMILIES)
        )
    return FAMILIES[model.entry.family]


def _waveform(windows: Float32Array) -> Float32Array:
    return windows


def _one_channel(windows: Float32Array) -> Float32Array:
    return windows[:, None]


def _vggish_spectrogram(windows: Float32Array) -> Float32Array:
    """Log-mel magnitudes of 96 frames of 25 ms every 10 ms: float32 [n, 1, 96, 64]."""
    frames = np.lib.stride_tricks.sliding_window_view(windows, 400, axis=1)[:, ::160]
    # A periodic Hann window: without the last zero of the symmetric one.
    shape = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)).astype(np.float32)
    magnitudes = np.abs(np.fft.rfft(frames * shape, 512)).astype(np.float32)
    levels: Float32Array = np.log(magnitudes @ _vggish_bands() + np.float32(0.01))
    return levels[:, None]


def _clap_spectrogram(windows: Float32Array) -> Float32Array:
    """Mel powers in dB of 1001 frames of 1024 samples every 10 ms: float32 [n, 1, 1001, 64]."""
    padded = np.pad(windows, ((0, 0), (512, 512)), "reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, 1024, axis=1)[:, ::480]
    shape = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1024) / 1024)).astype(np.float32)
    spectrum = np.fft.rfft(frames * shape)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32) @ _clap_bands()
    levels: Float32Array = 10 * np.log10(np.maximum(power, np.float32(1e-10)))
    return levels[:, None]


@cache
def _vggish_bands() -> Float32Array:
    """Triangles that are linear on the mel scale of HTK, 125 to 7500 Hz: float32 [257, 64]."""

    def mel(hertz: Float64Array) -> Float64Array:
        return 1127.0 * np.log1p(hertz / 700.0)

    low, high = mel(np.array([125.0, 7500.0]))
    bands = triangles(mel(np.arange(257) * 16_000 / 512), np.linspace(low, high, 66))
    bands[0] = 0  # the constant component belongs to none
    return bands


@cache
def _clap_bands() -> Float32Array:
    return slaney_bands(64, 1024, 48_000, 50.0, 14_000.0)


FAMILIES: Mapping[str, SoundFamily] = {
    "yamnet": SoundFamily(
        sample_rate=16_000,
        window=15_600,
        scores="scores",
        embedding="embedding",
        prepare=lambda windows: windows[0],
        input_name="waveform_binary",
        is_batched=False,
        embedding_width=1024,
    ),
    "panns": SoundFamily(
        sample_rate=32_000,
        window=320_000,
        scores="clipwise_output",
        embedding="embedding",
        prepare=_waveform,
    ),
    "panns_16k": SoundFamily(
        sample_rate=16_000,
        window=160_000,
        scores="clip_scores",
        embedding="embedding",
        prepare=_waveform,
        input_name="input_audio",
        embedding_width=2048,
    ),
    "vggish": SoundFamily(
        sample_rate=16_000, window=15_600, scores=None, embedding="", prepare=_vggish_spectrogram
    ),
    "openl3": SoundFamily(sample_rate=48_000, window=48_000, scores=None, embedding="", prepare=_one_channel),
    "clap": SoundFamily(
        sample_rate=48_000,
        window=480_000,
        scores=None,
        embedding="audio_embeds",
        prepare=_clap_spectrogram,
        input_name="input_features",
        repeats=True,
    ),
}
