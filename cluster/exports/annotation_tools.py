"""Objects as drafts for people to correct: CVAT and Label Studio."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from framemill.actors.object_store import is_remote
from framemill.cluster.exports.sampled_frames import Box, Frame, SampledFrames, Source
from framemill.ops.plain_text import one_line

Appearance = tuple[Frame, Box | None]


def write_cvat(sampled: SampledFrames, folder: Path) -> int:
    """An XML file for each source in the format "CVAT for video 1.1".

    A task of CVAT is one video whose frames are numbered like ours, so nothing is decoded here. Boxes of a
    track are keyframes, between which CVAT interpolates. It is outside where a sampled frame lacks it, behind
    its last frame, and behind the last one before shots that are left out. An object without a track is a
    track of one frame.

    Returns:
        The number of frames written.
    """
    sampled.need_objects()
    count = 0
    for source in sampled.sources():
        labels = "".join(
            f"<label><name>{_text(label)}</name><type>rectangle</type></label>"
            for label in sampled.categories
        )
        with (folder / f"{source.stem}.xml").open("w", encoding="utf-8") as file:
            file.write(
                '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n<meta><task>'
                f"<name>{_text(source.uri)}</name><size>{_size(source)}</size><mode>interpolation</mode>"
                f"<labels>{labels}</labels><original_size><width>{source.width}</width>"
                f"<height>{source.height}</height></original_size></task></meta>\n"
            )
            for number, (label, track) in enumerate(_tracks(source.frames)):
                file.write(f'<track id="{number}" label={_quoted(label)} source="auto">\n')
                file.writelines(_cvat_boxes(source, track))
                file.write("</track>\n")
            file.write("</annotations>\n")
        count += len(source.frames)
    return count


def write_labelstudio(sampled: SampledFrames, folder: Path) -> int:
    """`tasks.json` with predictions in percent, and `config.xml`, the labelling interface for them.

    With tracks, a task is a video with a timeline; without, a frame in `images/`. Local files are served by
    Label Studio's local storage: its document root is `/` for videos, and the folder above this one for
    frames.

    Returns:
        The number of frames written.
    """
    sampled.need_objects()
    is_video = "tracks" in sampled.tables
    colours = "".join(f"<Label value={_quoted(label)}/>" for label in sampled.categories)
    if is_video:
        view = f'<Labels name="label" toName="video">{colours}</Labels><Video name="video" value="$video"/>'
        view += '<VideoRectangle name="box" toName="video"/>'
    else:
        view = '<Image name="image" value="$image"/><RectangleLabels name="label" toName="image">'
        view += f"{colours}</RectangleLabels>"
        (folder / "images").mkdir()
    (folder / "config.xml").write_text(f"<View>{view}</View>\n", "utf-8")
    count = written = 0
    with (folder / "tasks.json").open("w", encoding="utf-8") as file:
        file.write("[")
        for source in sampled.sources():
            for task, frames in _video_task(source) if is_video else _image_tasks(sampled, source, folder):
                file.write(f"{',' if written else ''}\n{json.dumps(task)}")
                written += 1
                count += frames
        file.write("\n]\n")
    return count


def _tracks(frames: Sequence[Frame]) -> Iterator[tuple[str, Sequence[Appearance]]]:
    """Label and sampled frames of each object from its first to its last; None where it is not seen."""
    tracks: dict[tuple[int, int], list[tuple[int, Box]]] = {}
    for position, frame in enumerate(frames):
        for number, box in enumerate(frame.boxes):
            key = (position, number) if box.track_id is None else (-1, box.track_id)
            tracks.setdefault(key, []).append((position, box))
    for seen in tracks.values():
        at = dict(seen)
        first, last = seen[0][0], seen[-1][0]
        yield seen[0][1].label, [(frames[i], at.get(i)) for i in range(first, last + 1)]


def _cvat_boxes(source: Source, track: Sequence[Appearance]) -> Iterator[str]:
    box: Box | None = None
    before = track[0][0]
    for frame, seen in track:
        if box is not None and frame.stretch != before.stretch and frame.frame_index > before.frame_index + 1:
            yield _cvat_box(before.frame_index + 1, box, is_outside=True)
        before = frame
        if seen is None and box is None:
            continue
        is_outside = seen is None
        box = seen or box
        if box is not None:
            yield _cvat_box(frame.frame_index, box, is_outside)
    behind = track[-1][0].frame_index + 1
    if box is not None and behind < _size(source):
        yield _cvat_box(behind, box, is_outside=True)


def _cvat_box(frame_index: int, box: Box, is_outside: bool) -> str:
    return (
        f'<box frame="{frame_index}" outside="{int(is_outside)}" occluded="0" keyframe="1" '
        f'xtl="{box.x0:.2f}" ytl="{box.y0:.2f}" xbr="{box.x1:.2f}" ybr="{box.y1:.2f}" z_order="0"></box>\n'
    )


def _size(source: Source) -> int:
    """Frames of the video."""
    return source.num_frames or source.frames[-1].frame_index + 1


def _percent(source: Source, box: Box) -> Mapping[str, float]:
    sides = zip(("x", "y", "width", "height"), box.relative(source), strict=True)
    return {**{name: share * 100 for name, share in sides}, "rotation": 0}


def _image_tasks(
    sampled: SampledFrames, source: Source, folder: Path
) -> Iterator[tuple[dict[str, Any], int]]:
    for frame, jpeg in sampled.pictures(source):
        name = source.name(frame)
        (folder / "images" / f"{name}.jpg").write_bytes(jpeg)
        results = [
            {
                "id": f"{name}-{number}", "type": "rectanglelabels", "from_name": "label", "to_name": "image",
                "original_width": source.width, "original_height": source.height, "image_rotation": 0,
                "value": {**_percent(source, box), "rectanglelabels": [box.label]}, "score": box.score,
            }
            for number, box in enumerate(frame.boxes)
        ]  # fmt: skip
        known = {"source": source.uri, "frame_index": frame.frame_index, "pts_seconds": frame.pts_seconds}
        url = f"/data/local-files/?d={quote(f'{final_name(folder)}/images/{name}.jpg')}"
        yield _task({"image": url, **known}, results), 1


def _video_task(source: Source) -> Iterator[tuple[dict[str, Any], int]]:
    url = source.uri if is_remote(source.uri) else f"/data/local-files/?d={quote(source.uri.lstrip('/'))}"
    results = []
    for number, (label, track) in enumerate(_tracks(source.frames)):
        sequence: list[dict[str, Any]] = []
        stretch = track[0][0].stretch
        for frame, box in track:
            if frame.stretch != stretch:
                sequence[-1]["enabled"] = False
                stretch = frame.stretch
            if box is not None:
                # Label Studio counts frames from 1; `enabled` says whether it goes on to the next keyframe.
                at = {"frame": frame.frame_index + 1, "time": frame.pts_seconds, "enabled": True}
                sequence.append({**at, **_percent(source, box)})
            elif sequence:
                sequence[-1]["enabled"] = False
        sequence[-1]["enabled"] = False
        value = {
            "framesCount": _size(source), "duration": source.duration_seconds, "sequence": sequence,
            "labels": [label],
        }  # fmt: skip
        results.append(
            {
                "id": f"{source.stem}-{number}", "type": "videorectangle", "from_name": "box",
                "to_name": "video", "value": value,
            }
        )  # fmt: skip
    yield _task({"video": url, "source": source.uri}, results), len(source.frames)


def _task(data: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"data": data, "predictions": [{"model_version": "framemill", "result": results}]}


def final_name(folder: Path) -> str:
    """The name that a folder gets when it is whole (`framemill.cluster.exports.datasets`)."""
    return folder.name.removeprefix(".").removesuffix(".partial").rpartition(".")[0]


def _text(value: str) -> str:
    return _quoted(value)[1:-1].replace('"', "&quot;")


def _quoted(value: str) -> str:
    return quoteattr(one_line(value))
