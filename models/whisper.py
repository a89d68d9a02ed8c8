"""Whisper on CTranslate2: passages of speech in, timed text out, many passages of many files at once.

The network, features, tokens, prompts and word times are those of faster-whisper, so that a passage gives
what its batched pipeline gives; what differs is that one pass of the encoder serves language detection,
decoding and word times, that each row has its own language, and that a row never depends on another.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from framemill.errors import DeviceFullError, ModelError, ProviderError
from framemill.models import cuda
from framemill.models.checked_files import holding
from framemill.models.failures import model_failure
from framemill.models.memory_plan import plan_memory
from framemill.models.providers import SessionReport
from framemill.models.runner import Model
from framemill.models.thread_budget import shared_thread_budget
from framemill.models.transcription import MAX_SECONDS, SAMPLE_RATE, Decoding, Span, Transcription, Word

if TYPE_CHECKING:
    from faster_whisper import WhisperModel
    from faster_whisper.tokenizer import Tokenizer

    from framemill.models.entry import ModelEntry

GPU_BATCH = 16
# Signs that belong to the word after or before them: faster-whisper's defaults.
_BEFORE_WORDS = "\"'\u201c\u00bf([{-"
_AFTER_WORDS = "\"'.\u3002,\uff0c!\uff01?\uff1f:\uff1a\u201d)]}\u3001"
_TOKEN_SECONDS = 0.02
_MAX_TOKENS = 448
_FRAMES_PER_SECOND = 100
_NUM_FRAMES = MAX_SECONDS * _FRAMES_PER_SECOND

Arrays = Mapping[str, npt.NDArray[Any]]


class WhisperRunner:
    """A `framemill.models.runner.Runner` from sound to text.

    Inputs: `samples` float32 [n, MAX_SAMPLES] at 16 kHz, of which the first `num_samples` int64 [n] (1 to
    MAX_SAMPLES) count, and `decoding`, objects [n] of class `Decoding`. Output: `transcription`,
    objects [n] of class `Transcription`.

    On the CPU each row is a call of its own on one thread, as many side by side as there are threads:
    measured with two cores, the encoder takes 13% more CPU time a row in batches of 8, 40% in those of 16.
    On a device one batch runs after the other; one that does not fit its memory is halved, for good.

    Attributes:
        max_batch: rows in one call of the decoder. num_halved: how often it was halved.
    """

    def __init__(self, name: str, whisper: WhisperModel, max_batch: int, threads: int) -> None:
        """`threads` rows run side by side; 0 is for a device: one batch after the other."""
        self.max_batch = max_batch
        self.num_halved = 0
        self._name = name
        self._whisper = whisper
        self._budget = shared_thread_budget(threads) if threads else None
        self._tokenizers: dict[tuple[str, str], Tokenizer] = {}

    def run(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        """See `Runner.run`.

        Raises:
            ModelError: the model does not know the language asked for, or CTranslate2 fails.
        """
        sounds = [row[:n] for row, n in zip(inputs["samples"], inputs["num_samples"].tolist(), strict=True)]
        decodings: list[Decoding] = inputs["decoding"].tolist()
        # Only rows that differ in nothing but their language can share a call of the decoder.
        groups: dict[Decoding, list[int]] = {}
        for row, decoding in enumerate(decodings):
            groups.setdefault(replace(decoding, language=""), []).append(row)
        batches = [
            rows[start : start + self.max_batch]
            for rows in groups.values()
            for start in range(0, len(rows), self.max_batch)
        ]

        def transcribe(rows: Sequence[int]) -> list[Transcription]:
            try:
                return self._transcribe([sounds[row] for row in rows], [decodings[row] for row in rows])
            except DeviceFullError:
                half = len(rows) // 2
                if not half:
                    raise
                if half < self.max_batch:
                    self.max_batch = half
                    self.num_halved += 1
            return transcribe(rows[:half]) + transcribe(rows[half:])

        helpers = min(self._budget.num_idle, len(batches) - 1) if self._budget else 0
        if self._budget and helpers:
            results = self._budget.map(transcribe, batches, helpers)
        else:
            results = [transcribe(rows) for rows in batches]
        transcriptions = np.empty(len(sounds), object)
        for rows, result in zip(batches, results, strict=True):
            for row, value in zip(rows, result, strict=True):
                transcriptions[row] = value
        return {"transcription": transcriptions}

    def run_whole(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        """See `Runner.run_whole`."""
        return self.run(inputs)

    def _transcribe(
        self, sounds: Sequence[npt.NDArray[Any]], decodings: Sequence[Decoding]
    ) -> list[Transcription]:
        features = np.stack([self._features(sound) for sound in sounds])
        if self._budget is None:
            return self._decode(features, sounds, decodings)
        with self._budget.reserve():
            return self._decode(features, sounds, decodings)

    def _features(self, sound: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        mel = self._whisper.feature_extractor(sound)[..., :-1]
        padded = np.zeros((mel.shape[0], _NUM_FRAMES), np.float32)
        padded[:, : mel.shape[1]] = mel[:, :_NUM_FRAMES]
        return padded

    def _decode(
        self,
        features: npt.NDArray[np.float32],
        sounds: Sequence[npt.NDArray[Any]],
        decodings: Sequence[Decoding],
    ) -> list[Transcription]:
        from faster_whisper.transcribe import get_compression_ratio, get_suppressed_tokens

        try:
            encoded = self._whisper.encode(features)
            tokenizers = self._tokenizers_for(encoded, decodings)
            how = decodings[0]
            results = self._whisper.model.generate(
                encoded,
                [self._prompt(tokenizer, how) for tokenizer in tokenizers],
                beam_size=how.beam_size,
                max_length=_MAX_TOKENS,
                suppress_tokens=list(get_suppressed_tokens(tokenizers[0], [-1])),
                return_scores=True,
                return_no_speech_prob=True,
                sampling_temperature=0.0,
                no_repeat_ngram_size=how.no_repeat_tokens,
            )
            durations = [len(sound) / SAMPLE_RATE for sound in sounds]
            parts = [
                _split(result.sequences_ids[0], tokenizer.timestamp_begin, duration)
                for result, tokenizer, duration in zip(results, tokenizers, durations, strict=True)
            ]
            if how.word_times:
                self._add_words(parts, tokenizers, encoded, durations)
        except (RuntimeError, ValueError) as exc:  # what CTranslate2 raises
            raise model_failure(f"model {self._name} failed", exc, "is it a Whisper model?") from exc
        transcriptions = []
        for result, tokenizer, part in zip(results, tokenizers, parts, strict=True):
            tokens = result.sequences_ids[0]
            # The score is a mean over the tokens; with the end of text there is one more of them.
            logprob = result.scores[0] * len(tokens) / (len(tokens) + 1)
            ratio = get_compression_ratio(tokenizer.decode(tokens).strip())
            spans = tuple(_span(piece, tokenizer, how.word_times) for piece in part)
            transcriptions.append(
                Transcription(
                    spans, tokenizer.language_code, float(logprob), float(result.no_speech_prob), ratio
                )
            )
        return transcriptions

    def _tokenizers_for(self, encoded: Any, decodings: Sequence[Decoding]) -> list[Tokenizer]:
        """A tokenizer for each row's language; the languages not given are detected, all in one call."""
        languages = [decoding.language for decoding in decodings]
        if not self._whisper.model.is_multilingual:
            languages = ["en"] * len(languages)
        elif not all(languages):
            detected = self._whisper.model.detect_language(encoded)
            languages = [
                given or best[0][0].strip("<|>") for given, best in zip(languages, detected, strict=True)
            ]
        return [self._tokenizer(language, decodings[0].task) for language in languages]

    def _tokenizer(self, language: str, task: str) -> Tokenizer:
        from faster_whisper.tokenizer import Tokenizer

        if (language, task) not in self._tokenizers:
            tokens = self._whisper.hf_tokenizer
            if self._whisper.model.is_multilingual and tokens.token_to_id(f"<|{language}|>") is None:
                raise ModelError(
                    f"model {self._name} knows no language {language!r}; choose another of either"
                )
            self._tokenizers[language, task] = Tokenizer(
                tokens, self._whisper.model.is_multilingual, task=task, language=language
            )
        return self._tokenizers[language, task]

    def _prompt(self, tokenizer: Tokenizer, how: Decoding) -> list[int]:
        before = tokenizer.encode(how.initial_prompt) if how.initial_prompt else []
        prompt: list[int] = self._whisper.get_prompt(tokenizer, before, hotwords=how.hotwords or None)
        return prompt

    def _add_words(
        self,
        parts: Sequence[list[dict[str, Any]]],
        tokenizers: Sequence[Tokenizer],
        encoded: Any,
        durations: Sequence[float],
    ) -> None:
        from faster_whisper import WhisperModel

        num_frames: Any = [ceil(duration) * _FRAMES_PER_SECOND for duration in durations]
        for tokenizer in {id(t): t for t in tokenizers}.values():
            # One call aligns rows of one language; the few rows of another are aligned for nothing.
            texts: Any = [
                [token for piece in part for token in piece["tokens"] if token < tokenizer.eot]
                for part in parts
            ]
            aligned = self._whisper.find_alignment(tokenizer, texts, encoded, num_frames)
            for row, part in enumerate(parts):
                if tokenizers[row] is tokenizer and part:
                    # Row by row, as for the first passage of a file: no row looks at the one before it.
                    known: Any = _Aligned([aligned[row]])
                    WhisperModel.add_word_timestamps(
                        known, [part], tokenizer, None, 0, _BEFORE_WORDS, _AFTER_WORDS, 0.0
                    )


class _Aligned:
    """Gives faster-whisper's refinement of word times an alignment that is there already."""

    frames_per_second = _FRAMES_PER_SECOND

    def __init__(self, alignments: list[Any]) -> None:
        self._alignments = alignments

    def find_alignment(self, *asked: Any) -> list[Any]:
        return self._alignments


def _split(tokens: list[int], first_time: int, duration: float) -> list[dict[str, Any]]:
    """Pieces of a passage between its time tokens, in the form that faster-whisper's word times take.

    Text runs from one time token to the next; where one piece ends and another starts, two stand side by
    side. Text after the last time token runs to the passage's end.
    """
    cuts = [i for i in range(1, len(tokens)) if tokens[i - 1] >= first_time and tokens[i] >= first_time]
    edges = [0, *cuts, len(tokens)] if cuts else [0, len(tokens)]
    pieces = []
    for start, end in pairwise(edges):
        part = tokens[start:end]
        times = [(token - first_time) * _TOKEN_SECONDS for token in part if token >= first_time]
        if cuts:
            begin = times[0] if part[0] >= first_time else 0.0
            finish = times[-1] if part[-1] >= first_time and len(times) > 1 else duration
        else:
            begin, finish = 0.0, (times[-1] if times and times[-1] > 0 else duration)
        pieces.append({"start": begin, "end": finish, "tokens": part, "seek": 0})
    # A lone time token at the end means that nobody speaks after it.
    return [p for p in pieces if any(token < first_time for token in p["tokens"])]  # type: ignore[attr-defined]


def _span(piece: Mapping[str, Any], tokenizer: Tokenizer, word_times: bool) -> Span:
    words = tuple(
        Word(float(w["start"]), float(w["end"]), w["word"].strip(), float(w["probability"]))
        for w in piece.get("words", ())
        if w["word"].strip()
    )
    text = tokenizer.decode(piece["tokens"]).strip()
    return Span(float(piece["start"]), float(piece["end"]), text, words if word_times else None)


def open_whisper(
    entry: ModelEntry, path: Path, threads: int, require: str = ""
) -> tuple[Model, SessionReport]:
    """Opens a Whisper folder on a GPU where CTranslate2 finds one, else on the CPU.

    Args:
        entry, threads, require: as for `session.open_model`; only `cuda` and `cpu` can be required.
        path: folder with the files that `framemill.models.folders.FAMILIES` lists.

    Raises:
        ProviderError: the required provider is not there.
        ModelError: the folder is no Whisper model, or faster-whisper is not installed.
    """
    try:
        import ctranslate2
        from faster_whisper import WhisperModel
    except ImportError as exc:
        raise ModelError(f"faster-whisper is not usable ({exc}); install the extra `cpu` or `gpu`") from exc
    attempts = []
    cuda.wait_asleep()  # sets the driver up before CTranslate2 does
    num_devices = ctranslate2.get_cuda_device_count()
    for provider in (require,) if require else ("cuda", "cpu"):
        if provider == "cpu":
            # Eight-bit weights are the fastest on a CPU, whatever the folder holds.
            device, compute, max_batch, side_by_side = "cpu", "int8", 1, max(threads, 1)
            _keep_large_blocks()
        elif provider == "cuda" and num_devices and (problem := _prepare_cuda(path)):
            attempts.append((provider, problem))
            continue
        elif provider == "cuda" and num_devices:
            device, compute, max_batch, side_by_side = "cuda", "float16", GPU_BATCH, 0
        else:
            reason = "no CUDA device" if provider == "cuda" else "CTranslate2 does not know it"
            attempts.append((provider, reason))
            continue
        try:
            with holding(path) as folder:
                whisper = WhisperModel(
                    str(folder),
                    device=device,
                    compute_type=compute,
                    cpu_threads=1,
                    num_workers=side_by_side or 1,
                )
        except ModelError:
            raise  # what was checked is not there any more, for no provider
        except Exception as exc:  # of any class: what CTranslate2 and the tokenizer raise
            attempts.append((provider, str(exc)[:300]))
            continue
        num_mels = len(whisper.feature_extractor.mel_filters)
        if num_mels != whisper.model.n_mels:
            raise ModelError(
                f"model {entry.name}: the network takes {whisper.model.n_mels} mel bands, its files say "
                f"{num_mels}; put the preprocessor_config.json of the network beside model.bin"
            )
        attempts.append((provider, "ok"))
        precision = "fp16" if compute == "float16" else compute
        report = SessionReport(
            entry.name, provider, tuple(attempts), {}, max_batch, f"CTranslate2, {compute}", precision
        )
        return Model(entry, WhisperRunner(entry.name, whisper, max_batch, side_by_side)), report
    tried = "; ".join(f"{provider}: {reason}" for provider, reason in attempts)
    if require and require != "cpu":
        raise ProviderError(
            f"model {entry.name} must run on {require}, but {tried}; require cuda, cpu or none"
        )
    raise ModelError(f"model {entry.name}: {path} cannot be opened ({tried}); is it a whole Whisper folder?")


def _prepare_cuda(path: Path) -> str:
    """Loads the cuBLAS that CTranslate2 needs and limits its memory, before its first use of the device.

    Returns:
        Why the model cannot run there; empty where it can.
    """
    problem = cuda.load_cublas_for_ctranslate2()
    if problem:
        return problem
    gpus = cuda.find_gpus()
    limit = plan_memory(gpus[0].memory_bytes).ctranslate2 if gpus else 0
    # Half precision on the device; then as much again for a batch's activations and beams.
    wanted = 2 * sum(file.stat().st_size for file in path.glob("model.bin"))
    if limit and wanted > limit:
        return f"needs about {wanted} bytes of device memory, but its part is {limit}"
    if limit:
        # Growth, least and greatest bin as by default; then the bytes that it may keep for reuse.
        os.environ.setdefault("CT2_CUDA_CACHING_ALLOCATOR_CONFIG", f"4,3,12,{limit - wanted // 2}")
    return ""


def _keep_large_blocks() -> None:
    """Tells glibc to keep freed blocks of up to 1 GB instead of giving them back to the system.

    Attention over 30 s takes blocks beyond the 32 MB up to which glibc learns to keep them, and each fresh
    page costs a fault. Measured: 118 ms of CPU time a passage before, 60 ms after. Padding keeps the heaps of
    threads, which glibc would drop whenever they are empty.
    """
    M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        for parameter, num_bytes in (
            (M_TRIM_THRESHOLD, 1 << 30),
            (M_TOP_PAD, 1 << 27),
            (M_MMAP_THRESHOLD, 1 << 30),
        ):
            libc.mallopt(parameter, num_bytes)
