"""Exports: what a subtitle library reads back, names, hostile text, and what is missing."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from framemill.cluster.cli.main import main
from framemill.cluster.exports import speech, speech_rows
from framemill.cluster.exports.naming import Exported
from framemill.cluster.exports.speech import export_speech
from framemill.cluster.results import parts
from framemill.cluster.results.commits import Commit
from framemill.cluster.results.compaction import compact
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.packed import Entry, SourceRecord
from framemill.cluster.results.parts import write_part
from framemill.errors import DatasetError, UsageError
from framemill.ops.audio.speakers import Speakers
from framemill.ops.audio.transcript import Transcript

ID = "a1" * 16
OTHER = ID[:20] + "ff" * 6
SEGMENTS = [(0.5, 2.25, "And so, my fellow Americans:"), (3661.001, 3662.0, "größer ist  nicht\nimmer 更好")]


def export(root: Path, form: str, folder: Path, **options: Any) -> list[Exported]:
    written, refused = export_speech(root, form, folder, **options)
    assert not refused
    return written


def segment(start: float, end: float, text: str) -> dict[str, Any]:
    return {
        "segment_index": 0,
        "start_seconds": start,
        "end_seconds": end,
        "text": text,
        "language": "en",
        "origin": "speech",
        "avg_logprob": -0.1,
        "no_speech_prob": 0.0,
        "words": [{"start_seconds": start, "end_seconds": end, "text": "And", "probability": 0.5}],
    }


def add(dataset: Dataset, source_id: str, uri: str, table: str, rows: list[dict[str, Any]]) -> None:
    schema = {"transcript": Transcript.schema, "speakers": Speakers.schema}[table]
    content = pa.Table.from_pylist(rows, schema=schema)
    content = content.add_column(0, "source_id", pa.array([source_id] * len(rows), pa.string()))
    part = write_part(dataset.root, table, [content], run_id="r", seed=[source_id])
    dataset.commit(
        Commit(
            run_id="r",
            entries=(Entry(table, source_id, "k", rows=len(rows)),),
            sources=(SourceRecord(uri, source_id, 1, 1, 1.0),),
            parts=() if part is None else (part,),
            keys={table: {"digest": "k"}},
        )
    )


def results(root: Path, *sources: tuple[str, str, str, list[dict[str, Any]]]) -> Path:
    dataset = Dataset.open(root, create=True)
    with dataset.hold("r"):
        for source in sources:
            add(dataset, *source)
    return root


def spoken(*segments: tuple[float, float, str]) -> list[dict[str, Any]]:
    return [segment(*values) for values in segments]


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    return results(tmp_path / "out", (ID, "/films/My talk.mp4", "transcript", spoken(*SEGMENTS)))


def test_srt_says_what_was_said_when(talk: Path, tmp_path: Path) -> None:
    (written,) = export(talk, "srt", tmp_path / "subs")
    assert Path(written.path).name == "My talk.srt" and written.uri == "/films/My talk.mp4"
    assert Path(written.path).read_text("utf-8") == (
        "1\n00:00:00,500 --> 00:00:02,250\nAnd so, my fellow Americans:\n\n"
        "2\n01:01:01,001 --> 01:01:02,000\ngrößer ist nicht\nimmer 更好\n"
    )


@pytest.mark.parametrize("form", ["srt", "vtt"])
def test_a_subtitle_library_reads_the_same_back(talk: Path, tmp_path: Path, form: str) -> None:
    pysubs2 = pytest.importorskip("pysubs2")
    (written,) = export(talk, form, tmp_path)
    events = pysubs2.load(written.path, encoding="utf-8").events
    assert [(e.start, e.end, e.plaintext) for e in events] == [
        (500, 2250, "And so, my fellow Americans:"),
        (3661001, 3662000, "größer ist nicht\nimmer 更好"),
    ]


def test_hostile_text_stays_one_cue(tmp_path: Path) -> None:
    texts = (
        "one\n\n2\n00:00:09,000 --> 00:00:10,000\nforged",
        "<script>alert(1)</script> & <v Eve>x",
        "\x1b[31mred\u202e\x00\r\n",
        "\n \n",
    )
    rows = spoken(*((float(i), float(i), text) for i, text in enumerate(texts)))
    out = results(tmp_path / "out", (ID, "x.mp4", "transcript", rows))
    (srt,) = export(out, "srt", tmp_path)
    content = Path(srt.path).read_text("utf-8")
    assert content.count("-->") == 3 and len(re.findall(r"(?m)^\d+$", content)) == 3
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", content)
    assert "00:00:01,000 --> 00:00:01,001" in content
    (vtt,) = export(out, "vtt", tmp_path)
    content = Path(vtt.path).read_text("utf-8")
    assert content.startswith("WEBVTT\n\n") and content.count("-->") == 3
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; &lt;v Eve&gt;x" in content and "<" not in content


# A joiner of Persian, one of emoji, a soft hyphen, direction marks, and spaces that are fixed or wide.
KEPT = "می\u200cشک 👩\u200d🚀 Donau\u00addampf \u200fשבת\u200f 10\u00a0000 東京\u3000都"


@pytest.mark.parametrize("form", ["srt", "vtt", "txt", "json"])
def test_characters_that_do_not_show_are_part_of_the_text(tmp_path: Path, form: str) -> None:
    rows = spoken((0.0, 1.0, f"\u0085{KEPT}\u2028\x9b{KEPT}\t"))
    out = results(tmp_path / "out", (ID, "x.mp4", "transcript", rows))
    whole = {"line_width": 0} if form in ("srt", "vtt") else {}
    (written,) = export(out, form, tmp_path, **whole)
    content = Path(written.path).read_text("utf-8")
    if form == "json":
        assert json.loads(content)["segments"][0]["text"] == rows[0]["text"]
    else:
        assert f"{KEPT} {KEPT}\n" in content


def test_subtitles_of_the_file_go_into_files_of_their_own(tmp_path: Path) -> None:
    def cue(start: float, text: str, stream: int, language: str) -> dict[str, Any]:
        return {
            **segment(start, start + 2, text),
            "origin": "subtitles",
            "stream_index": stream,
            "language": language,
            "words": None,
            "avg_logprob": None,
            "no_speech_prob": None,
        }

    rows = [
        *({**row, "stream_index": 1} for row in spoken((0, 1, "heard"))),
        cue(0, "one\ntwo", 2, "eng"),
        cue(1, "7", 2, "eng"),
        cue(0, "eins", 3, "../x"),
    ]
    out = results(tmp_path / "out", (ID, "film.mp4", "transcript", rows))
    names = {
        Path(file.path).name: Path(file.path).read_text("utf-8")
        for file in export(out, "txt", tmp_path / "t")
    }
    assert names == {"film.txt": "heard\n", "film.en.txt": "one two\n7\n", "film.und.txt": "eins\n"}
    srt = {Path(file.path).name: Path(file.path).read_text("utf-8") for file in export(out, "srt", tmp_path)}
    assert srt["film.en.srt"] == (
        "1\n00:00:00,000 --> 00:00:02,000\none\ntwo\n\n2\n00:00:01,000 --> 00:00:03,000\n7\n"
    ), "overlapping cues stay"
    (document,) = export(out, "json", tmp_path)
    segments = json.loads(Path(document.path).read_text("utf-8"))["segments"]
    assert {(s["origin"], s["stream_index"]) for s in segments} == {
        ("speech", 1),
        ("subtitles", 2),
        ("subtitles", 3),
    }


def test_names_are_those_of_the_sources_but_safe_and_unique(tmp_path: Path) -> None:
    rows = spoken((0, 1, "hello"))
    out = results(
        tmp_path / "out",
        (ID, "/a/../../etc/pass wd.mp4", "transcript", rows),
        (OTHER, "/clips/Pass wd.mov", "transcript", rows),
        ("b2" * 16, "s3://bucket/-rf \n更\u202e.x.mp4", "transcript", rows),
        ("c3" * 16, "/a/..hidden.mp4", "transcript", rows),
        ("d4" * 16, f"/a/{'更' * 80}.mp4", "transcript", rows),
        ("e5" * 16, "C:\\clips\\Ωmega (1) [hd].mkv", "transcript", rows),
    )
    folder = tmp_path / "subs"
    written = export(out, "txt", folder)
    names = sorted(path.name for path in folder.iterdir())
    assert sorted(Path(file.path).name for file in written) == names
    assert set(names) == {
        f"pass wd-{ID[:21]}.txt",
        f"Pass wd-{OTHER[:21]}.txt",
        "-rf _更_.x.txt",
        "hidden.txt",
        f"{'更' * 66}.txt",
        "C:_clips_Ωmega (1) [hd].txt",
    }
    assert {path.read_text("utf-8") for path in folder.iterdir()} == {"hello\n"}


def test_tsv_counts_milliseconds_and_a_tab_in_the_text_opens_no_column(tmp_path: Path) -> None:
    rows = spoken((0.5, 2.2504, "one\ttwo\nthree"), (3.0, 4.0, " \t"), (3661.001, 3662.0, "größer"))
    root = results(tmp_path / "out", (ID, "/films/talk.mp4", "transcript", rows))
    (tsv,) = export(root, "tsv", tmp_path)
    assert Path(tsv.path).read_bytes().decode() == (
        "start\tend\ttext\n500\t2250\tone two three\n3661001\t3662000\tgrößer\n"
    )


def test_speakers_go_to_rttm_and_json_holds_both(talk: Path, tmp_path: Path) -> None:
    turns = [
        {"start_seconds": 0.5, "end_seconds": 2.0, "speaker": "speaker_0"},
        {"start_seconds": 1.75, "end_seconds": 3.0, "speaker": "speaker_1"},
    ]
    results(talk, (ID, "/films/My talk.mp4", "speakers", turns))
    (rttm,) = export(talk, "rttm", tmp_path)
    assert Path(rttm.path).read_text("utf-8").splitlines() == [
        "SPEAKER My_talk 1 0.500 1.500 <NA> <NA> speaker_0 <NA> <NA>",
        "SPEAKER My_talk 1 1.750 1.250 <NA> <NA> speaker_1 <NA> <NA>",
    ]
    (document,) = export(talk, "json", tmp_path)
    content = json.loads(Path(document.path).read_text("utf-8"))
    assert content["source_id"] == ID and content["uris"] == ["/films/My talk.mp4"]
    assert content["speakers"] == turns
    assert [s["text"] for s in content["segments"]] == [text for _, _, text in SEGMENTS]
    assert content["segments"][0]["words"][0]["text"] == "And"


def test_the_command_writes_files_and_says_which(
    talk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(talk), "--format", "vtt", "-o", str(tmp_path / "subs"), "--json"]) == 0
    (file,) = json.loads(capsys.readouterr().out)
    assert file["source_id"] == ID and Path(file["path"]).is_file()
    # Again, over what is there; no half-written file is left.
    assert main(["export", str(talk), "--format", "vtt", "-o", str(tmp_path / "subs")]) == 0
    assert [path.name for path in (tmp_path / "subs").iterdir()] == [Path(file["path"]).name]


def test_what_is_missing_is_named(talk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match=r"has no table speakers: extract it first, .* --ops speakers"):
        export(talk, "rttm", tmp_path)
    with pytest.raises(UsageError, match="unknown format 'sub'; known of speech: srt"):
        export(talk, "sub", tmp_path)
    (tmp_path / "taken").write_text("")
    with pytest.raises(UsageError, match=r"cannot be written .*: choose another folder"):
        export(talk, "srt", tmp_path / "taken")
    assert main(["export", str(talk), "--format", "rttm", "-o", str(tmp_path)]) == 2
    assert "extract it first" in capsys.readouterr().err
    silent = results(tmp_path / "silent", (ID, "x.mp4", "transcript", []))
    assert main(["export", str(silent), "--format", "srt", "-o", str(tmp_path / "none")]) == 0
    assert "nothing to export" in capsys.readouterr().err


def turn(start: float, end: float, speaker: str) -> dict[str, Any]:
    return {"start_seconds": start, "end_seconds": end, "speaker": speaker}


def corpus(root: Path, num_sources: int, num_rows: int) -> dict[str, str]:
    """One part of each table with many row groups, the speakers in another order: text by source id."""
    said = {f"{i:02x}" * 16: [f"{i} says {k}" for k in range(num_rows)] for i in range(num_sources)}
    rows = [
        (source_id, spoken(*((float(k), k + 0.5, text) for k, text in reversed(list(enumerate(texts))))))
        for source_id, texts in said.items()
    ]
    turns = [(source_id, [turn(0, 1, f"speaker_{source_id[:2]}")]) for source_id in list(said)[::-1][1:]]
    names = [
        (source_id, f"/f/{number:02}.mp4", table, found)
        for table, sources in (("transcript", rows), ("speakers", turns))
        for number, (source_id, found) in enumerate(sources)
    ]
    dataset = Dataset.open(results(root, *names), create=False)
    with dataset.hold("c"):
        compact(dataset, "c")
    return {source_id: "".join(f"{text}\n" for text in texts) for source_id, texts in said.items()}


@pytest.fixture
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "ROW_GROUP_ROWS", 7)


def test_no_more_is_read_than_the_next_source_needs(
    tmp_path: Path, small_groups: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = corpus(tmp_path / "out", 12, 5)
    rows_read, most_ahead, columns = 0, 0, set()
    read, replace = speech_rows.read_groups, speech._replace

    def counting(root: Any, part: Any, wanted: Any) -> Any:
        nonlocal rows_read
        columns.update(wanted)
        for rows in read(root, part, wanted):
            rows_read += rows.num_rows
            yield rows

    written: list[Path] = []

    def watching(path: Path, text: str, **how: Any) -> None:
        nonlocal most_ahead
        written.append(path)
        most_ahead = max(most_ahead, rows_read - 5 * len(written))
        replace(path, text, **how)

    monkeypatch.setattr(speech_rows, "read_groups", counting)
    monkeypatch.setattr(speech, "_replace", watching)
    found = export(tmp_path / "out", "tsv", tmp_path / "tsv")
    assert rows_read == 60 and most_ahead <= 2 * 7
    assert "words" not in columns and "text" in columns
    texts = {file.source_id: Path(file.path).read_text("utf-8").splitlines()[1:] for file in found}
    assert {
        key: "".join(line.split("\t")[2] + "\n" for line in lines) for key, lines in texts.items()
    } == said
    assert [file.uri for file in found] == sorted(file.uri for file in found)


def test_transcripts_and_speakers_meet_whatever_order_they_lie_in(tmp_path: Path, small_groups: None) -> None:
    said = corpus(tmp_path / "out", 9, 3)
    documents = [
        json.loads(Path(f.path).read_text("utf-8")) for f in export(tmp_path / "out", "json", tmp_path)
    ]
    assert {d["source_id"]: "".join(s["text"] + "\n" for s in d["segments"]) for d in documents} == said
    speakers = {d["source_id"]: [s["speaker"] for s in d["speakers"]] for d in documents}
    last = max(said)
    assert speakers == {i: [] if i == last else [f"speaker_{i[:2]}"] for i in said}


def test_parts_that_are_joined_meanwhile_do_no_harm(
    tmp_path: Path, small_groups: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [(f"{i:02x}" * 16, f"{i}.mp4", "transcript", spoken((0, 1, f"text {i}"))) for i in range(6)]
    out = results(tmp_path / "out", *rows)
    replace = speech._replace
    written: list[str] = []

    def joining(path: Path, text: str, **how: Any) -> None:
        replace(path, text, **how)
        written.append(text)
        if len(written) == 2:
            dataset = Dataset.open(out, create=False)
            with dataset.hold("c"):
                assert compact(dataset, "c")

    monkeypatch.setattr(speech, "_replace", joining)
    assert len(export(out, "txt", tmp_path / "txt")) == 6
    assert sorted(written) == [f"text {i}\n" for i in range(6)], "each once"


def test_a_part_that_is_gone_is_an_error(talk: Path, tmp_path: Path) -> None:
    for path in talk.glob("transcript/*.parquet"):
        path.unlink()
    with pytest.raises(DatasetError, match="transcript"):
        export(talk, "srt", tmp_path)
