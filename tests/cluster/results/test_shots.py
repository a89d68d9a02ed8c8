"""The view `shots` on tables made by hand, whose right answers are written down."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from framemill.cluster.results.queries import dataset_tables, query
from framemill.cluster.results.shots import SHOTS_SCHEMA, create_shots
from tests.cluster.results.dataset_models import put
from tests.cluster.results.hand_made import make_folder

# Four shots of 4, 4, 2 and 2 s at 25 frames a second, and a source of one shot.
SCENES = {
    "a": [
        {"scene_index": 0, "start_seconds": 0.0, "end_seconds": 4.0, "start_frame": 0, "end_frame": 100},
        {"scene_index": 1, "start_seconds": 4.0, "end_seconds": 8.0, "start_frame": 100, "end_frame": 200},
        {"scene_index": 2, "start_seconds": 8.0, "end_seconds": 10.0, "start_frame": 200, "end_frame": 250},
        {"scene_index": 3, "start_seconds": 10.0, "end_seconds": 12.0, "start_frame": 250, "end_frame": 300},
    ],
    "b": [{"scene_index": 0, "start_seconds": 0.0, "end_seconds": 4.0, "start_frame": 0, "end_frame": 100}],
}
for scenes in SCENES.values():
    for scene, how in zip(scenes, ("start", "cut", "fade", "dissolve"), strict=False):
        scene["transition"] = how


def frame(index: int, **values: Any) -> dict[str, Any]:
    return {"frame_index": index, "pts_seconds": index / 25, **values}


def span(start: float, end: float, **values: Any) -> dict[str, Any]:
    return {"start_seconds": start, "end_seconds": end, **values}


def box(x0: float, y0: float, x1: float, y1: float) -> dict[str, float]:
    return {"x0": x0, "y0": y0, "x1": x1, "y1": y1}


# Frame 299 is the last of the last shot; the third shot has no sampled frame.
FRAMES = [
    frame(0, sharpness=100.0, frame_score=0.5),
    frame(50, sharpness=300.0, frame_score=0.4),
    frame(99, sharpness=200.0, frame_score=0.9),  # 0.04 s before a cut
    frame(100, sharpness=10.0, frame_score=0.9),  # at the cut
    frame(150, sharpness=30.0, frame_score=0.3),
    frame(299, sharpness=70.0, frame_score=0.1),
]
TABLES: dict[str, dict[str, Any]] = {"scenes": SCENES, "frames": {"a": FRAMES}}


def column(root: Path, name: str, source: str = "a") -> list[Any]:
    sql = f"SELECT {name} FROM shots WHERE source_id = '{source}' ORDER BY scene_index"
    return [row[0] for row in query(root, sql).rows]


@pytest.mark.parametrize("tables", [{"scenes": SCENES}, TABLES])
def test_the_columns_are_the_same_whatever_was_extracted(tmp_path: Path, tables: dict[str, Any]) -> None:
    make_folder(tmp_path, tables)
    result = query(tmp_path, "SELECT * FROM shots ORDER BY source_id, scene_index")
    assert list(result.columns) == SHOTS_SCHEMA.names
    assert len(result.rows) == 5
    assert column(tmp_path, "transition") == ["start", "cut", "fade", "dissolve"]
    assert column(tmp_path, "duration_seconds") == [4.0, 4.0, 2.0, 2.0]
    names = [row[0] for row in query(tmp_path, "SHOW TABLES").rows]
    assert "shots" in names
    assert not [name for name in names if name.startswith("framemill")]


def test_what_was_not_computed_is_null(tmp_path: Path) -> None:
    make_folder(tmp_path, TABLES)
    first = SHOTS_SCHEMA.names.index("num_frames")
    (row,) = query(tmp_path, "SELECT * FROM shots WHERE source_id = 'b'").rows
    assert row[first:] == (None,) * (len(SHOTS_SCHEMA) - first)
    unknown = ", ".join(n for n in SHOTS_SCHEMA.names[first:] if n not in ("num_frames", "sharpness"))
    unknown = unknown.replace("best_frame, best_seconds, ", "")
    for row in query(tmp_path, f"SELECT {unknown} FROM shots").rows:
        assert set(row) == {None}


def test_what_was_computed_and_found_nothing_is_empty_where_a_frame_was_looked_at(tmp_path: Path) -> None:
    none: dict[str, Any] = {"a": []}
    names = ("faces", "people", "objects", "text", "transcript", "speakers", "music_or_speech")
    make_folder(tmp_path, {**TABLES, **{name: none for name in names}})
    # The third shot has no sampled frame: nobody knows.
    assert column(tmp_path, "num_frames") == [3, 2, 0, 1]
    assert column(tmp_path, "num_faces") == [0, 0, None, 0]
    assert column(tmp_path, "face_share") == [0, 0, None, 0]
    for name in ("people", "labels", "text"):
        assert column(tmp_path, name) == [[], [], None, []]
    assert column(tmp_path, "words") == [""] * 4
    assert column(tmp_path, "speakers") == [[]] * 4
    assert column(tmp_path, "music_share") == [0] * 4
    assert column(tmp_path, "num_faces", "b") == [None]


def test_the_best_frame_is_away_from_transitions_where_it_can_be(tmp_path: Path) -> None:
    make_folder(tmp_path, TABLES)
    assert column(tmp_path, "best_frame") == [0, 150, None, 299]
    assert column(tmp_path, "best_seconds") == [0.0, 6.0, None, 11.96]
    assert column(tmp_path, "sharpness") == [200.0, 20.0, None, 70.0]
    assert column(tmp_path, "still") == [None] * 4


def test_thumbnails_choose_the_best_frame_and_lend_its_picture(tmp_path: Path) -> None:
    frames = [{**FRAMES[0], "image": b"zero"}, *FRAMES[1:]]
    picked = [
        frame(50, rank=1, score=0.6),
        frame(99, rank=0, score=0.7, image=b"ninety-nine"),
        frame(100, rank=2, score=0.1),
    ]
    make_folder(tmp_path, {"scenes": SCENES, "frames": {"a": frames}, "thumbnails": {"a": picked}})
    assert column(tmp_path, "best_frame") == [99, 100, None, 299]
    # The picture is that of the best frame, or none: never another's.
    assert column(tmp_path, "still") == [b"ninety-nine", None, None, None]


def test_pictures_of_frames_are_stills(tmp_path: Path) -> None:
    frames = [{**row, "image": b"%d" % row["frame_index"]} for row in FRAMES]
    make_folder(tmp_path, {"scenes": SCENES, "frames": {"a": frames}})
    assert column(tmp_path, "still") == [b"0", b"150", None, b"299"]


def test_faces_are_counted_by_frame_and_belong_to_shots_by_frame(tmp_path: Path) -> None:
    faces = [
        frame(0, face_index=0, box=box(0, 0, 20, 10)),
        frame(0, face_index=1, box=box(0, 0, 10, 10)),
        frame(50, face_index=0, box=box(0, 0, 50, 10)),
        frame(99, face_index=0, box=box(0, 0, 1, 1)),
        frame(100, face_index=0, box=box(0, 0, 100, 40)),
    ]
    people = [
        {"frame_index": 0, "face_index": 0, "person_id": "one"},
        {"frame_index": 0, "face_index": 1, "person_id": "two"},
        {"frame_index": 50, "face_index": 0, "person_id": "two"},
        {"frame_index": 100, "face_index": 0, "person_id": "one"},
    ]
    media = {"a": [{"uri": "/videos/a.mp4", "width": 100, "height": 100}]}
    tables = {**TABLES, "faces": {"a": faces}, "people": {"a": people}}
    make_folder(tmp_path / "sized", {**tables, "media": media})
    assert column(tmp_path / "sized", "num_faces") == [2, 1, None, 0]
    assert column(tmp_path / "sized", "face_share") == pytest.approx([0.05, 0.4, None, 0])
    assert column(tmp_path / "sized", "people") == [["two", "one"], ["one"], None, []]
    make_folder(tmp_path / "unsized", tables)
    assert column(tmp_path / "unsized", "num_faces") == [2, 1, None, 0]
    assert column(tmp_path / "unsized", "face_share") == [None, None, None, 0]


def test_labels_are_those_of_objects_and_the_first_of_frames(tmp_path: Path) -> None:
    objects = [
        frame(0, object_index=0, label="dog"),
        frame(0, object_index=1, label="dog"),  # twice in one frame is one frame
        frame(0, object_index=2, label="cat"),
        frame(50, object_index=0, label="cat"),
        frame(100, object_index=0, label="bus"),
    ]
    labels = [frame(0, rank=0, label="lawn"), frame(0, rank=1, label="desk"), frame(299, rank=0, label="sky")]
    make_folder(tmp_path, {**TABLES, "objects": {"a": objects}, "labels": {"a": labels}})
    assert column(tmp_path, "labels") == [["cat", "dog", "lawn"], ["bus"], None, ["sky"]]


def test_text_comes_once_in_order_of_appearance_of_spans_where_these_are(tmp_path: Path) -> None:
    text = [
        frame(0, text_index=0, text="News"),
        frame(0, text_index=1, text="at ten"),
        frame(50, text_index=0, text="A1 first"),
        frame(50, text_index=1, text="News"),
        frame(100, text_index=0, text="News"),
    ]
    make_folder(tmp_path / "lines", {**TABLES, "text": {"a": text}})
    assert column(tmp_path / "lines", "text") == [["News", "at ten", "A1 first"], ["News"], None, []]
    spans = [span(3.0, 9.0, text="NEWS"), span(0.0, 4.0, text="ends at the cut")]
    make_folder(tmp_path / "spans", {**TABLES, "text": {"a": text}, "text_spans": {"a": spans}})
    assert column(tmp_path / "spans", "text") == [["ends at the cut", "NEWS"], ["NEWS"], None, []]


def test_text_is_in_no_shot_whose_frames_do_not_show_it(tmp_path: Path) -> None:
    text = [
        frame(0, text_index=0, text="first"),
        frame(75, text_index=0, text="first"),
        frame(125, text_index=0, text="second"),
    ]
    # The first line is gone by the cut at 4.0 s, but no frame was looked at between 3.0 and 5.0 s.
    spans = [span(0.0, 5.0, text="first"), span(5.0, 12.0, text="second")]
    make_folder(tmp_path, {**TABLES, "text": {"a": text}, "text_spans": {"a": spans}})
    assert column(tmp_path, "text") == [["first"], ["second"], None, []]


def segment(
    number: int, start: float, end: float, text: str, *words: tuple[float, float, str]
) -> dict[str, Any]:
    timed = [span(*word[:2], text=word[2], probability=1.0) for word in words]
    return span(start, end, segment_index=number, text=text, origin="speech", words=timed or None)


def test_words_are_those_said_in_the_shot(tmp_path: Path) -> None:
    rows = [
        segment(0, 3.0, 5.0, "to be or", (3.0, 3.5, "to"), (3.5, 4.5, "be"), (4.5, 5.0, "or")),
        segment(1, 7.5, 8.0, "not"),  # ends where the third shot begins
        segment(2, 9.0, 11.0, "to\nbe"),
        segment(3, 12.0, 13.0, "behind the picture"),
        {**segment(0, 0.0, 12.0, "a subtitle"), "origin": "subtitles", "stream_index": 2},
    ]
    subtitles = [
        {**segment(0, 0.0, 1.0, "second stream"), "origin": "subtitles", "stream_index": 3},
        {**segment(0, 1.0, 1.0, "first"), "origin": "subtitles", "stream_index": 2},
        {**segment(1, 2.0, 3.0, "stream"), "origin": "subtitles", "stream_index": 2},
    ]
    make_folder(tmp_path, {**TABLES, "transcript": {"a": rows, "b": subtitles}})
    # A word across the cut is heard on both sides of it.
    assert column(tmp_path, "words") == ["to be", "be or not", "to be", "to be"]
    assert column(tmp_path, "words", "b") == ["first stream"]


def test_speakers_motion_loudness_and_music_are_weighed_by_what_lies_in_the_shot(tmp_path: Path) -> None:
    speakers = [
        span(0.0, 1.0, speaker="speaker_0"),
        span(1.0, 6.0, speaker="speaker_1"),
        span(9.0, 9.5, speaker="speaker_0"),
        span(6.5, 8.0, speaker="speaker_0"),
    ]
    stretches = [span(0.0, 3.0, difference=1.0), span(3.0, 10.0, difference=5.0)]
    levels = [{"start_seconds": s, "rms_db": db} for s, db in ((3.9, -10.0), (4.0, -20.0), (11.0, -20.0))]
    levels.append({"start_seconds": 11.1, "rms_db": -120.0})
    music = [
        span(1.0, 5.0, label="music"),
        span(5.0, 6.0, label="speech_and_music"),
        span(6.0, 12.0, label="speech"),
    ]
    tables = {"speakers": speakers, "stretches": stretches, "audio_levels": levels, "music_or_speech": music}
    make_folder(tmp_path, {**TABLES, **{name: {"a": rows} for name, rows in tables.items()}})
    assert column(tmp_path, "speakers") == [
        ["speaker_1", "speaker_0"], ["speaker_1", "speaker_0"], ["speaker_0"], []
    ]  # fmt: skip
    assert column(tmp_path, "motion") == pytest.approx([2.0, 5.0, 5.0, None])
    assert column(tmp_path, "loudness") == pytest.approx([-10.0, -20.0, None, -23.0103], abs=1e-3)
    assert column(tmp_path, "music_share") == [0.75, 0.5, 0, 0]


def test_a_file_under_two_names_has_its_shots_once(tmp_path: Path) -> None:
    media = {"a": [{"uri": uri, "width": 100, "height": 100} for uri in ("/x/1.mp4", "/x/2.mp4")]}
    faces = {"a": [frame(0, face_index=0, box=box(0, 0, 10, 10))]}
    make_folder(tmp_path, {**TABLES, "faces": faces, "media": media}, {"a": ["/x/2.mp4", "/x/1.mp4"]})
    assert column(tmp_path, "uri") == ["/x/1.mp4"] * 4
    assert column(tmp_path, "name") == ["1.mp4"] * 4
    assert column(tmp_path, "num_faces") == [1, 0, None, 0]


def test_a_shot_is_as_unsafe_as_its_worst_frame(tmp_path: Path) -> None:
    scores = {0: 0.125, 50: 0.75, 99: 0.5, 100: 0.25, 150: 0.0, 299: 1.0}
    rows = [frame(index, unsafe=score) for index, score in scores.items()]
    make_folder(tmp_path, {**TABLES, "moderation": {"a": rows}})
    # The third shot has no sampled frame: nobody knows.
    assert column(tmp_path, "unsafe") == [0.75, 0.25, None, 1.0]
    assert query(tmp_path, "SELECT scene_index FROM shots WHERE unsafe < 0.3").rows == [(1,)]


def test_a_cascade_says_nothing_of_shots_that_it_skipped(tmp_path: Path) -> None:
    rows = [frame(0, decision="kept"), frame(50, decision="skipped"), frame(100, decision="skipped")]
    tables: dict[str, Any] = {"candidates": {"a": rows}, "faces": {"a": []}, "objects": {"a": []}}
    make_folder(tmp_path, {**TABLES, **tables}, keys={"faces": {"after": {"candidates": "key"}}})
    assert column(tmp_path, "num_faces") == [0, None, None, None]
    assert column(tmp_path, "labels") == [[], [], None, []]


def test_tables_without_the_columns_of_today_add_nothing(tmp_path: Path) -> None:
    dataset = make_folder(tmp_path, TABLES)
    with dataset.hold("r"):
        put(dataset, "r", "faces", {"a": 1})  # its rows have another column alone
    assert column(tmp_path, "num_faces") == [None] * 4


def test_one_clear_face_no_text_sharp_three_to_ten_seconds_is_one_line(tmp_path: Path) -> None:
    faces = [frame(50, face_index=0, box=box(0, 0, 50, 10)), frame(299, face_index=0, box=box(0, 0, 50, 10))]
    media = {"a": [{"uri": "/videos/a.mp4", "width": 100, "height": 100}]}
    make_folder(tmp_path, {**TABLES, "faces": {"a": faces}, "text": {"a": []}, "media": media})
    line = (
        "SELECT scene_index FROM shots WHERE num_faces = 1 AND face_share > 0.02 AND len(text) = 0 "
        "AND sharpness > 100 AND duration_seconds BETWEEN 3 AND 10"
    )
    assert query(tmp_path, line).rows == [(0,)]


@pytest.mark.parametrize(
    ("sql", "read"),
    [
        ("SELECT count(*) FROM shots WHERE duration_seconds > 3", {"scenes"}),
        ("SELECT any_value(s.name) FROM shots AS s", {"scenes", "sources"}),
        ("SELECT scene_index FROM shots WHERE words LIKE '%not%'", {"scenes", "transcript"}),
        ("WITH x AS (FROM shots) SELECT max(num_faces) FROM x", {"scenes", "frames", "faces"}),
    ],
)
def test_only_tables_that_are_asked_for_are_read(tmp_path: Path, sql: str, read: set[str]) -> None:
    none: dict[str, Any] = {"a": []}
    dataset = make_folder(
        tmp_path, {**TABLES, "objects": none, "faces": none, "text": none, "transcript": none}
    )
    tables = dataset_tables(dataset)
    with duckdb.connect() as connection:
        for name, table in tables.items():
            connection.register(name, table)
        connection.register("sources", pa.table({"source_id": ["a"], "uri": ["/a.mp4"]}))
        create_shots(connection, tables, dataset.state, sql)
        (view,) = connection.execute("SELECT sql FROM duckdb_views() WHERE view_name = 'shots'").fetchall()
    assert {name for name in (*tables, "sources") if re.search(rf"FROM \(*{name}\b", view[0])} == read
    assert query(tmp_path, sql).columns


def test_every_way_to_name_a_column_is_understood(tmp_path: Path) -> None:
    faces = {"a": [frame(0, face_index=0, box=box(0, 0, 10, 10))]}
    make_folder(tmp_path, {**TABLES, "faces": faces})
    for sql in (
        "SELECT num_faces FROM shots ORDER BY ALL",
        "SELECT COLUMNS('num_fa.*') FROM shots ORDER BY 1",
        'SELECT "NUM_FACES" FROM shots ORDER BY 1',
        "SELECT shots.num_faces FROM shots JOIN scenes USING (source_id, scene_index) ORDER BY 1",
        "SELECT s.num_faces FROM (SELECT shots AS s FROM shots) ORDER BY 1",
        "SELECT (SELECT max(num_faces) FROM shots t WHERE t.scene_index = s.scene_index AND t.source_id = "
        "s.source_id) FROM scenes s ORDER BY 1 -- shots",
        "FROM shots SELECT num_faces ORDER BY 1;",
    ):
        assert [row[-1] for row in query(tmp_path, sql).rows] == [0, 0, 1, None, None], sql
    pivoted = query(tmp_path, "PIVOT (SELECT source_id, num_faces FROM shots) ON num_faces USING count(*)")
    assert ("a", 2, 1) in [(row[0], *sorted(row[1:], reverse=True)[:2]) for row in pivoted.rows]


def test_what_the_camera_does_is_that_of_the_motion_of_the_shot(tmp_path: Path) -> None:
    moves = [(0.25, "pan", "left"), (0.0, "static", None), (None, None, None), (0.5, "handheld", None)]
    rows = [
        {"scene_index": n, "amount": amount, "kind": kind, "direction": direction}
        for n, (amount, kind, direction) in enumerate(moves)
    ]
    make_folder(tmp_path, {**TABLES, "motion": {"a": rows}})
    assert column(tmp_path, "movement") == [0.25, 0.0, None, 0.5]
    assert column(tmp_path, "camera") == ["pan", "static", None, "handheld"]
    assert column(tmp_path, "camera_direction") == ["left", None, None, None]
    assert column(tmp_path, "camera", "b") == [None]
    found = query(
        tmp_path, "SELECT scene_index FROM shots WHERE camera = 'pan' AND camera_direction = 'left'"
    )
    assert found.rows == [(0,)]


def said(of: str, start: float, end: float, text: str | None, *tags: str) -> dict[str, Any]:
    status = "failed" if text is None else "ok"
    index = {"scene_index": 7, "clip_index": None if of == "shot" else int(start)}
    return span(
        start, end, of=of, text=text, tags=None if text is None else list(tags), status=status, **index
    )


def test_captions_are_those_of_the_shot_or_else_of_the_clips_in_it(tmp_path: Path) -> None:
    rows = [
        said("shot", 0.0, 4.0, "A dog runs.", "lawn", "dog"),
        said("clip", 0.0, 4.0, "The dog as a clip."),
        said("shot", 4.0, 8.0, None),
        said("clip", 6.0, 7.5, "Then rain.", "rain", "night"),
        said("clip", 4.0, 6.0, "Fog first.", "night"),
        # Shots may have been found anew since: it is of the one that holds at least half of it.
        said("shot", 7.0, 10.0, "A bus."),
    ]
    make_folder(tmp_path, {**TABLES, "captions": {"a": rows}})
    assert column(tmp_path, "caption") == ["A dog runs.", "Fog first. Then rain.", "A bus.", None]
    assert column(tmp_path, "keywords") == [["dog", "lawn"], ["night", "rain"], [], None]
    assert column(tmp_path, "caption", "b") == [None]
    assert query(tmp_path, "SELECT scene_index FROM shots WHERE caption ILIKE '%rain%'").rows == [(1,)]
