"""Subtitles and speakers read by those who read them: pysubs2, PyAV and a parser of RTTM."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import av
import pysubs2
import pytest
from av.stream import Disposition

from framemill.cluster.cli.main import main
from tests.actors.subtitled import write_subtitled
from tests.cluster.results.hand_made import make_folder

Capture = pytest.CaptureFixture[str]
LONG = (
    "We choose to go to the moon in this decade and do the other things, not because they are easy, "
    "but because they are hard. That goal will serve to organize the best of our energies."
)
SEGMENTS = [
    (0.5, 11.5, LONG),
    (12.0, 13.0, "{\\an8\\p1}<b>C:\\of old & new</b> --> 7"),
    (13.0, 15.0, "שלום לכולם, מה שלומכם היום?"),
    (3600.25, 3606.0, "東京都は日本の首都であり、多くの人が住んでいる。"),
]


def spoken(segments: Any = SEGMENTS) -> list[dict[str, Any]]:
    return [
        {
            "segment_index": number, "start_seconds": start, "end_seconds": end, "text": text,
            "language": "en", "origin": "speech", "stream_index": 1,
        }
        for number, (start, end, text) in enumerate(segments)
    ]  # fmt: skip


def held(stream: int, language: str, *texts: str) -> list[dict[str, Any]]:
    return [
        {
            "segment_index": number, "start_seconds": number * 2.0, "end_seconds": number * 2.0 + 3,
            "text": text, "language": language, "origin": "subtitles", "stream_index": stream,
        }
        for number, text in enumerate(texts)
    ]  # fmt: skip


def turn(start: float, end: float, speaker: int) -> dict[str, Any]:
    return {"start_seconds": start, "end_seconds": end, "speaker": f"speaker_{speaker}"}


def make(root: Path, tables: dict[str, list[dict[str, Any]]], uri: str = "/films/A talk.mp4") -> str:
    make_folder(root / "out", {table: {"a" * 32: rows} for table, rows in tables.items()}, {"a" * 32: [uri]})
    return str(root / "out")


def run(root: str, form: str, *more: str, code: int = 0) -> dict[str, str]:
    """Exports into a folder, and answers its files."""
    target = Path(root).parent / form
    assert main(["export", root, "--format", form, "-o", str(target), *more]) == code
    return {path.name: path.read_text("utf-8") for path in target.iterdir()} if target.is_dir() else {}


def plain(text: str) -> str:
    return re.sub(r"[\s\u200e\u200f\u2060]", "", text)


TURNS = [turn(0, 11.6, 0), turn(11.8, 13, 1), turn(13, 16, 0), turn(3600, 3610, 11)]


@pytest.mark.parametrize("form", ["srt", "vtt", "ass"])
@pytest.mark.parametrize("turns", [[], TURNS])
def test_a_subtitle_library_reads_back_who_says_what_and_when(
    tmp_path: Path, form: str, turns: list[dict[str, Any]]
) -> None:
    root = make(tmp_path, {"transcript": spoken(), **({"speakers": turns} if turns else {})})
    ((name, text),) = run(root, form).items()
    assert name == f"A talk.{form}"
    found = pysubs2.SSAFile.from_string(text, format_=form)
    shown = [event.plaintext for event in found.events]
    if form != "ass":  # there the name is that of the actor; pysubs2 takes no voices out of WebVTT
        names = re.findall(r"<v (S\d+)>" if form == "vtt" else r"\[(S\d+)\] ", text)
        shown = [re.sub(r"^\u200f?\[S\d+\] ", "", line) for line in shown]
    else:
        names = [event.name for event in found.events if event.name]
    assert names == (["S1"] * (len(shown) - 3) + ["S2", "S1", "S12"] if turns else [])
    said = plain("".join(row[2] for row in SEGMENTS))
    signs = {"{": "\uff5b", "}": "\uff5d"} if form == "ass" else {"-->": "->"}
    for sign, written in signs.items():
        said = said.replace(sign, written)
    if form == "vtt":  # whose entities pysubs2 leaves as they are, and where braces mean nothing, but to it
        shown, said = [html.unescape(line) for line in shown], said.replace("{\\an8\\p1}", "")
    assert plain("".join(shown)) == (re.sub(r"{[^}]*}", "", said) if form == "srt" else said)
    assert all(event.end - event.start <= 7000 for event in found.events)
    assert all(len(line) <= 42 for text in shown for line in text.split("\n") if line.isascii())
    assert (found.events[0].start, found.events[-1].end) == (500, 3_606_000)


@pytest.mark.parametrize("form", ["srt", "vtt", "ass"])
def test_ffmpeg_reads_every_cue(tmp_path: Path, form: str) -> None:
    root = make(tmp_path, {"transcript": spoken(), "speakers": TURNS})
    run(root, form)
    path = tmp_path / form / f"A talk.{form}"
    with av.open(str(path)) as container:
        (stream,) = container.streams
        packets = [packet for packet in container.demux(stream) if packet.size]
    expected = pysubs2.load(str(path)).events
    times = [float(packet.pts * packet.time_base) for packet in packets]
    assert times == pytest.approx([event.start / 1000 for event in expected], abs=0.006)
    assert len(times) >= len(SEGMENTS) + 2


def test_libass_s_own_markup_stays_text(tmp_path: Path) -> None:
    root = make(tmp_path, {"transcript": spoken([(0, 2, r"{\an8}up {\p1}m 0 0 \N \h C:\new")])})
    ((_, text),) = run(root, "ass").items()
    line = next(line for line in text.splitlines() if line.startswith("Dialogue"))
    said = line.split(",", 9)[9]
    assert not re.search(r"[{}]|\\[Nnh]", said.replace("\\N\u2060", ""))
    assert plain(said) == "\uff5b\\an8\uff5dup\uff5b\\p1\uff5dm00\\N\\hC:\\new"


def test_a_film_mostly_from_right_to_left_lets_libass_find_the_direction(tmp_path: Path) -> None:
    for number, (text, encoding) in enumerate((("שלום", -1), ("hello", 1))):
        root = make(tmp_path / str(number), {"transcript": spoken([(0, 2, text)])})
        ((_, content),) = run(root, "ass").items()
        assert pysubs2.SSAFile.from_string(content, format_="ass").styles["Default"].encoding == encoding


def test_streams_are_named_as_players_tell_them_apart(tmp_path: Path) -> None:
    flags = {
        "is_forced": False,
        "is_hearing_impaired": False,
        "is_commentary": False,
        "is_default": False,
        "is_taken": True,
    }
    streams = [
        {"index": index, "type": "subtitle", **flags, **more}
        for index, more in (
            (2, {"is_commentary": True}), (3, {}), (4, {"is_forced": True}),
            (5, {"is_hearing_impaired": True}), (6, {}), (7, {}), (8, {"is_default": True}),
        )
    ]  # fmt: skip
    rows = [*spoken([(0, 1, "heard")])]
    for index, language in (
        (2, "eng"),
        (3, "eng"),
        (4, "eng"),
        (5, "en"),
        (6, "ger"),
        (7, "pt-br"),
        (8, "ger"),
    ):
        rows += held(index, language, f"stream {index}")
    root = make(tmp_path, {"transcript": rows, "media": [{"uri": "", "streams": streams}]})
    assert run(root, "txt") == {
        "A talk.txt": "heard\n",
        "A talk.en.txt": "stream 3\n",
        "A talk.2.en.txt": "stream 2\n",
        "A talk.en.forced.txt": "stream 4\n",
        "A talk.en.sdh.txt": "stream 5\n",
        "A talk.de.txt": "stream 8\n",
        "A talk.6.de.txt": "stream 6\n",
        "A talk.pt-BR.txt": "stream 7\n",
    }


def test_subtitles_that_a_file_held_keep_their_lines_times_and_have_no_speaker(tmp_path: Path) -> None:
    rows = held(2, "eng", f"- {LONG}\n- no\n- yes", "over\nlap")
    root = make(tmp_path, {"transcript": rows, "speakers": TURNS})
    assert run(root, "srt") == {
        "A talk.en.srt": f"1\n00:00:00,000 --> 00:00:03,000\n- {LONG}\n- no\n- yes\n\n"
        "2\n00:00:02,000 --> 00:00:05,000\nover\nlap\n"
    }


def test_a_file_never_takes_the_name_of_another_source_s_subtitles(tmp_path: Path) -> None:
    make_folder(
        tmp_path / "out",
        {"transcript": {"a" * 32: held(2, "eng", "held"), "b" * 32: spoken([(0, 1, "heard")])}},
        {"a" * 32: ["/films/talk.mp4"], "b" * 32: ["/films/Talk.EN.mp4"]},
    )
    files = run(str(tmp_path / "out"), "txt")
    assert sorted(files.values()) == ["heard\n", "held\n"] and len({name.lower() for name in files}) == 2


def test_a_film_and_the_subtitles_that_lie_beside_it_do_not_clash(tmp_path: Path) -> None:
    make_folder(
        tmp_path / "out",
        {"transcript": {"a" * 32: spoken([(0, 1, "heard")]), "b" * 32: held(0, "und", "by hand")}},
        {"a" * 32: ["/films/talk.mp4"], "b" * 32: ["/films/talk.srt"]},
    )
    root = str(tmp_path / "out")
    assert run(root, "txt") == {"talk.txt": "heard\n", "talk.und.txt": "by hand\n"}
    # Names are the same whichever rows are taken.
    names = run(str(tmp_path / "out"), "tsv", "--where", "origin = 'subtitles'")
    assert list(names) == ["talk.und.tsv"]


def test_kinds_of_streams_come_from_the_file_itself(tmp_path: Path) -> None:
    cues = [(0.5, 2.0, "one"), (2.5, 4.0, "two")]
    plain_file = write_subtitled(tmp_path / "plain.mkv", [("srt", "eng", cues)] * 3)
    kinds = [Disposition.default, Disposition.forced, Disposition.hearing_impaired]
    film = tmp_path / "films" / "The film (2020).mkv"
    film.parent.mkdir()
    with av.open(str(plain_file)) as source, av.open(str(film), "w") as out:
        copies = {stream.index: out.add_stream_from_template(stream) for stream in source.streams}
        for stream, kind in zip(source.streams.subtitles, kinds, strict=True):
            copies[stream.index].disposition = kind
            copies[stream.index].metadata["language"] = "eng"
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = copies[packet.stream.index]
                out.mux(packet)
    ops = ["--ops", "media,transcript", "--set", "transcript.origin=subtitles"]
    assert main(["extract", str(film), "-o", str(tmp_path / "out"), "-q", *ops]) == 0
    assert main(["export", str(tmp_path / "out"), "--format", "srt", "--beside"]) == 0
    stem = film.stem
    assert {path.name for path in film.parent.iterdir()} == {
        film.name, f"{stem}.en.srt", f"{stem}.en.forced.srt", f"{stem}.en.sdh.srt",
    }  # fmt: skip


def test_width_of_lines_is_asked_for_or_left_alone(tmp_path: Path, capsys: Capture) -> None:
    root = make(tmp_path, {"transcript": spoken([(0, 11, LONG)])})
    (narrow,) = run(root, "srt", "--line-width", "20").values()
    lines = [line for line in narrow.splitlines() if line and "-->" not in line and not line.isdecimal()]
    assert max(map(len, lines)) <= 20 and " ".join(lines) == LONG
    (whole,) = run(root, "srt", "--line-width", "0").values()
    assert whole == f"1\n00:00:00,000 --> 00:00:11,000\n{LONG}\n"
    run(root, "srt", "--line-width", "7", code=2)
    assert "--line-width is 7; it must be 16 or more" in capsys.readouterr().err
    run(root, "tsv", "--line-width", "42", code=2)
    assert "tsv has no lines to break" in capsys.readouterr().err
    run(root, "edl", "--line-width", "42", code=2)


def test_rttm_fields_hold_no_space_and_name_the_stem(tmp_path: Path) -> None:
    root = make(tmp_path, {"speakers": TURNS})
    ((name, text),) = run(root, "rttm").items()
    assert name == "A talk.rttm"
    fields = [line.split(" ") for line in text.splitlines()]
    assert all(len(line) == 10 and line[0] == "SPEAKER" and line[1] == "A_talk" for line in fields)
    assert [(float(line[3]), float(line[4]), line[7]) for line in fields] == [
        (one["start_seconds"], pytest.approx(one["end_seconds"] - one["start_seconds"]), one["speaker"])
        for one in TURNS
    ]


def test_a_condition_takes_rows_of_segments_or_of_turns(tmp_path: Path, capsys: Capture) -> None:
    root = make(tmp_path, {"transcript": spoken(), "speakers": TURNS})
    assert run(root, "txt", "--where", "speaker = 'speaker_1'")["A talk.txt"].startswith("[S2] {")
    assert (
        run(root, "txt", "--where", "start_seconds > 3600 -- late")["A talk.txt"]
        == f"[S12] {SEGMENTS[3][2]}\n"
    )
    assert run(root, "rttm", "--where", "speaker = 'speaker_11'")["A talk.rttm"].count("SPEAKER") == 1
    document = json.loads(
        run(root, "json", "--where", "uri LIKE '%talk%' AND text LIKE '%of old%'")["A talk.json"]
    )
    assert [s["text"] for s in document["segments"]] == [SEGMENTS[1][2]]
    assert [t["speaker"] for t in document["speakers"]] == ["speaker_1"]
    capsys.readouterr()
    run(root, "vtt", "--where", "false")
    assert "nothing to export" in capsys.readouterr().err
    run(root, "vtt", "--where", "speakr = 'speaker_0'", code=2)
    assert "(did you mean 'speaker'?)" in capsys.readouterr().err


def test_files_lie_beside_their_sources_and_nobody_s_own_are_replaced(
    tmp_path: Path, capsys: Capture
) -> None:
    film = tmp_path / "films" / "My talk: one.mp4"
    film.parent.mkdir()
    root = make(tmp_path, {"transcript": spoken()}, str(film))
    beside = ["export", root, "--format", "srt", "--beside"]
    assert main(beside) == 0 and main(beside) == 0
    own = film.with_suffix(".srt")
    assert [path.name for path in film.parent.iterdir()] == ["My talk: one.srt"]
    own.write_text("by hand")
    assert main(beside) == 2 and own.read_text() == "by hand"
    assert "is there already, with other content" in capsys.readouterr().err
    assert main([*beside, "--name", "{stem}.machine"]) == 0
    assert film.with_name("My talk: one.machine.srt").is_file()
    far = make(tmp_path / "far", {"transcript": spoken()}, "s3://bucket/talk.mp4")
    assert main(["export", far, "--format", "srt", "--beside"]) == 2
    assert "object store" in capsys.readouterr().err


def test_what_a_clock_cannot_tell_is_refused(tmp_path: Path, capsys: Capture) -> None:
    root = make(tmp_path, {"transcript": spoken([(359_999.5, 360_001, "late")])})
    run(root, "srt", code=2)
    assert "ends at 99:59:59,999" in capsys.readouterr().err
    assert "100:00:01.000" in run(root, "vtt")["A talk.vtt"]


def test_text_that_does_not_show_makes_no_file(tmp_path: Path) -> None:
    root = make(tmp_path, {"transcript": spoken([(0, 1, " \n")])})
    assert [run(root, form) for form in ("srt", "vtt", "ass", "txt", "tsv")] == [{}] * 5
