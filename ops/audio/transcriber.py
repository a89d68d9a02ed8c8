"""Transcribes one track: finds its speech, joins it to passages, and decodes those in groups."""

from __future__ import annotations

from typing import Any

import numpy as np

from framemill.errors import ModelError
from framemill.models.runner import Runner
from framemill.models.transcription import MAX_SAMPLES, MAX_SECONDS, Decoding, Span, Transcription
from framemill.ops.audio.passages import Passage, PassageMaker
from framemill.ops.audio.transcript_options import EACH, TranscriptOptions
from framemill.ops.audio.vad import Segmenter, SegmentRules, SpeechDetector, clean_samples
from framemill.ops.chunks import Audio

# As in faster-whisper's batched pipeline, which gives Whisper speech with little silence in it.
RULES = SegmentRules(
    threshold=0.5,
    end_threshold=0.35,
    min_silence_seconds=0.16,
    min_speech_seconds=0.0,
    padding_seconds=0.4,
    max_speech_seconds=MAX_SECONDS,
)
# Passages of one file that go to the model in one call: four minutes of speech at most wait in memory.
GROUP = 8
# A passage that repeats itself is decoded once more, without runs of so many tokens that come twice.
NO_REPEAT_TOKENS = 3
# Where at least so much speech follows what the model wrote down of a passage, it is asked for the rest.
MIN_LOST_SECONDS = 0.5


class Transcriber:
    """Finds the speech of one track and transcribes it.

    Args:
        vad: the speech detector's network.
        whisper: the recogniser, as `framemill.models.whisper.WhisperRunner`.
    """

    def __init__(self, options: TranscriptOptions, vad: Runner, whisper: Runner) -> None:
        self._options = options
        self._whisper = whisper
        self._detector = SpeechDetector(vad)
        self._segmenter = Segmenter(RULES)
        self._maker: PassageMaker | None = None
        self._num_samples = 0
        self._waiting: list[Passage] = []
        self._language = options.language
        self._rows: list[dict[str, Any]] = []

    def feed(self, chunk: Audio) -> None:
        """Takes the next sound."""
        samples = clean_samples(chunk)
        if self._maker is None:
            self._maker = PassageMaker(chunk.start_sample, MAX_SAMPLES)
        self._maker.append(samples)
        self._num_samples += len(samples)
        for probability in self._detector.feed(samples):
            self._segmenter.push(probability)
        for segment in self._segmenter.take():
            self._queue(self._maker.add(segment))
        self._maker.drop_before(self._segmenter.oldest)
        # Without a language the first passage goes alone, since the others take theirs from it.
        while len(self._waiting) >= (GROUP if self._language else 1):
            self._transcribe_group()

    def finish(self) -> list[dict[str, Any]]:
        """A row for each stretch of text in time order, by the columns of `transcript`."""
        for probability in self._detector.finish():
            self._segmenter.push(probability)
        if self._maker is not None:
            for segment in self._segmenter.finish(self._num_samples):
                self._queue(self._maker.add(segment))
            self._queue(self._maker.finish())
        while self._waiting:
            self._transcribe_group()
        for index, row in enumerate(self._rows):
            row["segment_index"] = index
        return self._rows

    def _queue(self, passage: Passage | None) -> None:
        if passage is not None:
            self._waiting.append(passage)

    def _transcribe_group(self) -> None:
        """Decodes the next passages, and what the model left of them, and appends their rows."""
        passages = self._waiting[: GROUP if self._language else 1]
        del self._waiting[: len(passages)]
        given = "" if self._language == EACH else self._language
        rows: list[list[dict[str, Any]]] = [[] for _ in passages]
        unheard = [0.0] * len(passages)
        left = {i: (passage, given) for i, passage in enumerate(passages)}
        while left:
            decoded = self._hear([passage for passage, _ in left.values()], [to for _, to in left.values()])
            rest: dict[int, tuple[Passage, str]] = {}
            for (i, (passage, _)), result in zip(left.items(), decoded, strict=True):
                if self._is_silence(result):
                    continue
                # The language detected in a passage of silence is meaningless.
                self._language = self._language or result.language
                spans = [span for span in result.spans if span.text]
                rows[i] += [_row(span, result, passage) for span in spans]
                # With word times, spans end with their last word; the last time token can be later.
                end = spans[-1].end_seconds if spans else 0.0
                lost = passage.speech_after(end)
                if lost >= MIN_LOST_SECONDS and end >= MIN_LOST_SECONDS:
                    rest[i] = (passage.after(end), result.language)
                elif (
                    lost >= MIN_LOST_SECONDS
                ):  # asked again for what is about the same, it would say the same
                    unheard[i] = lost
            left = rest
        for found, lost in zip(rows, unheard, strict=True):
            self._rows += found
            if self._rows:
                self._rows[-1]["unheard_seconds"] += lost

    def _hear(self, passages: list[Passage], languages: list[str]) -> list[Transcription]:
        """Decodes passages; those that repeat themselves once more."""
        decoded = self._decode(passages, languages)
        loops = [
            i
            for i, result in enumerate(decoded)
            if result.compression_ratio > self._options.compression_ratio_threshold
            and not self._is_silence(result)
        ]
        if loops:
            again = self._decode(
                [passages[i] for i in loops], [languages[i] for i in loops], NO_REPEAT_TOKENS
            )
            for i, second in zip(loops, again, strict=True):
                decoded[i] = self._better(decoded[i], second)
        return decoded

    def _decode(
        self, passages: list[Passage], languages: list[str], no_repeat_tokens: int = 0
    ) -> list[Transcription]:
        samples = np.zeros((len(passages), MAX_SAMPLES), np.float32)
        decodings = np.empty(len(passages), object)
        options = self._options
        for row, (passage, language) in enumerate(zip(passages, languages, strict=True)):
            samples[row, : len(passage.samples)] = passage.samples
            decodings[row] = Decoding(
                language=language,
                task=options.task,
                beam_size=options.beam_size,
                initial_prompt=options.initial_prompt,
                hotwords=options.hotwords,
                word_times=options.word_timestamps,
                no_repeat_tokens=no_repeat_tokens,
            )
        lengths = np.array([len(passage.samples) for passage in passages], np.int64)
        outputs = self._whisper.run({"samples": samples, "num_samples": lengths, "decoding": decodings})
        if "transcription" not in outputs:
            raise ModelError(
                f"the model gives {', '.join(outputs)} where text is expected; use family whisper"
            )
        decoded: list[Transcription] = outputs["transcription"].tolist()
        return decoded

    def _is_silence(self, result: Transcription) -> bool:
        options = self._options
        is_likely = result.avg_logprob > options.log_prob_threshold
        return result.no_speech_prob > options.no_speech_threshold and not is_likely

    def _better(self, first: Transcription, second: Transcription) -> Transcription:
        if second.compression_ratio <= self._options.compression_ratio_threshold:
            return second
        return max(first, second, key=lambda result: result.avg_logprob)


def _row(span: Span, result: Transcription, passage: Passage) -> dict[str, Any]:
    words: list[dict[str, Any]] | None = None
    if span.words is not None:
        words = []
        for word in span.words:
            # Both ends belong to the segment that the word's middle lies in.
            segment = passage.segment_at((word.start_seconds + word.end_seconds) / 2)
            words.append(
                {
                    "start_seconds": passage.source_seconds(word.start_seconds, segment),
                    "end_seconds": passage.source_seconds(word.end_seconds, segment),
                    "text": word.text,
                    "probability": word.probability,
                }
            )
    if words:
        start, end = words[0]["start_seconds"], words[-1]["end_seconds"]
    else:
        start = passage.source_seconds(span.start_seconds, passage.segment_at(span.start_seconds))
        end = passage.source_seconds(span.end_seconds, passage.segment_at(span.end_seconds, is_end=True))
    return {
        "start_seconds": start,
        "end_seconds": max(start, end),
        "text": span.text,
        "language": result.language,
        "origin": "speech",
        "avg_logprob": result.avg_logprob,
        "no_speech_prob": result.no_speech_prob,
        "unheard_seconds": 0.0,
        "words": words,
    }
