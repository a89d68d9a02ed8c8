"""Files of subtitles alone as sources, in odd encodings and with hostile times; sound that is of no use."""

from __future__ import annotations

import codecs
from pathlib import Path

import av
import pytest

from framemill.actors.limits import MOST_SUBTITLE_BYTES
from framemill.actors.safe_open import open_media
from framemill.cluster.run.sources import list_sources
from framemill.errors import LimitError
from tests.actors.clips import moving, write_clip
from tests.actors.subtitled import no_decoder, write_subtitled
from tests.cluster.extraction import extract, failures, rows_of, statuses

SUBTITLES = {"transcript": {"origin": "subtitles"}}
SRT = (
    "1\n00:00:01,000 --> 00:00:02,500\ncafé au lait\n<i>two</i> lines\n\n"
    "2\n00:00:03,000 --> 00:00:04,250\n7\n"
)
VTT = "WEBVTT\n\n" + SRT.replace(",", ".")
ASS = (
    "[Script Info]\nScriptType: v4.00+\nWrapStyle: 0\n\n[V4+ Styles]\nFormat: Name, Fontname\n"
    "Style: Default,Arial\n\n[Events]\n"
    "Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
    "Dialogue: 0,0:00:03.00,0:00:04.25,Default,,0,0,0,,7\n"
    "Dialogue: 0,0:00:01.00,0:00:02.50,Default,,0,0,0,,café au lait\\N{\\i1}two{\\i0} lines\n"
)
ENCODINGS = {
    "utf-8": lambda text: text.encode(),
    "with a mark": lambda text: codecs.BOM_UTF8 + text.encode(),
    "latin-1": lambda text: text.encode("latin-1"),
    "utf-16": lambda text: codecs.BOM_UTF16_LE + text.encode("utf-16-le"),
    "utf-16 be": lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
    "line ends": lambda text: text.replace("\n", "\r\n").encode(),
}


def times_and_text(out: Path) -> list[tuple[float, float, str]]:
    rows = sorted(rows_of(out, "transcript"), key=lambda row: row["segment_index"])
    return [(row["start_seconds"], row["end_seconds"], row["text"]) for row in rows]


def test_a_file_of_subtitles_is_read_in_every_format_and_encoding(tmp_path: Path) -> None:
    for ending, text in (("srt", SRT), ("vtt", VTT), ("ass", ASS)):
        for name, encode in ENCODINGS.items():
            (tmp_path / f"{name}.{ending}").write_bytes(encode(text))
    out = tmp_path / "out"
    summary = extract(tmp_path, out=out, ops=("media", "transcript"), options=SUBTITLES)
    assert summary.exit_code == 0 and not failures(out)
    media = {Path(row["uri"]).name: row for row in rows_of(out, "media")}
    assert len(media) == 18 and {row["duration_seconds"] for row in media.values()} == {4.25}
    rows = rows_of(out, "transcript")
    for name, described in media.items():
        found = [row for row in rows if row["source_id"] == described["source_id"]]
        told = sorted((row["start_seconds"], row["end_seconds"], row["text"]) for row in found)
        assert told == [(1.0, 2.5, "café au lait\ntwo lines"), (3.0, 4.25, "7")], name
        assert {(row["stream_index"], row["origin"], row["language"]) for row in found} == {
            (0, "subtitles", "und")
        }
        assert described["video_codec"] is None and described["streams"][0]["is_taken"], name


def test_where_subtitles_were_not_asked_for_it_is_one_error_row(tmp_path: Path) -> None:
    path, out = tmp_path / "talk.srt", tmp_path / "out"
    path.write_text(SRT)
    for ops in (("media", "frames", "audio_levels"), ("media",)):
        assert extract(path, out=out, ops=ops).exit_code == 4
        (row,) = rows_of(out, "errors")
        assert row["status"] == "unsupported"
        assert "no picture and no sound track in the file, only subtitles" in row["message"]
    again = extract(path, out=out, ops=("media", "transcript"), options=SUBTITLES, retry_failed=True)
    assert again.exit_code == 0 and len(rows_of(out, "transcript")) == 2 and not rows_of(out, "errors")


def test_folders_give_files_of_subtitles_only_where_nothing_else_is_read(tmp_path: Path) -> None:
    write_clip(tmp_path / "talk.mp4", moving(5))
    (tmp_path / "talk.srt").write_text(SRT)
    (tmp_path / "notes.txt").write_text("words")

    def listed(argument: Path | str, with_subtitles: bool) -> tuple[list[str], int]:
        found = list_sources([str(argument)], with_subtitles=with_subtitles)
        return [Path(file.path).name for file in found.files], found.num_skipped

    assert listed(tmp_path, False) == (["talk.mp4"], 2)
    assert listed(tmp_path, True) == (["talk.mp4", "talk.srt"], 1)
    assert listed(f"{tmp_path}/*", False) == (["talk.mp4"], 2)
    assert listed(f"{tmp_path}/*.srt", False) == (["talk.srt"], 0)
    assert listed(tmp_path / "talk.srt", False) == (["talk.srt"], 0)
    out = tmp_path / "out"
    assert extract(tmp_path, out=out, ops=("media", "transcript"), options=SUBTITLES).exit_code == 0
    assert statuses(out) == {"talk.mp4": "ok", "talk.srt": "ok"}
    assert {row["text"] for row in rows_of(out, "transcript")} == {"café au lait\ntwo lines", "7"}


def test_hostile_times_give_rows_within_the_file(tmp_path: Path) -> None:
    path, out = tmp_path / "odd.srt", tmp_path / "out"
    cues = [
        ("00:00:-3,000", "00:00:01,000", "from before the start"),
        ("00:00:-3,000", "00:00:-1,000", "over before it"),
        ("00:00:04,000", "00:00:03,000", "backwards"),
        ("99:59:59,000", "100:00:00,000", "late"),
    ]
    path.write_text("".join(f"{n}\n{a} --> {b}\n{text}\n\n" for n, (a, b, text) in enumerate(cues, 1)))
    assert extract(path, out=out, ops=("media", "transcript"), options=SUBTITLES).exit_code == 0
    assert times_and_text(out) == [
        (0.0, 1.0, "from before the start"),
        (4.0, 359_999.0, "backwards"),  # as without an end: until the next one
        (359_999.0, 360_000.0, "late"),
    ]
    (described,) = rows_of(out, "media")
    assert described["duration_seconds"] == 360_000.0, "the end of the last cue"


def test_a_file_without_a_cue_is_ok_and_has_no_length(tmp_path: Path) -> None:
    path, out = tmp_path / "empty.vtt", tmp_path / "out"
    path.write_text("WEBVTT\n\nNOTE nothing\n")
    assert extract(path, out=out, ops=("media", "transcript"), options=SUBTITLES).exit_code == 0
    (described,) = rows_of(out, "media")
    assert (described["duration_seconds"], described["status"]) == (0.0, "ok")


def test_a_line_of_a_hundred_megabytes_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "long.srt"
    with path.open("wb") as file:
        file.write(SRT.encode() + b"\n3\n00:00:05,000 --> 00:00:06,000\n")
        for _ in range(100):
            file.write(b"a" * (1 << 20))
    with pytest.raises(LimitError, match=f"more subtitles than the {MOST_SUBTITLE_BYTES} bytes"):
        open_media(str(path))
    out = tmp_path / "out"
    assert extract(path, out=out, ops=("media", "transcript"), options=SUBTITLES).exit_code == 4
    (row,) = rows_of(out, "errors")
    assert (row["status"], row["error"]) == ("failed", "LimitError")
    # Under another name it is no file of subtitles, and as little opened.
    other = path.rename(tmp_path / "long.mp4")
    assert extract(other, out=out, ops=("media", "transcript"), options=SUBTITLES).exit_code == 4


@pytest.mark.slow
def test_a_cue_as_long_as_the_limit_is_kept_whole(tmp_path: Path) -> None:
    path, out = tmp_path / "long.srt", tmp_path / "out"
    # In lines that FFmpeg's reader holds at once: of one of more than 4 kB it repeats a piece.
    text = "\n".join(["a" * 999] * (MOST_SUBTITLE_BYTES // 1000 - 1))
    path.write_text(f"1\n00:00:05,000 --> 00:00:06,000\n{text}\n\n")
    assert extract(path, out=out, ops=("media", "transcript"), options=SUBTITLES).exit_code == 0
    (row,) = rows_of(out, "transcript")
    assert row["text"] == text


@pytest.mark.parametrize("with_picture", [False, True])
def test_subtitles_are_read_where_the_sound_is_of_no_use(tmp_path: Path, with_picture: bool) -> None:
    film = tmp_path / "film.mkv"
    cues = [(0.5, 1.5, "one"), (2.0, 4.0, "two")]
    no_decoder(write_subtitled(film, [("subrip", "eng", cues)], with_picture=with_picture))
    out = tmp_path / "out"
    assert extract(film, out=out, ops=("media", "transcript"), options=SUBTITLES).exit_code == 0
    assert [text for *_, text in times_and_text(out)] == ["one", "two"] and not failures(out)
    # What needs the sound fails for the reason, and alone.
    both = tmp_path / "both"
    ops = ("media", "transcript", "audio_levels")
    assert extract(film, out=both, ops=ops, options=SUBTITLES).exit_code == 3
    assert failures(both) == {("film.mkv", "audio_levels"): "unsupported"}
    assert [text for *_, text in times_and_text(both)] == ["one", "two"]
    if not with_picture:
        alone = tmp_path / "alone"
        assert extract(film, out=alone, ops=("media", "audio_levels")).exit_code == 4
        (row,) = rows_of(alone, "errors")
        assert "no decoder for the sound track" in row["message"]


def test_subtitles_are_read_where_the_sound_is_damaged_or_the_track_asked_for_is_missing(
    tmp_path: Path,
) -> None:
    film = write_subtitled(tmp_path / "film.mkv", [("subrip", "eng", [(0.5, 1.5, "one")])])
    out = tmp_path / "out"
    summary = extract(film, out=out, ops=("media", "transcript"), options=SUBTITLES, audio_track="ita")
    assert summary.exit_code == 0 and [text for *_, text in times_and_text(out)] == ["one"]
    with av.open(str(film)) as container:
        spans = [(p.pos or 0, p.size) for p in container.demux(audio=0) if p.size]
    content = bytearray(film.read_bytes())
    for position, size in spans:
        content[position + 8 : position + size] = b"\xff" * (size - 8)
    film.write_bytes(content)
    damaged = tmp_path / "damaged"
    summary = extract(film, out=damaged, ops=("media", "transcript"), options=SUBTITLES)
    assert summary.exit_code == 0 and [text for *_, text in times_and_text(damaged)] == ["one"]
