from __future__ import annotations

from itertools import repeat
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framemill.ops.audio.transcriber import RULES
from framemill.ops.audio.vad import WINDOW, Segment, Segmenter, SegmentRules, SpeechDetector, clean_samples
from framemill.ops.chunks import Audio, Float32Array
from tests.ops.audio.test_speech import read_sound
from tests.ops.stand_ins import OrtRunner, audio_chunks, vad_path


def expected(samples: Float32Array, rules: SegmentRules) -> list[tuple[int, int]]:
    vad = pytest.importorskip("faster_whisper.vad")
    options = vad.VadOptions(
        threshold=rules.threshold,
        neg_threshold=rules.end_threshold,
        min_speech_duration_ms=rules.min_speech_seconds * 1000,
        max_speech_duration_s=rules.max_speech_seconds,
        min_silence_duration_ms=rules.min_silence_seconds * 1000,
        speech_pad_ms=rules.padding_seconds * 1000,
    )
    return [(s["start"], s["end"]) for s in vad.get_speech_timestamps(samples.copy(), options)]


def stream(samples: Float32Array, rules: SegmentRules, size: int = 64_000) -> list[Segment]:
    """Segments as they close; none may start before what was called the oldest sample still needed."""
    pytest.importorskip("faster_whisper")
    detector, segmenter, found, oldest = SpeechDetector(OrtRunner(vad_path())), Segmenter(rules), [], 0
    for chunk in audio_chunks(samples, repeat(size)):
        for probability in detector.feed(clean_samples(chunk)):
            segmenter.push(probability)
        new = segmenter.take()
        assert all(segment.start >= oldest for segment in new)
        found += new
        oldest = segmenter.oldest
    for probability in detector.finish():
        segmenter.push(probability)
    return found + segmenter.finish(len(samples))


@pytest.mark.parametrize("max_seconds", [30.0, 5.0, 2.0])
@pytest.mark.parametrize("name", ["whisper_words/long_3.flac", "jfk.flac", "pyannote_sample.wav"])
def test_long_speech_is_cut_where_faster_whisper_cuts_it(
    media_dir: Path, name: str, max_seconds: float
) -> None:
    samples = read_sound(media_dir / "audio" / name)
    rules = SegmentRules(
        threshold=0.5,
        end_threshold=0.35,
        min_silence_seconds=0.16,
        min_speech_seconds=0.0,
        padding_seconds=0.4,
        max_speech_seconds=max_seconds,
    )
    wanted = expected(samples, rules)
    found = [(s.start, s.end) for s in stream(samples, rules)]
    assert len(found) == len(wanted) > 0
    assert np.abs(np.array(found) - np.array(wanted)).max() <= 1


def test_words_after_minutes_of_silence_begin_where_they_do_alone(media_dir: Path) -> None:
    before, words = (read_sound(media_dir / f"audio/whisper_words/en_{n}.flac") for n in ("03", "02"))
    silence = np.zeros(300 * 16_000, np.float32)
    alone = stream(words, RULES)
    late = stream(np.concatenate([before, silence, words]), RULES)
    late = [segment for segment in late if segment.start > len(before)]
    offset = len(before) + len(silence)
    assert late[0].speech_start - offset == pytest.approx(alone[0].speech_start, abs=0.1 * 16_000)
    assert late[-1].speech_end - offset == pytest.approx(alone[-1].speech_end, abs=0.1 * 16_000)


def segments_of(probabilities: list[float], rules: SegmentRules) -> tuple[list[Segment], list[Segment]]:
    """All segments given as they settle, and all given at the end."""
    early, late = Segmenter(rules), Segmenter(rules)
    found: list[Segment] = []
    for probability in probabilities:
        early.push(probability)
        found += early.take()
        late.push(probability)
    length = WINDOW * len(probabilities)
    return found + early.finish(length), late.finish(length)


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.sampled_from([0.0, 0.4, 0.9]), max_size=400),
    st.sampled_from([0.0, 0.03, 0.4]),
    st.sampled_from([0.0, 0.25]),
    st.sampled_from([1.5, 4.0, 30.0]),
)
def test_what_is_given_early_never_changes(
    probabilities: list[float], padding: float, shortest: float, longest: float
) -> None:
    rules = SegmentRules(
        threshold=0.5,
        end_threshold=0.35,
        min_silence_seconds=0.16,
        min_speech_seconds=shortest,
        padding_seconds=padding,
        max_speech_seconds=longest,
    )
    early, late = segments_of(probabilities, rules)
    assert early == late
    assert all(s.end - s.start <= longest * 16_000 for s in early)
    edges = [edge for s in early for edge in (s.start, s.end)]
    assert edges == sorted(edges)
    assert all(0 <= s.probability <= 1 for s in early)


def test_damaged_samples_are_silenced() -> None:
    samples = np.array([0.5, np.nan, np.inf, -1e30, -2.0], np.float32)
    cleaned = clean_samples(Audio(0, samples, 16_000))
    assert cleaned.tolist() == [0.5, 0.0, 0.0, 0.0, -2.0]
    with pytest.raises(ValueError, match="44100"):
        clean_samples(Audio(0, samples, 44_100))


def test_the_rules_of_transcripts_fit_a_passage() -> None:
    early, _ = segments_of([0.9] * 4000, RULES)
    assert len(early) > 3
    assert max(s.end - s.start for s in early) <= 30 * 16_000
