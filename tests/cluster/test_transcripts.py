"""Sound and subtitles from the command line to the files that players read."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from onnx import helper

from framemill.actors import shards
from framemill.actors.indexing import index_source
from framemill.cluster.cli.main import main
from framemill.cluster.results.queries import query
from tests.actors.clips import sine, write_sound
from tests.actors.subtitled import CueTuple, with_packets, write_subtitled
from tests.cluster.extraction import extract, failures, render_clip, rows_of
from tests.models.graphs import save
from tests.small_models import flags

ENGLISH: list[CueTuple] = [
    (0.5, 2.0, r"{\i1}Well{\i0}, then\Nlet us begin"),
    (1.5, 3.0, "overlapping"),
    (4.0, 5.5, "7"),
]
GERMAN: list[CueTuple] = [(1.0, 2.25, "größer & kleiner")]
SUBTITLES_ALONE: dict[str, Any] = {"transcript": {"origin": "subtitles"}}


def exported(out: Path, form: str, folder: Path) -> dict[str, Path]:
    """What `export` wrote, by the part of each name after the source's own."""
    assert main(["export", str(out), "--format", form, "-o", str(folder), "-q"]) == 0
    return {path.name.split(".", 1)[1]: path for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("codec", "suffix"), [("subrip", "mkv"), ("ass", "mkv"), ("webvtt", "mkv"), ("mov_text", "mp4")]
)
@pytest.mark.parametrize("form", ["srt", "vtt"])
def test_subtitles_come_out_as_they_went_in_and_need_no_model(
    tmp_path: Path, codec: str, suffix: str, form: str
) -> None:  # fmt: skip
    pysubs2 = pytest.importorskip("pysubs2")
    # The muxer of MP4 knows no overlapping cues.
    english = [cue for cue in ENGLISH if suffix == "mkv" or cue[2] != "overlapping"]
    film = write_subtitled(tmp_path / f"film.{suffix}", [(codec, "eng", english), (codec, "deu", GERMAN)])
    out = tmp_path / "out"
    summary = extract(film, out=out, ops=("transcript",), options=SUBTITLES_ALONE)
    assert summary.exit_code == 0 and not summary.providers, "no model was opened"
    written = exported(out, form, tmp_path / "subs")
    assert sorted(written) == [f"de.{form}", f"en.{form}"]
    for name, cues in ((f"en.{form}", english), (f"de.{form}", GERMAN)):
        events = pysubs2.load(str(written[name]), encoding="utf-8").events
        plain = [(a, b, text.replace(r"{\i1}", "").replace(r"{\i0}", "")) for a, b, text in cues]
        # WebVTT escapes `&`, which the library leaves as it is.
        said = [html.unescape(e.plaintext) if form == "vtt" else e.plaintext for e in events]
        assert [(e.start, e.end, text) for e, text in zip(events, said, strict=True)] == [
            (round(a * 1000), round(b * 1000), text.replace(r"\N", "\n")) for a, b, text in plain
        ]


def test_subtitles_of_a_silent_film_in_several_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without sound the subtitles have a piece of their own."""
    monkeypatch.setattr(shards, "SHARD_SECONDS", 2.0)
    film = write_subtitled(
        tmp_path / "film.mkv", [("subrip", "eng", ENGLISH)], with_sound=False, with_picture=True
    )
    out = tmp_path / "out"
    summary = extract(film, out=out, ops=("frames", "transcript"), options=SUBTITLES_ALONE)
    assert summary.exit_code == 0 and not failures(out)
    index = index_source(str(film))
    assert len(shards.cut_shards(index.frames, index.has_more_than_pictures, 6.0, 2.0)) > 2
    assert [row["text"] for row in rows_of(out, "transcript")] == [
        "Well, then\nlet us begin",
        "overlapping",
        "7",
    ]
    assert {row["origin"] for row in rows_of(out, "transcript")} == {"subtitles"}


@pytest.mark.parametrize(("first", "last", "status"), [(50, 60, "partial"), (0, 1000, "failed")])
def test_damaged_sound_is_told(tmp_path: Path, first: int, last: int, status: str) -> None:
    """Rows up to the damage and after it; an error where nothing was left."""
    path = write_sound(tmp_path / "b.mkv", sine(4, 48_000), 48_000, codec="aac", sample_format="fltp")
    with av.open(str(path)) as container:
        spans = [(p.pos, p.size) for p in container.demux(audio=0) if p.size]
    data = bytearray(path.read_bytes())
    for position, size in spans[first:last]:
        assert position is not None
        data[position + 8 : position + size] = b"\xff" * (size - 8)
    path.write_bytes(data)
    out = tmp_path / "out"
    assert extract(path, out=out, ops=("media", "audio_levels")).exit_code == (
        3 if status == "partial" else 4
    )
    assert set(failures(out).values()) == {status}
    rows = rows_of(out, "audio_levels")
    assert len(rows) == (pytest.approx(40, abs=2) if status == "partial" else 0)
    assert not rows or {row["start_seconds"] > 2 and row["rms_db"] > -20 for row in rows} == {True, False}


def test_a_damaged_subtitle_is_told_and_what_is_there_of_it_is_given(tmp_path: Path) -> None:
    contents = [b"\x00\x03one", b"\x00\x09two", b"\x00\x05three"]  # the second states more than it holds
    film = with_packets(tmp_path / "film.mp4", "mov_text", contents)
    out = tmp_path / "out"
    summary = extract(film, out=out, ops=("media", "transcript"), options=SUBTITLES_ALONE)
    assert summary.exit_code == 3
    assert [row["text"] for row in rows_of(out, "transcript")] == ["one", "two", "three"]
    (failure,) = summary.errors
    assert failure["status"] == "partial" and failure["message"].startswith("1 subtitles are damaged")


def test_a_file_without_sound_is_an_error_only_where_sound_was_all_that_was_asked(tmp_path: Path) -> None:
    silent = render_clip(tmp_path / "silent.mp4", seed=1, with_sound=False)
    out = tmp_path / "out"
    assert extract(silent, out=out, ops=("frames", "audio_levels", "silences")).exit_code == 0
    assert not rows_of(out, "audio_levels") and not failures(out)
    alone = tmp_path / "alone"
    assert extract(silent, out=alone, ops=("audio_levels", "silences")).exit_code in (3, 4)
    assert failures(alone)[silent.name, "audio_levels"] == "unsupported"
    (message,) = {row["message"] for row in rows_of(alone, "errors") if row["operation"] == "audio_levels"}
    assert message == "no sound track in the file, and nothing but sound was asked for"


@pytest.mark.parametrize("kind", ["10 ms", "no numbers", "40 kHz", "16 channels"])
def test_odd_sound_is_handled_by_every_operation(tmp_path: Path, kind: str) -> None:
    pytest.importorskip("faster_whisper")  # its voice detector is that of `speech`
    path = tmp_path / "odd.wav"
    if kind == "10 ms":
        write_sound(path, sine(0.01, 16_000), 16_000)
    elif kind == "no numbers":
        broken = sine(3, 48_000)
        broken[48_000:96_000] = np.nan
        write_sound(path, broken, 48_000, codec="pcm_f32le", sample_format="flt")
    else:
        rate, layout = (40_000, "mono") if kind == "40 kHz" else (48_000, "16 channels")
        write_sound(path, sine(3, rate), rate, layout=layout)
    out = tmp_path / "out"
    ops = ("media", "audio_levels", "speech", "beats", "loudness", "silences")
    assert extract(path, out=out, ops=ops).exit_code == 0 and not failures(out)
    levels = rows_of(out, "audio_levels")
    assert len(levels) == (1 if kind == "10 ms" else 30)
    assert levels[0]["rms_db"] == pytest.approx(-9, abs=0.5), "a sine of half the full scale"
    (loudness,) = rows_of(out, "loudness")
    assert loudness["true_peak_db"] == pytest.approx(-6, abs=0.2)
    silent = [(row["start_seconds"], row["end_seconds"]) for row in rows_of(out, "silences")]
    assert np.allclose(silent, [(1.0, 2.0)], atol=0.11) if kind == "no numbers" else not silent


def test_a_folder_that_is_no_whisper_model_is_told_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_sound(tmp_path / "a.wav", sine(1, 16_000), 16_000)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    line = ["extract", str(path), "-o", str(tmp_path / "out"), "--ops", "transcript"]
    assert main([*line, "--model", f"transcript={tmp_path / 'model'}"]) == 5
    told = capsys.readouterr().err
    assert (
        "is no whisper model: it lacks model.bin, tokenizer.json, vocabulary.json or vocabulary.txt" in told
    )
    assert not (tmp_path / "out" / "transcript").exists()


def test_a_track_that_nothing_decodes_is_an_error_that_names_its_codec(
    media_dir: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    clip = media_dir / "video" / "audio_unsupported_ac4.mp4"
    assert extract(clip, out=out, ops=("media", "audio_levels")).exit_code in (3, 4)
    assert {row["message"] for row in rows_of(out, "errors")} == {
        "no decoder for the sound track (codec ac-4)"
    }


@pytest.mark.parametrize(("rate", "layout"), [(22_050, "mono"), (44_100, "stereo"), (48_000, "5.1")])
def test_words_are_heard_whatever_the_track_is_like(
    media_dir: Path, models_dir: Path, tmp_path: Path, rate: int, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the file on; what other rates and channels leave of 16 kHz is about the same."""
    pytest.importorskip("faster_whisper")
    monkeypatch.setenv("FRAMEMILL_MODEL_MIRROR", str(models_dir))
    wanted = {}
    described = json.loads((media_dir / "audio" / "whisper_words" / "transcripts.json").read_text("utf-8"))
    for name in ("en_02.flac", "en_10.flac"):
        with av.open(str(media_dir / "audio" / "whisper_words" / name)) as given:
            resampler = av.AudioResampler(format="fltp", layout="mono", rate=rate)
            frames = [out for frame in given.decode(audio=0) for out in resampler.resample(frame)]
        samples = np.concatenate([f.to_ndarray()[0] for f in [*frames, *resampler.resample(None)]])
        path = tmp_path / "clips" / f"{name}.wav"
        path.parent.mkdir(exist_ok=True)
        write_sound(path, samples, rate, layout=layout)
        (wanted[str(path)],) = (c["text"].split() for c in described["clips"] if c["file"] == name)
    out = tmp_path / "out"
    extract(tmp_path / "clips", out=out, ops=("media", "transcript"), models={"transcript": "whisper_words"})
    uris = {row["source_id"]: row["uri"] for row in rows_of(out, "media")}
    found: dict[str, list[str]] = {uri: [] for uri in wanted}
    for row in rows_of(out, "transcript"):
        found[uris[row["source_id"]]] += row["text"].split()
    right = sum(a == b for uri in wanted for a, b in zip(wanted[uri], found[uri], strict=False))
    assert right >= 0.85 * sum(map(len, wanted.values())), found


def test_other_files_give_no_subtitles_and_no_error(tmp_path: Path) -> None:
    film = write_subtitled(tmp_path / "film.mkv", [], with_picture=True)
    out = tmp_path / "out"
    assert extract(film, out=out, ops=("transcript",), options=SUBTITLES_ALONE).exit_code == 0
    assert not rows_of(out, "transcript") and not failures(out)


def stand_in_speaker_model(path: Path) -> Path:
    """A network with the contract of speaker models: how far each band moves over time."""
    square = helper.make_node("Mul", ["feats", "feats"], ["squares"])
    mean = helper.make_node("ReduceMean", ["squares"], ["means"], axes=[1], keepdims=0)
    root = helper.make_node("Sqrt", ["means"], ["embs"])
    return save(path, [square, mean, root], {"feats": ["n", "frames", 80]}, {"embs": ["n", 80]})


@pytest.mark.slow
def test_what_is_said_is_in_the_subtitles_at_its_time(
    media_dir: Path, models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a user would type it: the recogniser's clips, then subtitles, then words joined with sounds."""
    pytest.importorskip("faster_whisper")
    pysubs2 = pytest.importorskip("pysubs2")
    monkeypatch.setenv("FRAMEMILL_MODEL_MIRROR", str(models_dir))
    folder = media_dir / "audio" / "whisper_words"
    out, subs = tmp_path / "out", tmp_path / "subs"
    ops = "media,speech,transcript,sounds,beats,audio_levels,speakers"
    speaker_model = stand_in_speaker_model(tmp_path / "voices.onnx")
    line = ["extract", str(folder), "-o", str(out), "--ops", ops, "--model", "transcript=whisper_words", "-q"]
    line += flags("sounds")
    assert main([*line, "--model", f"speaker_embeddings={speaker_model}"]) == 0
    assert main(["export", str(out), "--format", "srt", "-o", str(subs), "--json"]) == 0
    described = json.loads((folder / "transcripts.json").read_text("utf-8"))
    clips = described["clips"]
    right = heard = 0
    for clip in clips:
        events = pysubs2.load(str(subs / f"{Path(clip['file']).stem}.srt"), encoding="utf-8").events
        said = [re.sub(r"^\[S\d+] ", "", event.plaintext) for event in events]
        if " ".join(said).split() == clip["text"].split():
            right += 1
            words = [word for utterance in clip["utterances"] for word in utterance["words"]]
            starts = {round(word["start"], 2) for word in words}
            for event in events:
                heard += 1
                assert min(abs(event.start / 1000 - start) for start in starts) <= 0.3, clip["file"]
    assert right >= 0.6 * len(clips) and heard >= right
    joined = query(
        out,
        """
        SELECT w.text, s.label, p.speaker FROM (SELECT source_id, unnest(words) AS w FROM transcript) t
        JOIN sounds s ON s.source_id = t.source_id AND s.start_seconds < w.end_seconds
            AND s.end_seconds > w.start_seconds
        JOIN speakers p ON p.source_id = t.source_id AND p.start_seconds < w.end_seconds
            AND p.end_seconds > w.start_seconds
        """,
    )
    texts, labels, speakers = map(set, zip(*joined.rows, strict=True))
    assert len(joined.rows) > 100 and "Speech" in labels and "speaker_0" in speakers
    known = {word for words in described["vocabulary"].values() for word in words}
    assert len(texts & known) > 0.9 * len(texts)
    spoken = query(out, "SELECT speaker, text FROM spoken WHERE speaker IS NOT NULL").rows
    assert len(spoken) > len(clips) / 2
