"""From real clips to labels, look-alikes and duplicates: the commands as a user types them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import cv2
import pytest

from framemill.cluster.cli.main import main
from tests.small_models import flags


def test_clips_are_named_and_found_again(
    media_dir: Path,
    models_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("FRAMEMILL_MODEL_MIRROR", str(models_dir))
    names = ("dog_eating_854132.mp4", "h264_10bits.mp4", "counter.mp4", "fades.mp4")
    dog = media_dir / "video" / names[0]
    copy = tmp_path / "copy.mp4"
    smaller(dog, copy)
    out = str(tmp_path / "out")
    sources = [*(str(media_dir / "video" / name) for name in names), str(copy)]
    ops = "frames,labels,image_embeddings"
    chosen = flags("labels", "image_embeddings")
    assert main(["extract", *sources, "-o", out, "--ops", ops, "--sample", "every:1", "-q", *chosen]) == 0
    capsys.readouterr()

    def told(*command: str) -> Any:
        assert main([*command, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    groups = told("duplicates", out)["videos"]
    assert {Path(uri).name for uri in groups[0]["uris"]} == {names[0], "copy.mp4"}
    picture = tmp_path / "query.jpg"
    with av.open(str(dog)) as container:
        cv2.imwrite(str(picture), next(container.decode(video=0)).to_ndarray(format="bgr24"))
    hits = told("search", out, "--image", str(picture), "--top", "12")
    best = {Path(hit["uri"]).name for hit in hits}
    assert best == {names[0], "copy.mp4"}
    assert hits[0]["score"] > 0.98 and hits[0]["pts_seconds"] == 0
    query = """SELECT label, max(score) AS score FROM labels JOIN media USING (source_id)
        WHERE uri LIKE '%dog_eating%' GROUP BY 1 ORDER BY 2 DESC"""
    assert main(["extract", *sources, "-o", out, "--ops", "media", "-q"]) == 0
    capsys.readouterr()
    best = [row["label"] for row in told("sql", out, query)[:4]]
    assert best[0] == "golden retriever" and "Labrador retriever" in best


def smaller(source: Path, target: Path) -> None:
    """Encodes a clip anew at half its size."""
    with av.open(str(source)) as container, av.open(str(target), "w") as made:
        video = container.streams.video[0]
        stream = made.add_stream(
            "libx264", rate=video.average_rate, options={"preset": "ultrafast", "crf": "28"}
        )
        stream.width, stream.height = video.width // 4 * 2, video.height // 4 * 2
        stream.pix_fmt = "yuv420p"
        for frame in container.decode(video):
            frame = frame.reformat(stream.width, stream.height, "yuv420p")
            frame.pict_type = 0
            made.mux(stream.encode(frame))
        made.mux(stream.encode())
