"""From real clips to thumbnails, highlights and a film: the commands as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import opentimelineio as otio
import pytest

from framemill.cluster.cli.main import main
from framemill.cluster.results import queries

CLIPS = (
    "bigbuckbunny", "car-detection", "dog_eating_854132", "pose_squats", "testvideo", "video_big_buck_bunny",
    "fades", "sample_edit_list",
)  # fmt: skip


@pytest.fixture(scope="module")
def out(media_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    sources = [str(media_dir / "video" / f"{name}.mp4") for name in CLIPS]
    output = str(tmp_path_factory.mktemp("selection") / "out")
    operations = "media,frames,scenes,audio_levels,speech,stretches"
    assert main(["extract", *sources, "-o", output, "--ops", operations, "--sample", "every:1", "-q"]) == 0
    return output


@pytest.mark.slow
def test_a_film_cut_on_the_beats(
    out: str, media_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    music = str(media_dir / "audio" / "music_vibe_ace.ogg")
    cut, film = tmp_path / "cut.otio", tmp_path / "cut.mp4"
    command = ["montage", out, "--seconds", "12", "--music", music, "-o", str(cut), "--size", "320x180"]
    assert main([*command, "--render", str(film), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    with av.open(str(film)) as container:
        assert container.streams.video[0].frames == 360
        assert abs(float(container.duration) / av.time_base - 12) <= 1 / 30
    # What an eye and an ear would find: the cuts of the film, and the beats of its own sound.
    again = str(tmp_path / "again")
    assert main(["extract", str(film), "-o", again, "--ops", "scenes,beats", "-q"]) == 0
    shown = [row[0] for row in queries.query(again, "SELECT start_seconds FROM scenes ORDER BY 1").rows][1:]
    heard = np.array([row[0] for row in queries.query(again, "SELECT time_seconds FROM beats").rows])
    assert shown == pytest.approx(found["cuts_seconds"], abs=0.001) and len(shown) >= 4
    assert max(np.abs(heard - cut_at).min() for cut_at in shown) < 0.08
    for clip in otio.adapters.read_from_file(str(cut)).find_clips():
        assert clip.available_range().start_time <= clip.source_range.start_time
        assert clip.source_range.end_time_exclusive() <= clip.available_range().end_time_exclusive()
        assert not clip.media_reference.target_url.endswith("fades.mp4")


def test_thumbnails_show_each_shot_and_no_fade(out: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["thumbnails", out, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["rows"]
    times: dict[str, list[float]] = {}
    for row in found:
        times.setdefault(Path(row["uri"]).stem, []).append(row["pts_seconds"])
    assert "fades" not in times
    assert len(times["car-detection"]) >= 5
    shots = queries.query(
        out,
        "SELECT count(DISTINCT scene_index) FROM thumbnails t JOIN scenes s ON t.source_id = s.source_id "
        "AND t.pts_seconds >= s.start_seconds AND t.pts_seconds < s.end_seconds "
        "JOIN sources u ON u.source_id = t.source_id WHERE u.uri LIKE '%testvideo.mp4'",
    ).rows[0][0]
    assert shots >= 2


def test_highlights_find_the_cars(out: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["highlights", out, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["rows"]
    cars = [row for row in found if row["uri"].endswith("car-detection.mp4")]
    best = min(cars, key=lambda row: row["rank"])
    # Three cars cross between 16 and 19 s; before and after the road is empty.
    assert best["start_seconds"] < 18 and best["end_seconds"] > 16.5
    assert any("motion" in reason for reason in best["reasons"])
