"""The data behind `framemill view`: what it answers to filters, and what it refuses."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from framemill.cluster.corpus.shots import find_shots
from framemill.cluster.results.corpus_tables import uris_by_source
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.view.live import LiveFolder
from framemill.cluster.view.server import make_pages
from tests.cluster.view.folders import BOX, HOSTILE_TEXT, LATE, SAMPLE, add_rows

PORT, TOKEN = 5005, "a-token"
BASE = f"http://127.0.0.1:{PORT}"


@pytest.fixture(scope="module")
def live(folder: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveFolder]:
    live = LiveFolder(Dataset.open(folder.root, create=False), tmp_path_factory.mktemp("cache"))
    live.wait(60)
    yield live
    live.close()


@pytest.fixture(scope="module")
def guest(live: LiveFolder) -> TestClient:
    client = TestClient(make_pages(live, PORT, TOKEN), base_url=BASE, follow_redirects=False)
    client.get("/", params={"token": TOKEN})
    return client


@pytest.fixture(scope="module")
def sample(folder: Dataset) -> str:
    return next(source for source, uris in uris_by_source(folder).items() if uris[0].endswith(SAMPLE))


def ask(client: TestClient, path: str, status: int = 200, **query: Any) -> Any:
    if "filter" in query:
        query["filter"] = json.dumps(query["filter"])
    answer = client.get(f"/api/{path}", params=query)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json"), answer.text
    return answer.json()


def places(answer: Any) -> list[tuple[str, int]]:
    return [(row["source"], row["index"]) for row in answer["rows"]]


def of_view(folder: Dataset, where: str | None = None) -> list[tuple[str, int]]:
    columns = ("source_id", "scene_index")
    return [(source, index) for source, index in find_shots(folder.root, where, columns=columns).rows]


def test_shots_are_those_of_the_view_in_its_order_and_page_by_page(
    guest: TestClient, folder: Dataset
) -> None:
    whole = of_view(folder)
    assert len(whole) == 9
    answer = ask(guest, "shots")
    assert (answer["total"], places(answer)) == (9, whole)
    assert answer["ms"] > 0
    pages = [ask(guest, "shots", offset=offset, limit=4) for offset in (0, 4, 8, 12)]
    assert [page["total"] for page in pages] == [9] * 4
    assert [place for page in pages for place in places(page)] == whole


@pytest.mark.parametrize(
    "where",
    [
        "num_faces = 1",
        "list_contains(labels, 'person') AND duration_seconds > 2 -- a comment",
        "sharpness > (SELECT avg(sharpness) FROM shots)",
        "transition = 'cut' OR words <> ''",
    ],
)
def test_a_condition_finds_what_the_view_finds(guest: TestClient, folder: Dataset, where: str) -> None:
    found = of_view(folder, where)
    assert 0 < len(found) < 9
    assert places(ask(guest, "shots", filter={"where": where})) == found


@pytest.mark.parametrize(
    ("facets", "where"),
    [
        ({"label": ["person"]}, "list_contains(labels, 'person')"),
        ({"label": ["person", HOSTILE_TEXT]}, "len(list_filter(labels, lambda l: l <> 'stopwatch')) > 0"),
        ({"person": ["a1b2c3"]}, "list_contains(people, 'a1b2c3')"),
        ({"label": ["person"], "faces": ["0"]}, "list_contains(labels, 'person') AND num_faces = 0"),
        ({"text": ["without"]}, "len(text) = 0"),
        ({"speech": ["with"], "codec": ["h264"]}, "words <> ''"),
        ({"length": ["2-4 s"]}, "duration_seconds >= 2 AND duration_seconds < 4"),
        ({"transition": ["fade"]}, "transition = 'fade'"),
        ({"label": []}, "true"),
        ({"label": ["' OR true --"]}, "false"),
    ],
)
def test_a_facet_filters_as_the_condition_that_it_stands_for(
    guest: TestClient, folder: Dataset, facets: dict[str, list[str]], where: str
) -> None:
    assert places(ask(guest, "shots", filter={"facets": facets})) == of_view(folder, where)


def test_counts_of_a_facet_are_made_under_all_filters_but_its_own(guest: TestClient, folder: Dataset) -> None:
    chosen: dict[str, list[str]] = {"label": ["person"], "faces": ["1"]}
    answer = ask(guest, "facets", filter={"facets": chosen, "where": "duration_seconds < 2.5"})
    counts = {facet["name"]: {value: n for value, n, _ in facet["values"]} for facet in answer["facets"]}
    for name, values in counts.items():
        others = {other: own for other, own in chosen.items() if other != name}
        for value, count in values.items():
            wanted = {"facets": others | {name: [value]}, "where": "duration_seconds < 2.5"}
            assert ask(guest, "shots", filter=wanted)["total"] == count, (name, value)
    assert counts["faces"] == {
        str(n): len(of_view(folder, f"num_faces = {n} AND list_contains(labels, 'person')"
                            " AND duration_seconds < 2.5")) for n in (0, 1)
    }  # fmt: skip


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"facets": {"label": ["person"]}},
        {"facets": {"faces": ["1"]}},
        {"facets": {"label": ["person"], "faces": ["1", "0"], "length": ["2-4 s"]}},
        {"facets": {"label": ["person"]}, "words": "milling"},
    ],
)
def test_counts_are_those_of_the_shots_that_a_value_leaves(guest: TestClient, wanted: dict[str, Any]) -> None:
    counted = {facet["name"]: facet["values"] for facet in ask(guest, "facets", filter=wanted)["facets"]}
    assert {"label", "length", "faces"} <= counted.keys()
    for name, values in counted.items():
        for value, count, _ in values:
            facets = wanted.get("facets", {}) | {name: [value]}
            assert ask(guest, "shots", filter=wanted | {"facets": facets})["total"] == count > 0


@pytest.mark.parametrize(
    ("words", "count"),
    [
        *(("MILLING", 1), ("milling words", 0), ("third SHOT", 2), ("gpj.MP4", 3), ("stopwatch", 2)),
        *(("</script>", 2), ("_", 0), ("%", 0), ("'", 2), ("\\", 0)),
    ],
)
def test_words_are_looked_for_as_they_stand_in_any_case(guest: TestClient, words: str, count: int) -> None:
    found = ask(guest, "shots", filter={"words": words})
    for row in found["rows"]:
        labels = [label for label, _, _ in row["labels"]]
        assert words.lower() in " ".join([row["words"], *row["text"], *labels, row["name"]]).lower()
    assert (found["total"] > 0) == (count > 0)


def test_a_row_says_what_the_tables_say(guest: TestClient, sample: str) -> None:
    row = ask(guest, "shots", filter={"file": sample})["rows"][0]
    assert row["source"] == sample and row["name"] == SAMPLE and row["url"] == f"media/{sample}"
    assert (row["start"], row["first"], row["index"], row["transition"]) == (0, 0, 0, "start")
    assert (row["width"], row["height"], row["fps"]) == (320, 180, 25)
    box = [round(BOX[edge], 1) for edge in ("x0", "y0", "x1", "y1")]
    assert row["boxes"][0] == ["face", "person a1b2c3", 60, 40, 90, 80]
    assert row["boxes"][1][:2] == ["object", "person"]
    assert row["boxes"][1][2:] == pytest.approx(box, abs=0.01)
    assert row["labels"] == [["person", 1, 0]]
    assert row["people"] == [["a1b2c3", ""]]
    assert row["still"] == f"stills/{sample}/{row['frame']}"
    assert guest.get(f"/{row['still']}").content[8:12] == b"WEBP"


def test_files_are_listed_with_those_that_failed_and_filtered_by_their_shots(
    guest: TestClient, sample: str
) -> None:
    rows = ask(guest, "files")["rows"]
    assert [row["status"] for row in rows].count("failed") == 1
    assert len(rows) == 4 and rows == sorted(rows, key=lambda row: row["uri"])
    (found,) = ask(guest, "files", filter={"facets": {"person": ["a1b2c3"]}})["rows"]
    assert (found["id"], found["shots"], found["codec"]) == (sample, 5, "h264")
    assert guest.get(f"/{found['still']}").status_code == 200
    assert [row["name"] for row in ask(guest, "files", filter={"words": "BROKEN"})["rows"]] == ["broken.mp4"]


def test_one_file_is_told_whole(guest: TestClient, sample: str) -> None:
    file = ask(guest, f"files/{sample}")
    assert file["uri"].endswith(SAMPLE) and len(file["shots"]) == 5 and file["url"] == f"media/{sample}"
    assert {lane["kind"] for lane in file["lanes"]} >= {"highlight", "loudness", "object"}
    for shot in file["shots"]:
        assert guest.get(f"/{shot['still']}").content[8:12] == b"WEBP"
    assert "no such file" in ask(guest, "files/nothing", status=404)["error"]


def test_boxes_of_a_stretch_are_those_of_its_sampled_frames(guest: TestClient, sample: str) -> None:
    frames = ask(guest, f"boxes/{sample}", start=2, end=5)["frames"]
    assert [at for at, _ in frames] == [2, 3, 4]
    assert [[box[:2] for box in boxes] for _, boxes in frames] == [
        [["face", "person a1b2c3"], ["object", "person"]],
        [["face", "person a1b2c3"], ["object", "person"]],
        [["object", "person"]],
    ]
    assert "at once" in ask(guest, f"boxes/{sample}", status=400, start=0, end=1e6)["error"]
    late = next(row["id"] for row in ask(guest, "files")["rows"] if row["name"] == LATE)
    assert ask(guest, f"boxes/{late}", start=0, end=2)["frames"] == [[0, []], [1, []]]


def test_people_and_duplicates_come_with_stills_that_are_there(guest: TestClient, sample: str) -> None:
    (person,) = ask(guest, "people")["rows"]
    assert (person["person"], person["faces"], person["files"]) == ("a1b2c3", 4, 1)
    assert {seen["index"] for seen in person["sightings"]} == {0, 1}
    (group,) = ask(guest, "duplicates")["rows"]
    assert (group["kind"], group["size"], group["items"][0]["source"]) == ("frame", 3, sample)
    for one in (*person["sightings"], *group["items"]):
        assert guest.get(f"/{one['still']}").content[8:12] == b"WEBP"


def test_the_head_tells_totals_failures_and_runs(guest: TestClient, folder: Dataset) -> None:
    head = ask(guest, "overview")
    assert head["totals"]["files"] == 4 and head["totals"]["shots"] == 9 and head["totals"]["failed"] == 1
    assert head["index"] == {"ready": True, "done": 4, "total": 4}
    assert ["person", 5] in head["histograms"]["Labels, by shots"]
    assert head["sequence"] == folder.state.sequence == ask(guest, "sequence")["sequence"]
    assert ask(guest, "sequence")["title"] == "out"
    assert ask(guest, "sequence")["running"] is None
    errors = ask(guest, "errors")
    assert errors["total"] == head["num_failures"] == 1 and "broken.mp4" in errors["rows"][0]["uri"]
    assert ask(guest, "errors", offset=1)["rows"] == []
    assert len(ask(guest, "runs")["rows"]) == len(head["runs"])


def test_likeness_without_vectors_names_the_operation(guest: TestClient, sample: str) -> None:
    error = ask(guest, "similar", status=404, source=sample, frame=0)["error"]
    assert "--ops image_embeddings" in error


@pytest.mark.parametrize(
    ("path", "query", "words"),
    [
        ("shots", {"filter": {"where": "no_such_column = 1"}}, "no_such_column"),
        ("shots", {"filter": {"where": "true); SELECT (1"}}, "semicolon"),
        ("shots", {"filter": {"where": "corrupt = 'corrupt database file'"}}, "corrupt"),
        ("shots", {"filter": {"where": "error('corrupt database file')"}}, "corrupt"),
        ("facets", {"filter": {"facets": {"colour": ["red"]}}}, "there is no facet 'colour'"),
        ("files", {"filter": {"weather": "fine"}}, "weather"),
        ("shots", {"sort": "colour"}, "-sharpness"),
        ("shots", {"limit": 100_000}, "500"),
        ("shots", {"offset": -1}, "offset -1"),
        ("shots", {"offset": "nan"}, "offset"),
        ("errors", {"limit": "many"}, "'many' is no number"),
        ("similar", {"source": "x", "frame": "inf"}, "frame 'inf' is beyond what there is"),
        ("boxes/x", {"start": "nan"}, "start 'nan' is beyond what there is"),
        ("boxes/x", {"end": "1e308"}, "end '1e308' is beyond what there is"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_words(
    guest: TestClient, path: str, query: dict[str, Any], words: str
) -> None:
    assert words in ask(guest, path, status=400, **query)["error"]


def test_a_condition_can_neither_write_nor_read_files(
    guest: TestClient, folder: Dataset, tmp_path: Path
) -> None:
    (tmp_path / "secret.csv").write_text("number\n1\n")
    for where in (
        f"scene_index IN (SELECT number FROM read_csv('{tmp_path}/secret.csv'))",
        f"scene_index IN (SELECT number FROM '{tmp_path}/secret.csv')",
        f"uri IN (SELECT content FROM read_text('{folder.root}/_framemill/dataset.json'))",
        f"scene_index IN (WITH c AS (COPY (SELECT 1) TO '{tmp_path}/made.csv') SELECT 1)",
        "scene_index IN (WITH d AS (DELETE FROM held.shots RETURNING number) SELECT number FROM d)",
        "true) ; DELETE FROM held.shots; SELECT (1",
        "true) ; SET memory_limit = '8GB'; SELECT (1",
    ):
        ask(guest, "shots", status=400, filter={"where": where})
    assert [path.name for path in tmp_path.iterdir()] == ["secret.csv"]
    assert ask(guest, "shots")["total"] == 9


def test_a_statement_is_answered_with_values_that_json_has(guest: TestClient) -> None:
    sql = "SELECT scene_index, 'nan'::DOUBLE AS n, [DATE '2026-01-02'] AS d, '\\x01'::BLOB AS b FROM shots"
    answer = post(guest, "sql", {"sql": sql, "limit": 2})
    assert answer["columns"] == ["scene_index", "n", "d", "b"]
    assert [row[1:] for row in answer["rows"]] == [["nan", ["2026-01-02"], "<1 bytes>"]] * 2
    assert answer["more"] is True
    for body in ({"sql": "DROP VIEW shots"}, {"sql": "SELECT 1", "limit": 0}, {"limit": 1}, [1]):
        assert post(guest, "sql", body, 400)["error"]


def post(client: TestClient, path: str, body: Any, status: int = 200) -> Any:
    answer = client.post(f"/api/{path}", json=body, headers={"Origin": BASE})
    assert answer.status_code == status, answer.text
    return answer.json()


@pytest.fixture
def written(folder: Dataset, tmp_path: Path) -> Iterator[tuple[Dataset, TestClient]]:
    """A copy of the folder, and the viewer of it."""
    shutil.copytree(str(folder.root), tmp_path / "out")
    own = Dataset.open(tmp_path / "out", create=False)
    live = LiveFolder(Dataset.open(own.root, create=False), tmp_path / "cache")
    live.wait(60)
    client = TestClient(make_pages(live, PORT, TOKEN), base_url=BASE, follow_redirects=False)
    client.get("/", params={"token": TOKEN})
    yield own, client
    live.close()


def test_tags_and_names_are_written_and_found_at_once(
    written: tuple[Dataset, TestClient], sample: str
) -> None:
    own, client = written
    assert ask(client, "tags")["tags"] == []
    shots = [[sample, 0], [sample, 3]]
    assert post(client, "tags", {"tag": " keep ", "on": True, "shots": shots})["tags"] == [["keep", 2]]
    assert post(client, "tags", {"tag": "best", "on": True, "shots": shots[:1]})["tags"][1] == ["best", 1]
    answer = ask(client, "shots", filter={"facets": {"tag": ["keep"]}})
    assert [[row["source"], row["index"]] for row in answer["rows"]] == shots
    assert [row["tags"] for row in answer["rows"]] == [["best", "keep"], ["keep"]]
    found = ask(client, "shots", filter={"where": "list_contains(tags, 'best')"})
    assert places(found) == of_view(own, "list_contains(tags, 'best')") == [(sample, 0)]
    assert ask(client, f"files/{sample}")["tags"] == {"0": ["best", "keep"], "3": ["keep"]}
    facets = {facet["name"]: facet["values"] for facet in ask(client, "facets")["facets"]}
    assert facets["tag"] == [["keep", 2, "keep"], ["best", 1, "best"]]
    assert post(client, "tags", {"tag": "keep", "on": False, "shots": shots})["tags"] == [["best", 1]]
    assert post(client, "people/a1b2c3", {"name": "Anna"})["name"] == "Anna"
    assert ask(client, "people")["rows"][0]["name"] == "Anna"
    assert ask(client, "shots", filter={"file": sample})["rows"][0]["people"] == [["a1b2c3", "Anna"]]
    facets = {facet["name"]: facet["values"] for facet in ask(client, "facets")["facets"]}
    assert facets["person"] == [["a1b2c3", 2, "Anna"]]
    columns = ("source_id", "scene_index", "tags", "names")
    kept = ask(client, "shots", filter={"where": "names = ['Anna'] OR len(tags) > 0"})
    assert places(kept) == [
        row[:2] for row in find_shots(own.root, columns=columns).rows if row[3] == ["Anna"] or row[2]
    ]


def test_what_cannot_be_written_is_refused_in_words(written: tuple[Dataset, TestClient], sample: str) -> None:
    own, client = written
    for body in ({"tag": "", "shots": [[sample, 0]]}, {"tag": "x", "shots": [[sample, 99]]}, {"tag": "x"}):
        assert post(client, "tags", body, 400)["error"]
    assert "no person nobody" in post(client, "people/nobody", {"name": "x"}, 400)["error"]
    with own.hold("a-run"):
        assert "a-run" in post(client, "tags", {"tag": "x", "shots": [[sample, 0]]}, 409)["error"]
        assert ask(client, "sequence")["running"]["run"] == "a-run"
    assert ask(client, "tags")["tags"] == []


def test_likeness_finds_each_shot_once_by_its_nearest_frame(
    written: tuple[Dataset, TestClient], sample: str
) -> None:
    own, client = written
    other = next(row["source"] for row in ask(client, "shots")["rows"] if row["source"] != sample)
    angles = {second: second * math.pi / 24 for second in range(12)}
    rows = [
        {"frame_index": 25 * at, "pts_seconds": float(at), "vector": [math.cos(angle), math.sin(angle)]}
        for at, angle in angles.items()
    ]
    last = {"frame_index": 1, "pts_seconds": 0.0, "vector": [math.cos(0.5), math.sin(0.5)]}
    add_rows(own, "image_embeddings", {sample: rows, other: [last]})
    asked = ask(client, "similar", source=sample, frame=30, limit=3)
    assert asked["table"] == "image_embeddings"
    shots = ask(client, "shots", filter={"file": sample})["rows"]
    wanted = angles[1]  # of the frame closest to the one asked for
    near = {(other, 0): math.cos(0.5 - wanted)}
    for at, angle in angles.items():
        index = next(shot["index"] for shot in shots if shot["first"] <= 25 * at < shot["last"])
        place = (sample, index)
        near[place] = max(near.get(place, -1), math.cos(angle - wanted))
    del near[sample, 0]  # the shot itself
    best = sorted(near, key=lambda place: -near[place])[:3]
    assert places(asked) == best
    assert [row["score"] for row in asked["rows"]] == pytest.approx([near[place] for place in best], abs=1e-4)
    assert "no vectors" in ask(client, "similar", status=404, source="nobody", frame=0)["error"]
