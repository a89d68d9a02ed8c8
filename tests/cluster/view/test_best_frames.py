"""Which frames stand for shots and files, on tables made by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from framemill.cluster.results.queries import query
from framemill.cluster.view.document import choose_sources, plan_document
from framemill.cluster.view.source_rows import SourceRows
from framemill.cluster.view.stills import Stills
from tests.cluster.results.hand_made import make_folder
from tests.cluster.results.test_shots import FRAMES, SCENES, frame

MEDIA = {
    source: [{"uri": f"/videos/{source}.mp4", "video_codec": "h264", "num_frames": 300, "container": "mp4"}]
    for source in ("a", "b", "c")
}
TABLES: dict[str, dict[str, Any]] = {"scenes": SCENES, "frames": {"a": FRAMES, "b": []}}


def document(root: Path, tables: dict[str, Any]) -> dict[str, Any]:
    dataset = make_folder(root, tables, durations={"a": 12.0, "b": 4.0, "c": 12.0})
    sources = choose_sources(dataset, SourceRows(dataset))
    return plan_document(dataset, Stills(dataset), SourceRows(dataset, sources), sources)


def shown(file: dict[str, Any]) -> list[tuple[int, float]]:
    return [(shot["frame"], shot["at"]) for shot in file["shots"]]


def in_view(root: Path, source: str) -> list[tuple[int | None, float | None]]:
    sql = f"SELECT best_frame, best_seconds FROM shots WHERE source_id = '{source}' ORDER BY scene_index"
    return query(root, sql).rows


def test_a_still_is_the_best_frame_of_the_view_and_the_middle_where_none_was_sampled(tmp_path: Path) -> None:
    a, b = document(tmp_path, TABLES)["files"]
    assert shown(a) == [(0, 0.0), (150, 6.0), (224, 9.0), (299, 11.96)]
    best = in_view(tmp_path, "a")
    assert [one for one in shown(a) if one[0] != 224] == [row for row in best if row[0] is not None]
    assert shown(b) == [(49, 2.0)]
    assert (a["poster"], b["poster"]) == (0, 0)


def test_a_frame_beside_a_cut_is_no_poster_however_high_its_score(tmp_path: Path) -> None:
    frames = [frame(99, frame_score=0.9), frame(150, frame_score=0.3), frame(225, frame_score=0.2)]
    (a, _) = document(tmp_path, {**TABLES, "frames": {"a": frames, "b": []}})["files"]
    assert shown(a)[:3] == [(99, 3.96), (150, 6.0), (225, 9.0)]
    assert a["poster"] == 1


def test_thumbnails_choose_stills_and_poster(tmp_path: Path) -> None:
    picked = [frame(50, rank=1, score=0.6), frame(100, rank=0, score=0.7), frame(299, rank=2, score=0.1)]
    (a, _) = document(tmp_path, {**TABLES, "thumbnails": {"a": picked}})["files"]
    assert shown(a) == [(50, 2.0), (100, 4.0), (224, 9.0), (299, 11.96)]
    assert [one for one in in_view(tmp_path, "a") if one[0] is not None] == [shown(a)[k] for k in (0, 1, 3)]
    assert a["poster"] == 1


def test_a_file_without_shots_is_one_and_a_preview_has_looked_at_it(tmp_path: Path) -> None:
    looked = [frame(20, frame_score=0.2), frame(180, frame_score=0.7)]
    tables = {"media": MEDIA, "frames": {"a": FRAMES[:2]}, "preview": {"a": looked, "b": looked}}
    a, b, c = document(tmp_path, tables)["files"]
    assert shown(a) == [(0, 0.0)]
    assert shown(b) == [(180, 7.2)]
    assert [shot["frame"] for shot in c["shots"]] == [149]


def test_a_preview_alone_is_enough(tmp_path: Path) -> None:
    looked = [frame(20, frame_score=0.2), frame(180, frame_score=0.7)]
    (file,) = document(tmp_path, {"media": {"b": MEDIA["b"]}, "preview": {"b": looked}})["files"]
    assert shown(file) == [(180, 7.2)]
    assert file["poster"] == 0
