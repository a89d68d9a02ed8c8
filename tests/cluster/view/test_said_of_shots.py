"""Captions, their keywords and camera moves of shots in the viewer: facets, words and cards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from framemill.cluster.view.live import LiveFolder
from framemill.cluster.view.server import make_pages
from tests.cluster.results.hand_made import make_folder
from tests.cluster.view.test_server_api import BASE, PORT, TOKEN, ask, places


def said(start: float, text: str, *tags: str) -> dict[str, Any]:
    span = {"start_seconds": start, "end_seconds": start + 2}
    return {"of": "shot", "text": text, "tags": list(tags), "status": "ok", **span}


def test_facets_and_words_find_shots_by_captions_keywords_and_camera(tmp_path: Path) -> None:
    scenes = [
        {"scene_index": n, "start_seconds": 2.0 * n, "end_seconds": 2.0 * n + 2, "start_frame": 50 * n,
         "end_frame": 50 * n + 50, "transition": "cut"}
        for n in range(3)
    ]  # fmt: skip
    moves = [{"scene_index": n, "amount": 0.1, "kind": ("pan", "static", "pan")[n]} for n in range(3)]
    captions = [said(0.0, "A Lighthouse.", "night", "sea"), said(2.0, "A harbour.", "night")]
    tables = {"scenes": {"a": scenes}, "motion": {"a": moves}, "captions": {"a": captions}}
    live = LiveFolder(make_folder(tmp_path / "out", tables), tmp_path / "cache")
    try:
        live.wait(60)
        client = TestClient(make_pages(live, PORT, TOKEN), base_url=BASE, follow_redirects=False)
        client.get("/", params={"token": TOKEN})
        counts = {facet["name"]: facet["values"] for facet in ask(client, "facets")["facets"]}
        assert [value[:2] for value in counts["keyword"]] == [["night", 2], ["sea", 1]]
        assert [value[:2] for value in counts["camera"]] == [["pan", 2], ["static", 1]]

        def found(**wanted: Any) -> list[int]:
            return [index for _, index in places(ask(client, "shots", filter=wanted))]

        assert found(facets={"keyword": ["sea"]}) == [0]
        assert found(facets={"keyword": ["night"], "camera": ["static"]}) == [1]
        assert found(facets={"camera": ["pan"]}) == [0, 2]
        assert found(words="lighthouse") == [0] and found(words="NIGHT") == [0, 1]
        assert found(where="caption IS NULL OR camera_direction = 'left'") == [2]
        cards = ask(client, "shots")["rows"]
        assert [card["caption"] for card in cards] == ["A Lighthouse.", "A harbour.", ""]
    finally:
        live.close()
