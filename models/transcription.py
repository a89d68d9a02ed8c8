"""The request to a recogniser of speech, and its result."""

from __future__ import annotations

from dataclasses import dataclass

SAMPLE_RATE = 16_000
MAX_SECONDS = 30
MAX_SAMPLES = MAX_SECONDS * SAMPLE_RATE
TASKS = ("transcribe", "translate")
# Languages that Whisper was trained on, by the codes in its tokens (Radford et al., arXiv:2212.04356).
_CODES = """
af am ar as az ba be bg bn bo br bs ca cs cy da de el en es et eu fa fi fo fr gl gu ha haw he hi hr
ht hu hy id is it ja jw ka kk km kn ko la lb ln lo lt lv mg mi mk ml mn mr ms mt my ne nl nn no oc
pa pl ps pt ro ru sa sd si sk sl sn so sq sr su sv sw ta te tg th tk tl tr tt uk ur uz vi yi yo yue
zh
"""
LANGUAGES = frozenset(_CODES.split())


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoding:
    """How one passage is to be decoded.

    Attributes:
        language: code of `LANGUAGES`, or empty to detect it in the passage.
        task: one of `TASKS`; `translate` writes English.
        beam_size: hypotheses kept at a time, >= 1. initial_prompt, hotwords: text that comes before.
        word_times: whether words get times.
        no_repeat_tokens: runs of this many tokens may not come twice; 0 allows all.
    """

    language: str = ""
    task: str = "transcribe"
    beam_size: int = 5
    initial_prompt: str = ""
    hotwords: str = ""
    word_times: bool = True
    no_repeat_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Word:
    """A word in seconds from the passage's start, and the mean probability of its tokens, 0..1."""

    start_seconds: float
    end_seconds: float
    text: str
    probability: float


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of text in seconds from the passage's start; `words` is None without times of words."""

    start_seconds: float
    end_seconds: float
    text: str
    words: tuple[Word, ...] | None


@dataclass(frozen=True, slots=True)
class Transcription:
    """The result for one passage.

    Attributes:
        spans: in time order. language: its code.
        avg_logprob: mean natural logarithm of the tokens' probabilities, <= 0.
        no_speech_prob: probability that nobody speaks, 0..1.
        compression_ratio: bytes of the text over its zlib-compressed bytes; high where it repeats itself.
    """

    spans: tuple[Span, ...]
    language: str
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float
