"""Tags and names in the data behind the viewer, also where others gave them; boxes that bear names."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from framemill.cluster.corpus.names import name_person
from framemill.cluster.corpus.shots import find_shots
from framemill.cluster.corpus.tags import tag_shots
from framemill.cluster.results.corpus_tables import uris_by_source
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.view.live import LiveFolder
from framemill.cluster.view.server import make_pages
from tests.cluster.view.folders import SAMPLE, add_rows
from tests.cluster.view.test_server_api import BASE, PORT, TOKEN, ask, of_view, places, post

PERSON = "a1b2c3"


@pytest.fixture
def own(folder: Dataset, tmp_path: Path) -> Dataset:
    """A copy of the folder, to be written to."""
    shutil.copytree(str(folder.root), tmp_path / "out")
    return Dataset.open(tmp_path / "out", create=False)


@pytest.fixture
def live(own: Dataset, tmp_path: Path) -> Iterator[LiveFolder]:
    live = LiveFolder(Dataset.open(own.root, create=False), tmp_path / "cache")
    assert live.wait(60)
    yield live
    live.close()


@pytest.fixture
def guest(live: LiveFolder) -> TestClient:
    client = TestClient(make_pages(live, PORT, TOKEN), base_url=BASE, follow_redirects=False)
    client.get("/", params={"token": TOKEN})
    return client


@pytest.fixture
def sample(own: Dataset) -> str:
    return next(source for source, uris in uris_by_source(own).items() if uris[0].endswith(SAMPLE))


def found(client: TestClient, where: str) -> list[tuple[str, int]]:
    return places(ask(client, "shots", filter={"where": where}))


def test_a_condition_over_tags_finds_what_the_view_finds(
    guest: TestClient, own: Dataset, sample: str
) -> None:
    post(guest, "tags", {"tag": "keep", "on": True, "shots": [[sample, 0], [sample, 2]]})
    post(guest, "tags", {"tag": "best", "on": True, "shots": [[sample, 2]]})
    for where in ("list_contains(tags, 'keep')", "NOT list_contains(tags, 'keep')", "len(tags) = 2"):
        assert found(guest, where) == of_view(own, where) != []
    post(guest, "tags", {"tag": "keep", "on": False, "shots": [[sample, 0], [sample, 2]]})
    assert found(guest, "list_contains(tags, 'keep')") == []


def test_a_name_is_known_in_files_that_it_does_not_hang_on(
    own: Dataset, live: LiveFolder, guest: TestClient, sample: str
) -> None:
    with own.hold("n"):
        name_person(own, "n", PERSON, "Anna")
    assert live.wait(30)
    assert {source for source, _ in found(guest, "len(names) > 0")} == {sample}
    other = next(row["source"] for row in ask(guest, "shots")["rows"] if row["source"] != sample)
    add_rows(own, "people", {other: [{"frame_index": 0, "face_index": 0, "person_id": PERSON}]})
    assert live.wait(30)
    assert {source for source, _ in found(guest, "len(names) > 0")} == {sample, other}


def test_rows_are_those_of_the_view_after_others_tagged_and_named(
    own: Dataset, live: LiveFolder, guest: TestClient, sample: str
) -> None:
    with own.hold("t"):
        tag_shots(own, "t", "</script><script>", [(sample, 1)], on=True)
        tag_shots(own, "t", "b", [(sample, 1), (sample, 0)], on=True)
        name_person(own, "t", PERSON, "Anna")
    assert live.wait(30)
    rows = {(row["source"], row["index"]): row for row in ask(guest, "shots")["rows"]}
    view = find_shots(own.root, None, columns=("source_id", "scene_index", "tags", "names")).rows
    assert len(rows) == len(view) == 9
    for source, index, tags, names in view:
        assert rows[source, index]["tags"] == tags
        assert [name for _, name in rows[source, index]["people"] if name] == (names or [])
    # As many rows, but another tag.
    with own.hold("t"):
        tag_shots(own, "t", "b", [(sample, 0)], on=False)
        tag_shots(own, "t", "c", [(sample, 0)], on=True)
    assert live.wait(30)
    assert ask(guest, "shots", filter={"file": sample})["rows"][0]["tags"] == ["c"]


def test_a_viewer_that_comes_later_finds_what_was_said_meanwhile(
    own: Dataset, tmp_path: Path, sample: str
) -> None:
    def tags() -> list[list[Any]]:
        later = LiveFolder(Dataset.open(own.root, create=False), tmp_path / "kept")
        assert later.wait(60)
        try:
            return list(later.tags()["tags"])
        finally:
            later.close()

    assert tags() == []
    with own.hold("t"):
        tag_shots(own, "t", "keep", [(sample, 0)], on=True)
    assert tags() == [["keep", 1]]


def test_what_cannot_be_said_is_refused_in_words(guest: TestClient, sample: str) -> None:
    good = {"tag": "keep", "on": True, "shots": [[sample, 0]]}
    for body, words in (
        ({**good, "tag": ""}, "1 to 64 characters"),
        ({**good, "tag": "x" * 65}, "1 to 64 characters"),
        ({**good, "tag": "a\tb"}, "U+0009"),
        ({**good, "tag": 5}, "not understood"),
        ({**good, "shots": [[sample, 99]]}, "no shot 99"),
        ({**good, "shots": [["../x", 0]]}, "no shot 0"),
        ({**good, "shots": [[sample, "0"]]}, "not understood"),
    ):
        assert words in post(guest, "tags", body, 400)["error"], body
    for path, body in (("tags", good), (f"people/{PERSON}", {"name": "Anna"})):
        for origin in ("http://evil.example", "null"):
            assert guest.post(f"/api/{path}", json=body, headers={"Origin": origin}).status_code == 403
    assert ask(guest, "tags")["tags"] == []


def test_boxes_of_faces_bear_the_name_that_was_given(guest: TestClient, own: Dataset, sample: str) -> None:
    def drawn() -> list[str]:
        over_video = ask(guest, f"boxes/{sample}", start=0, end=1)["frames"][0][1]
        over_still = ask(guest, "shots", filter={"file": sample})["rows"][0]["boxes"]
        return [box[1] for box in (*over_video, *over_still)]

    assert drawn() == [f"person {PERSON}", "person"] * 2
    post(guest, f"people/{PERSON}", {"name": "Anna"})
    assert drawn() == ["Anna", "person"] * 2
    tracks = {"track_id": 7, "table": "faces", "frame_index": 0, "item_index": 0, "pts_seconds": 0.0}
    add_rows(own, "tracks", {sample: [tracks]})
    assert ask(guest, f"boxes/{sample}", start=0, end=1)["frames"][0][1][0][1] == "Anna #7"
    post(guest, f"people/{PERSON}", {"name": ""})
    assert drawn()[2:] == [f"person {PERSON}", "person"]


def test_poses_are_limbs_between_the_points_that_are_seen(
    guest: TestClient, own: Dataset, sample: str
) -> None:
    points = {"left_shoulder": (10, 20, 0.9), "left_elbow": (30.06, 45, 0.8), "left_wrist": (50, 60, 0.1)}
    body = [{"name": name, "x": x, "y": y, "score": score} for name, (x, y, score) in points.items()]
    unseen = [{**point, "score": 0.0} for point in body]
    at = {"frame_index": 250, "pts_seconds": 10.0, "score": 0.9, "object_index": 0}
    add_rows(
        own,
        "poses",
        {
            sample: [
                {**at, "person_index": 0, "keypoints": body},
                {**at, "person_index": 1, "keypoints": unseen},
            ]
        },
    )
    ((_, boxes),) = ask(guest, f"boxes/{sample}", start=10, end=11)["frames"]
    assert [box for box in boxes if box[0] == "pose"] == [
        ["pose", "pose", 10.0, 20.0, 30.1, 45.0, [[10.0, 20.0, 30.1, 45.0]]]
    ]
