"""From real clips to people: the commands as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from framemill.cluster.cli.main import main
from tests.small_models import flags


def test_three_people_in_two_clips(
    media_dir: Path,
    models_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("FRAMEMILL_MODEL_MIRROR", str(models_dir))
    clips = ("gif/head-pose-face-detection-female-and-male.gif", "video/pose_squats.mp4")
    sources = [str(media_dir / clip) for clip in clips]
    out = str(tmp_path / "out")
    command = [
        "extract",
        *sources,
        "-o",
        out,
        "--ops",
        "faces,emotions,face_embeddings",
        "--sample",
        "every:0.5",
        *flags("faces", "face_landmarks", "emotions", "face_embeddings"),
    ]
    assert main([*command, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert rows["faces"] == rows["emotions"] == rows["face_embeddings"] >= 40
    assert main(["people", out, "--json"]) == 0
    people = json.loads(capsys.readouterr().out)["people"]
    assert sorted(Path(person["uri"]).name[:4] for person in people) == ["head", "head", "pose"]
    assert sum(person["num_faces"] for person in people) >= 0.95 * rows["faces"]
    # Both people of the first clip are in each of its frames, apart from each other.
    query = """SELECT max(n) FROM (
        SELECT count(*) - count(DISTINCT person_id) AS n FROM people GROUP BY source_id, frame_index)"""
    assert main(["sql", out, query, "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)[0].values()) == [0]
