"""Options of `transcript`, which the operation and its `Transcriber` share."""

from __future__ import annotations

from dataclasses import dataclass

from framemill.errors import UsageError
from framemill.models.transcription import LANGUAGES, TASKS

EACH = "each"  # as a language: that of each passage is detected
ORIGINS = ("all", "speech", "subtitles")


@dataclass(frozen=True, kw_only=True, slots=True)
class TranscriptOptions:
    """Options of `transcript`.

    The three thresholds are faster-whisper's guards against invented text, with its defaults. Its fallback,
    sampling at rising temperature, gives other rows in each run; a passage that repeats itself is here
    decoded once more without repetitions instead, and text of low probability stays.

    Attributes:
        origin: `all`; or `speech` or `subtitles` alone, of which the latter needs no model.
        language: code such as `en` or `de`; empty to detect it once per file, in its first passage; `each`
            to detect it in every passage.
        task: `transcribe`, or `translate` into English.
        beam_size: hypotheses followed at a time, 1 to 20.
        initial_prompt, hotwords: text put before each passage, to teach names and style.
        word_timestamps: whether words get times of their own.
        compression_ratio_threshold: bytes of text per compressed byte above which it repeats itself.
        log_prob_threshold: mean logarithm of the tokens' probabilities; text above it is never silence.
        no_speech_threshold: probability of silence above which a passage without likely text is dropped.
    """

    origin: str = "all"
    language: str = ""
    task: str = "transcribe"
    beam_size: int = 5
    initial_prompt: str = ""
    hotwords: str = ""
    word_timestamps: bool = True
    compression_ratio_threshold: float = 2.4
    log_prob_threshold: float = -1.0
    no_speech_threshold: float = 0.6

    def __post_init__(self) -> None:
        if self.origin not in ORIGINS:
            raise UsageError(f"transcript.origin is {self.origin!r}; it must be one of {', '.join(ORIGINS)}")
        if self.language not in LANGUAGES | {"", EACH}:
            raise UsageError(
                f"transcript.language is {self.language!r}; it must be {EACH!r}, empty, or one of "
                + ", ".join(sorted(LANGUAGES))
            )
        if self.task not in TASKS:
            raise UsageError(f"transcript.task is {self.task!r}; it must be one of {', '.join(TASKS)}")
        if not 1 <= self.beam_size <= 20:
            raise UsageError(f"transcript.beam_size is {self.beam_size}; it must be 1 to 20")
        if not self.compression_ratio_threshold > 0:
            raise UsageError(
                f"transcript.compression_ratio_threshold is {self.compression_ratio_threshold}; "
                "it must be > 0"
            )
        if not self.log_prob_threshold <= 0:
            raise UsageError(f"transcript.log_prob_threshold is {self.log_prob_threshold}; it must be <= 0")
        if not 0 <= self.no_speech_threshold <= 1:
            raise UsageError(
                f"transcript.no_speech_threshold is {self.no_speech_threshold}; it must be 0 to 1"
            )
