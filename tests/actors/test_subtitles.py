"""Subtitles that a file holds come as plain text at their times, in the same pass as everything else."""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
import pytest

from framemill.actors.indexing import index_source
from framemill.actors.pyav_reader import ReadReport, ReadRequest, read_shard
from framemill.actors.subtitles import plain_text
from framemill.ops.audio.subtitles import SubtitleRows
from framemill.ops.chunks import Audio, Cue, Frames, Subtitles
from tests.actors.subtitled import CueTuple, write_subtitled

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
        ("", False, ""),
    ],
)
def test_text_without_its_styling(line: str, is_ass: bool, expected: str) -> None:
    assert plain_text(line, is_ass) == expected


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
