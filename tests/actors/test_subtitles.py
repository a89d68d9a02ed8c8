"""Subtitles that a file holds come as plain text at their times, in the same pass as everything else."""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
import pytest

from framemill.actors.indexing import index_source
from framemill.actors.pyav_reader import ReadReport, ReadRequest, read_shard
from framemill.actors.subtitles import decoded_text, plain_text
from framemill.ops.audio.subtitles import SubtitleRows
from framemill.ops.chunks import Audio, Cue, Frames, Subtitles
from tests.actors.subtitled import CueTuple, with_packets, write_subtitled

NONE = np.zeros(0, np.int64)
CUES: list[CueTuple] = [
    (0.5, 2.0, r"{\i1}Hello{\i0} you\Nthere"),
    (2.5, 3.75, "größer, 更好"),
    (4.0, 4.5, "a b & 1 < 2"),
]
PLAIN = [(0.5, 2.0, "Hello you\nthere"), (2.5, 3.75, "größer, 更好"), (4.0, 4.5, "a b & 1 < 2")]


def read(path: Path, frames: bool = False, sound: bool = False) -> tuple[list[Subtitles], list[object]]:
    index = index_source(str(path))
    wanted = np.arange(len(index.frames)) if frames else NONE
    chunks = list(
        read_shard(str(path), index, ReadRequest(wanted, NONE, sound, 1, subtitles=True), ReadReport())
    )
    return [c for c in chunks if isinstance(c, Subtitles)], [
        c for c in chunks if not isinstance(c, Subtitles)
    ]


def said(chunks: list[Subtitles], stream_index: int | None = None) -> list[tuple[float, float, str]]:
    return [
        (round(cue.start_seconds, 3), round(cue.end_seconds, 3), cue.text)
        for chunk in chunks
        if stream_index in (None, chunk.stream_index)
        for cue in chunk.cues
    ]


@pytest.mark.parametrize(
    ("codec", "suffix"),
    [
        ("mov_text", "mp4"),
        ("mov_text", "mov"),
        ("subrip", "mkv"),
        ("ass", "mkv"),
        ("webvtt", "mkv"),
        ("webvtt", "webm"),
    ],
)
def test_every_kind_of_text_is_read_without_its_styling(tmp_path: Path, codec: str, suffix: str) -> None:
    cues = [(start, end, text.replace(" < 2", "")) for start, end, text in CUES]
    path = write_subtitled(tmp_path / f"t.{suffix}", [(codec, "deu", cues)])
    chunks, others = read(path)
    assert said(chunks) == [(start, end, text.replace(" < 2", "")) for start, end, text in PLAIN]
    assert {chunk.language for chunk in chunks} == {"und" if suffix == "mov" else "deu"}
    assert not others, "sound that nobody asked for is not decoded"


def test_several_streams_and_overlapping_cues_are_kept_apart(tmp_path: Path) -> None:
    english = [(0.0, 3.0, "one"), (1.0, 2.0, "two"), (1.0, 4.0, "three")]
    path = write_subtitled(tmp_path / "t.mkv", [("subrip", "eng", english), ("ass", "", CUES)])
    chunks, _ = read(path)
    first, second = sorted({(chunk.stream_index, chunk.language) for chunk in chunks})
    assert first[1] == "eng" and second[1] == "und"
    assert said(chunks, first[0]) == english
    assert said(chunks, second[0]) == PLAIN


def test_times_count_from_the_start_of_the_presentation(tmp_path: Path) -> None:
    path = write_subtitled(tmp_path / "t.mkv", [("subrip", "eng", CUES)], first_seconds=3.0)
    index = index_source(str(path))
    assert index.origin_seconds == pytest.approx(3, abs=0.03)
    assert np.allclose([c[:2] for c in said(read(path)[0])], [c[:2] for c in PLAIN], atol=0.03)


def test_pictures_sound_and_subtitles_come_from_one_pass(tmp_path: Path) -> None:
    path = write_subtitled(tmp_path / "t.mkv", [("subrip", "eng", CUES)], with_picture=True)
    chunks, others = read(path, frames=True, sound=True)
    assert said(chunks) == PLAIN
    assert sum(len(c) for c in others if isinstance(c, Frames)) == 60
    assert sum(len(c.samples) for c in others if isinstance(c, Audio)) == pytest.approx(96_000, abs=1_000)
    quiet, _ = read(
        write_subtitled(tmp_path / "q.mp4", [("mov_text", "eng", CUES)], with_picture=True, with_sound=False)
    )
    assert said(quiet) == PLAIN  # fmt: skip


def test_pictures_of_text_are_listed_and_not_read(tmp_path: Path, media_dir: Path) -> None:
    index = index_source(str(media_dir / "video" / "sample_with_srt.mkv"))
    (text,) = (s for s in index.description.streams if s.type == "subtitle")
    assert index.text_streams == (text.index,) and text.language == "eng"
    chunks, _ = read(media_dir / "video" / "sample_with_srt.mkv")
    assert said(chunks) == [(0.0, 1.234, "This is the first subtitle.")]


@pytest.mark.parametrize(
    ("line", "is_ass", "expected"),
    [
        ("0,0,Default,,0,0,0,,plain, with, commas", False, "plain, with, commas"),
        (r"0,0,Default,,0,0,0,,{\an8\b1}up{\b0}\N\N  there ", True, "up\nthere"),
        (r"0,0,Default,,0,0,0,,{a note}said", True, "said"),
        (r"0,0,Default,,0,0,0,,{meant} as it is", False, "{meant} as it is"),
        (r"0,0,Default,,0,0,0,,set \{{}1, 2}", False, "set {1, 2}"),
        (r"0,0,Default,,0,0,0,,{\p1}m 0 0 l 100 0 100 100{\p0}drawn", True, "drawn"),
        (r"0,0,Default,,0,0,0,,{\i1}{\i0}\N", True, ""),
        ("0,0,Default,,0,0,0,,C:\\\u2060name\\hx", False, "C:\\name x"),
        (r"0,0,Default,,0,0,0,,\{\i1\} {\i1}\{so\}{\i0} \\Nit is", True, "{\\i1} {so} \\\nit is"),
        (
            "0,0,Default,,0,0,0,,a\u2028b\x1b[1m\tc\x85d\u3000e\u00ad\u200c\u202e",
            True,
            "a b [1m c d\u3000e\u00ad\u200c\u202e",
        ),
        ("", False, ""),
    ],
)
def test_text_without_its_styling(line: str, is_ass: bool, expected: str) -> None:
    assert plain_text(line, is_ass) == expected


@pytest.mark.parametrize(
    ("line", "wrap_style", "expected"),
    [
        (r"a\nb\Nc", "0", "a b\nc"),
        (r"a\nb\Nc", "2", "a\nb\nc"),
        (r"{\q2}a\nb", "1", "a\nb"),
        (r"{\an8\q3\b1}a\nb", "2", "a b"),
        (r"\{\q2\}a\nb", "0", r"{\q2}a b"),
    ],
)
def test_soft_line_ends_of_ass_go_by_the_wrap_style(line: str, wrap_style: str, expected: str) -> None:
    assert plain_text(f"0,0,Default,,0,0,0,,{line}", True, wrap_style) == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("schön 更好".encode(), "schön 更好"),
        (b"caf\xe9 \x80 \x81", "café € \x81"),
        ("größer ".encode() + b"caf\xe9", "größer café"),
        ("é".encode()[:1], "Ã"),
        (b"\xef\xbb\xbfa", "a"),
        ("å更".encode("utf-16"), "å更"),
        (b"\xfe\xff" + "å更".encode("utf-16-be"), "å更"),
    ],
)
def test_bytes_that_are_not_utf_8_are_taken_as_windows_1252(content: bytes, expected: str) -> None:
    assert decoded_text(content) == expected


WRITTEN = [b"C:\\new\\Names \\h", b"caf\xe9\\Nau \xe6\x9b\xb4", b"{it} is\x00\r\nthere", b"odd\xef\xbf\xbe"]
READ = ["C:\\new\\Names \\h", "café\\Nau 更", "{it} is\nthere", "odd"]


@pytest.mark.parametrize(("codec", "suffix"), [("subrip", "mkv"), ("webvtt", "mkv"), ("mov_text", "mp4")])
def test_each_format_has_its_own_codes_and_no_byte_loses_a_line(
    tmp_path: Path, codec: str, suffix: str
) -> None:
    contents = [len(c).to_bytes(2, "big") + c if codec == "mov_text" else c for c in WRITTEN]
    chunks, _ = read(with_packets(tmp_path / f"t.{suffix}", codec, contents))
    assert [text.rstrip("\ufffd\ufffe") for *_, text in said(chunks)] == READ


@pytest.mark.parametrize("is_ass", [True, False])
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("{" * 300_000, "{" * 300_000),
        ("{\\" * 200_000 + "}end", "end"),
        (r"{\i1}a" * 50_000, "a" * 50_000),
        (r"{\p1}m 0 0" * 50_000 + r"{\p0}end", "end"),
    ],
)
def test_hostile_lines_take_time_by_their_length(line: str, expected: str, is_ass: bool) -> None:
    started = time.process_time()
    assert plain_text(line, is_ass) == expected
    assert time.process_time() - started < 10  # by its square it took minutes


def test_rows_have_ends_where_the_file_tells_none() -> None:
    rows = SubtitleRows()
    rows.add(Subtitles(3, "eng", (Cue(1.0, math.inf, "b"), Cue(0.0, 5.0, "a"))))
    rows.add(Subtitles(2, "deu", (Cue(1.0, 2.0, "c"),)))
    rows.add(Subtitles(3, "eng", (Cue(4.0, math.inf, "d"),)))
    found = [(r["stream_index"], r["segment_index"], r["end_seconds"], r["text"]) for r in rows.finish(9.0)]
    assert found == [(2, 0, 2.0, "c"), (3, 0, 5.0, "a"), (3, 1, 4.0, "b"), (3, 2, 9.0, "d")]


def test_no_row_ends_after_the_source_and_no_text_is_lost_for_it() -> None:
    late = (0.5, 9.0, "a"), (3.0, math.inf, "b"), (359_999.0, 360_000.0, "c")
    rows = SubtitleRows()
    rows.add(Subtitles(0, "eng", tuple(Cue(*cue) for cue in late)))
    found = [(r["start_seconds"], r["end_seconds"], r["text"]) for r in rows.finish(4.0)]
    assert found == [(0.5, 4.0, "a"), (3.0, 4.0, "b"), (4.0, 4.0, "c")]


def unrolled(*cues: tuple[float, float, str]) -> list[tuple[float, float, str]]:
    rows = SubtitleRows()
    rows.add(Subtitles(0, "eng", tuple(Cue(*cue) for cue in cues)))
    return [(r["start_seconds"], r["end_seconds"], r["text"]) for r in rows.finish(60.0)]


def test_captions_that_roll_up_give_each_line_once() -> None:
    first = (0.5, 2.0, "one"), (2.0, 2.1, "one"), (2.1, 4.0, "one\ntwo")
    found = unrolled(*first, (4.0, 4.1, "two"), (4.1, 6.0, "two\nthree"))
    assert found == [(0.5, 2.1, "one"), (2.1, 4.1, "two"), (4.1, 6.0, "three")]
    three_rows = (0.0, 1.0, "a"), (1.0, 2.0, "a\nb"), (2.0, 3.0, "a\nb\nc"), (3.0, 4.0, "b\nc\nd")
    assert unrolled(*three_rows) == [(0, 1, "a"), (1, 2, "b"), (2, 3, "c"), (3, 4, "d")]
    typed = (0.0, 1.0, "we"), (1.0, 2.0, "we say"), (2.0, 3.0, "we say\nit"), (3.0, 4.0, "we say\nit all")
    assert unrolled(*typed) == [(0, 2, "we say"), (2, 4, "it all")]


@pytest.mark.parametrize(
    "cues",
    [
        [(0.0, 1.0, "No!"), (1.0, 2.0, "No!"), (2.0, 3.0, "No!")],
        [(0.0, 1.0, "a"), (1.0, 2.0, "a\nb"), (2.0, 3.0, "c"), (3.0, 4.0, "d"), (4.0, 5.0, "e")],
        [(0.0, 1.0, "a"), (2.0, 3.0, "a\nb"), (4.0, 5.0, "b\nc")],
    ],
)
def test_what_is_said_twice_stays_twice(cues: list[tuple[float, float, str]]) -> None:
    assert unrolled(*cues) == cues
