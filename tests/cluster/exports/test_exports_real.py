"""From a real clip to files of editing and annotation programs: the commands as a user types them."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import cv2
import opentimelineio as otio
import pysubs2
import pytest

from framemill.cluster.cli.main import main
from framemill.cluster.results.queries import query

CLIP = "one-by-one-person-detection.mp4"


@pytest.fixture(scope="module")
def out(media_dir: Path, models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    root = str(tmp_path_factory.mktemp("real") / "out")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FRAMEMILL_MODEL_MIRROR", str(models_dir))
        ops = "media,frames,scenes,objects,tracks"
        source = str(media_dir / "video" / CLIP)
        options = ["--ops", ops, "--sample", "every:0.5", "--model", "objects=yolox_nano", "-q"]
        assert main(["extract", source, "-o", root, *options]) == 0
    return root


def export(out: str, form: str, folder: Path, *more: str) -> Path:
    assert main(["export", out, "--format", form, "-o", str(folder / form), *more]) == 0
    return folder / form


@pytest.mark.slow
@pytest.mark.media
def test_data_sets_of_a_real_clip_hold_its_boxes_and_pictures(out: str, tmp_path: Path) -> None:
    boxes = query(out, "SELECT count(*) FROM objects").rows[0][0]
    frames = query(out, "SELECT count(*) FROM frames").rows[0][0]
    assert boxes > 10
    target = export(out, "coco", tmp_path)
    held = json.loads((target / "annotations.json").read_text())
    assert len(held["images"]) == frames and 0.9 * boxes <= len(held["annotations"]) <= boxes
    for image in held["images"][::7]:
        picture = cv2.imread(str(target / "images" / image["file_name"]))
        assert picture.shape[:2] == (image["height"], image["width"])
    labels = list((export(out, "yolo", tmp_path) / "labels").iterdir())
    assert sum(len(path.read_text().splitlines()) for path in labels) == len(held["annotations"])
    (drafts,) = export(out, "cvat", tmp_path).glob("*.xml")
    seen = [box for box in ET.parse(drafts).getroot().iter("box") if box.get("outside") == "0"]
    assert len(seen) == len(held["annotations"])


@pytest.mark.slow
@pytest.mark.media
def test_cuts_and_previews_of_a_real_clip_are_read_back(out: str, tmp_path: Path) -> None:
    num_frames = query(out, "SELECT num_frames FROM media").rows[0][0]
    timeline = next(export(out, "otio", tmp_path).iterdir()).read_text()
    clips = list(otio.adapters.read_from_string(timeline, "otio_json").find_clips())
    assert sum(clip.source_range.duration.to_frames() for clip in clips) == num_frames
    (cues,) = (pysubs2.load(str(path)) for path in export(out, "sprites", tmp_path).glob("*.vtt"))
    times = [row[0] for row in query(out, "SELECT pts_seconds FROM frames ORDER BY 1").rows]
    assert [cue.start for cue in cues[1:]] == [pytest.approx(1000 * at, abs=1) for at in times[1:]]
    person = (
        "SELECT source_id, pts_seconds AS start_seconds, pts_seconds + 0.2 AS end_seconds, label FROM objects"
    )
    stills = list(export(out, "stills", tmp_path, "--of", f"{person} LIMIT 3").iterdir())
    assert len(stills) == 3 and all(cv2.imread(str(path)) is not None for path in stills)
