"""Speech that a recogniser leaves out when it stops early, and passages on both sides of a long pause."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from framemill.models.transcription import Decoding, Span, Transcription
from framemill.ops.audio import transcriber
from tests.ops.audio.speech_stand_ins import WhisperStandIn
from tests.ops.audio.test_transcript import SECOND, num_wrong, talk, transcribe


def test_what_the_model_left_is_decoded_again_in_the_passages_language() -> None:
    """It writes down 4 s of 20 at a time, as one that stops early does, and then nothing."""
    lengths: list[float] = []

    def answer(num_samples: int, decoding: Decoding) -> Transcription:
        lengths.append(num_samples / SECOND)
        spans = (Span(0.0, 4.0, f"part {len(lengths)}", None),) if len(lengths) <= 3 else ()
        return Transcription(spans, decoding.language or "de", -0.2, 0.1, 1.0)

    whisper = WhisperStandIn(answer)
    rows = transcribe(talk(1), whisper, word_timestamps=False).to_pylist()
    assert lengths == pytest.approx([20.4, 16.4, 12.4, 8.4], abs=0.1)
    assert [d.language for call in whisper.calls for d in call] == ["", "de", "de", "de"]
    assert [row["text"] for row in rows] == ["part 1", "part 2", "part 3"]
    assert [row["start_seconds"] for row in rows] == pytest.approx([0.0, 4.0, 8.0], abs=0.05)
    assert [row["unheard_seconds"] for row in rows] == pytest.approx([0, 0, 8.0], abs=0.1)


def test_what_is_left_of_many_passages_is_decoded_together() -> None:
    def answer(num_samples: int, decoding: Decoding) -> Transcription:
        text = "first" if num_samples > 16 * SECOND else "rest"
        return Transcription((Span(0.0, 15.0, text, None),), "en", -0.2, 0.1, 1.0)

    whisper = WhisperStandIn(answer)
    table = transcribe(talk(3), whisper, word_timestamps=False, language="en")
    assert [len(call) for call in whisper.calls] == [3, 3]
    assert table["text"].to_pylist() == ["first", "rest"] * 3
    assert table["start_seconds"].to_pylist() == sorted(table["start_seconds"].to_pylist())
    assert table["unheard_seconds"].to_pylist() == [0.0] * 6


def test_a_model_that_does_not_get_on_is_not_asked_for_ever() -> None:
    def answer(num_samples: int, decoding: Decoding) -> Transcription:
        return Transcription((Span(0.0, 0.02, "the", None),), "en", -0.2, 0.1, 1.0)

    whisper = WhisperStandIn(answer)
    rows = transcribe(talk(1), whisper, word_timestamps=False).to_pylist()
    assert len(whisper.calls) == 1 and [row["text"] for row in rows] == ["the"]
    assert rows[0]["unheard_seconds"] == pytest.approx(20.0, abs=0.1)


def test_a_passage_without_words_is_told_by_the_row_before_it() -> None:
    answers = iter([True, False, False, True])

    def answer(num_samples: int, decoding: Decoding) -> Transcription:
        spans = (Span(0.0, 30.0, "words", None),) if next(answers) else ()
        return Transcription(spans, "en", -0.2, 0.1, 1.0)

    table = transcribe(talk(4), WhisperStandIn(answer), word_timestamps=False, language="en")
    assert table["unheard_seconds"].to_pylist() == pytest.approx([40.0, 0.0], abs=0.2)


def test_a_passage_without_words_is_not_decoded_again() -> None:
    whisper = WhisperStandIn(lambda *_: Transcription((), "en", -0.2, 0.1, 1.0))
    assert transcribe(talk(2), whisper, language="en").num_rows == 0
    assert [len(call) for call in whisper.calls] == [2]


def test_each_side_of_a_long_pause_has_its_language(clips: dict[str, Any], whisper: Any, vad: Any) -> None:
    """Short enough that both would fit one passage."""
    first, second = (clips[name] for name in ("en_03.flac", "de_01.flac"))
    pause = np.zeros(7 * SECOND, np.float32)
    samples = np.concatenate([first["samples"], pause, second["samples"]])
    rows = transcribe(samples, whisper, vad, language="each").to_pylist()
    late = (len(first["samples"]) + len(pause)) / SECOND
    for language, clip in (("en", first), ("de", second)):
        ours = [row for row in rows if (row["start_seconds"] > late) == (language == "de")]
        assert {row["language"] for row in ours} == {language}
        assert " ".join(row["text"] for row in ours).split() == clip["text"].split()


@pytest.mark.slow
def test_words_said_more_quietly_are_not_lost(
    clips: dict[str, Any], whisper: Any, vad: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 40% of their level, one decode of each passage loses more of them."""

    def num_lost() -> int:
        wrong = 0
        for name in ("long_0.flac", "long_1.flac", "long_2.flac", "long_3.flac"):
            rows = transcribe(clips[name]["samples"] * np.float32(0.4), whisper, vad)
            words = " ".join(rows["text"].to_pylist()).split()
            wrong += num_wrong(clips[name]["text"].split(), words)
        return wrong

    again = num_lost()
    monkeypatch.setattr(transcriber, "MIN_LOST_SECONDS", np.inf)
    assert again < num_lost()
