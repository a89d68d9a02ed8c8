"""Words are found where they stand, however they are typed, with time and origin, and without a model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framemill.cluster.cli.main import main
from framemill.cluster.corpus.folding import fold
from framemill.cluster.corpus.word_search import Found, find_words
from framemill.cluster.results.commits import Commit
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.packed import Entry, SourceRecord
from framemill.cluster.results.parts import write_part
from framemill.errors import UsageError
from framemill.ops.audio.transcript import Transcript


def said(*segments: tuple[float, str], source: str = "s", origin: str = "speech", **more: Any) -> pa.Table:
    rows = [
        {
            "segment_index": n,
            "start_seconds": start,
            "end_seconds": start + 1,
            "text": text,
            "language": "en",
            "origin": origin,
            **more,
        }
        for n, (start, text) in enumerate(segments)
    ]
    table = pa.Table.from_pylist(rows, schema=Transcript.schema)
    return table.add_column(0, "source_id", pa.array([source] * len(rows), pa.string()))


def on_screen(*lines: tuple[float, str], source: str = "s") -> pa.Table:
    rows = [
        {"source_id": source, "pts_seconds": at, "text_index": n, "text": t}
        for n, (at, t) in enumerate(lines)
    ]
    return pa.Table.from_pylist(rows)


def look(query: str, top: int = 10, **tables: pa.Table) -> list[Found]:
    uris: Mapping[str, Sequence[str]] = {}
    return find_words({name: pa.dataset.dataset(rows) for name, rows in tables.items()}, query, top, uris)


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("cafe", "Ein Café, bitte."),
        ("CAFÉ", "the cafe\u0301"),
        ("strasse", "die Straße"),
        ("don't", "I don\u2019t know"),
        ("dont", "I don't know"),
        ("orsted", "Ørsted"),
        ("istanbul", "İSTANBUL"),
        ("twenty one", "twenty-one"),
        ("東京", "今日は東京です"),
        ("ﬁlm", "Film"),
        ("Йод", "йод"),
        ("हिन्दी", "यह हिन्दी है"),
        ("3", "Apollo 3, 2, 1"),
    ],
)
def test_words_are_found_however_they_are_written(query: str, text: str) -> None:
    assert [found.text for found in look(query, transcript=said((1.0, text)))] == [text]


@pytest.mark.parametrize(
    ("query", "text"),
    [("art", "start"), ("cat", "the category"), ("हिन्दी", "हन्दा"), ("京東", "東京"), ('"b a"', "a b")],
)
def test_parts_of_words_and_other_words_are_not_found(query: str, text: str) -> None:
    assert look(query, transcript=said((1.0, text))) == []


def test_a_phrase_goes_on_over_the_end_of_a_segment_but_not_into_another_stream() -> None:
    speech = said((5.0, "that's one small"), (6.0, "step for man"), (1.0, "step"))
    (found,) = look('"one small step"', transcript=speech)
    assert (found.pts_seconds, found.text, found.origin) == (5.0, "that's one small step for man", "speech")
    subtitles = said((1.0, "one small"), origin="subtitles", stream_index=2)
    others = said((2.0, "step"), origin="subtitles", stream_index=3)
    assert look('"one small step"', transcript=pa.concat_tables([subtitles, others])) == []
    after_a_pause = said((1.0, "one small"), (60.0, "step"))
    assert look('"one small step"', transcript=after_a_pause) == []


def test_words_side_by_side_come_before_words_apart_and_all_have_to_be_there() -> None:
    rows = said((1.0, "module of the lunar kind"), (9.0, "a lunar module"), (20.0, "lunar"), (30.0, "module"))
    assert [(found.pts_seconds, found.score) for found in look("lunar module", transcript=rows)] == [
        (9.0, 1.0),
        (1.0, 0.5),
    ]
    assert [found.pts_seconds for found in look('"lunar module"', transcript=rows)] == [9.0]
    assert len(look("lunar module", top=1, transcript=rows)) == 1


def test_the_time_is_that_of_the_word_where_it_is_known() -> None:
    words = [
        {"start_seconds": 3.0 + n, "end_seconds": 3.5 + n, "text": word}
        for n, word in enumerate(["So,", "we", "go"])
    ]
    assert look("we", transcript=said((3.0, "So, we go"), words=words))[0].pts_seconds == 4.0
    assert look("we", transcript=said((3.0, "So then we go"), words=words))[0].pts_seconds == 3.0


def test_lines_on_screen_at_one_moment_belong_together_and_what_stays_is_told_once() -> None:
    lines = on_screen(
        (1.0, "GRAND"), (1.0, "Opening"), (2.0, "GRAND"), (2.0, "Opening"), (3.0, "x"), (4.0, "grand")
    )
    assert [(f.pts_seconds, f.text, f.origin) for f in look("grand opening", text=lines)] == [
        (1.0, "GRAND Opening", "screen")
    ]
    assert [f.pts_seconds for f in look("grand", text=lines)] == [1.0, 4.0]
    spans = pa.table({"source_id": ["s"], "start_seconds": [1.5], "text": ["Grand"]})
    assert [(f.table, f.pts_seconds) for f in look("grand", text=lines, text_spans=spans)] == [
        ("text_spans", 1.5)
    ]


def test_a_query_without_words_is_refused() -> None:
    with pytest.raises(UsageError, match="holds no word"):
        look('"..." !', transcript=said((1.0, "a")))


@settings(deadline=None)
@given(st.text(max_size=30))
def test_folding_what_is_folded_changes_nothing(text: str) -> None:
    words = fold(text)
    assert fold(" ".join(words)) == words


def test_the_command_finds_words_without_any_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FRAMEMILL_MODEL_MIRROR", "FRAMEMILL_CACHE_DIR", "FRAMEMILL_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "nothing"))
    dataset = Dataset.open(tmp_path / "out", create=True)
    speech = said((7.5, "Der Müller\nmahlt"), origin="subtitles", stream_index=1)
    with dataset.hold("r"):
        part = write_part(dataset.root, "transcript", [speech], run_id="r", seed=["s"])
        assert part is not None
        unknown = {"digest": "l", "models": {"image_embeddings": "clip:0:0:0"}}
        dataset.commit(
            Commit(
                run_id="r",
                entries=(Entry("transcript", "s", "k", rows=1),),
                parts=(part,),
                sources=(SourceRecord("/v/mill.mkv", "s", 1, 1, 9.0),),
                keys={"transcript": {"digest": "k"}},
            )
        )
    out = str(dataset.root)
    assert main(["search", out, "MULLER mahlt", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [
        {
            "uri": "/v/mill.mkv", "pts_seconds": 7.5, "score": 1.0, "table": "transcript",
            "text": "Der Müller mahlt", "origin": "subtitles", "by": "words",
        }
    ]  # fmt: skip
    assert main(["search", out, "nothing"]) == 0
    assert capsys.readouterr() == (
        "",
        "nothing found in transcript (1 file); --ops text_spans,image_embeddings would add to it\n",
    )
    # Vectors that no model here fits take nothing away, and it is said.
    with dataset.hold("s"):
        dataset.commit(Commit(run_id="s", keys={"image_embeddings": unknown}))
    assert main(["search", out, "müller"]) == 0
    shown, told = capsys.readouterr()
    assert "mill.mkv" in shown and told.startswith("looked for the words alone")
    assert main(["search", out, "müller", "--in", "frames"]) == 5
