"""A recogniser without a network, for tests of operations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from framemill.models.transcription import MAX_SAMPLES, SAMPLE_RATE, Decoding, Span, Transcription, Word


class WhisperStandIn:
    """Hears one word in each passage, `short` or `long` by its length, and keeps what it was asked."""

    max_batch = 4

    def __init__(self, answer: Callable[[int, Decoding], Transcription] | None = None) -> None:
        self.calls: list[list[Decoding]] = []
        self._answer = answer or self.one_word

    def run(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        samples, lengths = inputs["samples"], inputs["num_samples"]
        assert samples.dtype == np.float32 and samples.shape[1:] == (MAX_SAMPLES,)
        assert all(not row[n:].any() for row, n in zip(samples, lengths, strict=True))
        self.calls.append(list(inputs["decoding"]))
        heard = np.empty(len(samples), object)
        for row, decoding in enumerate(inputs["decoding"]):
            heard[row] = self._answer(int(lengths[row]), decoding)
        return {"transcription": heard}

    def run_whole(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        return self.run(inputs)

    @staticmethod
    def one_word(num_samples: int, decoding: Decoding) -> Transcription:
        seconds = num_samples / SAMPLE_RATE
        text = "short" if seconds < 2 else "long"
        words = (Word(0.0, seconds, text, 0.9),) if decoding.word_times else None
        return Transcription((Span(0.0, seconds, text, words),), decoding.language or "en", -0.2, 0.1, 1.0)


SPEECH_STAND_INS: dict[str, Callable[[], Any]] = {"transcript": WhisperStandIn}
