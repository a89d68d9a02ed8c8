"""Measures of each sampled frame, collected from the tables of a dataset, and its scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from framemill.cluster.editing.diversity import UInt64Array
from framemill.cluster.editing.frame_scores import FrameScores, score_frames
from framemill.cluster.editing.instants import last_before, seconds_to_nearest
from framemill.cluster.results.source_columns import Columns, SourceColumns, match_frames
from framemill.ops.chunks import Float64Array, Int64Array

# Tables that are read where they exist, with what each adds to the choice of frames.
SCORING_TABLES = {
    "scenes": "keeps away from cuts and fades",
    "quality": "finds blur and bad exposure",
    "faces": "prefers faces",
    "face_quality": "tells sharp faces with open eyes",
    "composition": "prefers good framing",
    "emotions": "prefers smiles",
    "stretches": "keeps away from shaky pictures",
    "image_embeddings": "tells twins from different pictures",
}
_FRAME_COLUMNS = (
    "frame_index", "pts_seconds", "sharpness", "brightness", "contrast", "colourfulness", "entropy", "phash",
)  # fmt: skip
_HAPPY = ("happy", "happiness")


@dataclass(frozen=True, slots=True)
class ScoredFrames:
    """The sampled frames of many sources, by source and position.

    Attributes:
        source: int64 [n]. frame_index: int64 [n]. pts_seconds: float64 [n]. phash: uint64 [n].
        shot: int64 [n], row in `shots`, or below 0 where shots are not known.
        shots: of `scenes`, start and end in seconds; None where the table is not there.
        face_share: float64 [n], of the largest face in the picture; NaN where there is none.
        scores: how good each is as a still.
    """

    source: Int64Array
    frame_index: Int64Array
    pts_seconds: Float64Array
    phash: UInt64Array
    shot: Int64Array
    shots: Columns | None
    face_share: Float64Array
    scores: FrameScores

    def __len__(self) -> int:
        return len(self.source)


def score_sampled_frames(reader: SourceColumns) -> ScoredFrames:
    """Reads `frames` and those of `SCORING_TABLES` that exist, and scores each frame.

    Raises:
        DatasetError: a part is gone or damaged.
    """
    frames = reader.read("frames", _FRAME_COLUMNS)
    assert frames is not None  # the callers ask for it first
    source, seconds = frames.source, frames["pts_seconds"]
    measures = {name: frames[name].astype(np.float64) for name in _FRAME_COLUMNS[2:7]}
    _add_rows(
        measures,
        frames,
        reader.read("quality", ("frame_index", "blur", "underexposed", "overexposed", "is_black")),
    )
    _add_rows(
        measures, frames, reader.read("composition", ("frame_index", "thirds_distance", "subject_share"))
    )
    _add_faces(measures, frames, reader)
    stretches = reader.read("stretches", ("start_seconds", "kind"))
    if stretches is not None and len(stretches):
        within = last_before(source, seconds, stretches.source, stretches["start_seconds"])
        measures["shaky"] = ((within >= 0) & (stretches["kind"] == "shaky")[within]).astype(np.float64)
    shots = read_shots(reader)
    shot = -1 - source
    if shots is not None and len(shots):
        within = last_before(source, seconds, shots.source, shots["start_seconds"])
        shot = np.where(within >= 0, within, shot)
        how = shots["transition"]
        for name, mask in (
            ("cut_seconds", how == "cut"),
            ("fade_seconds", (how == "fade") | (how == "dissolve")),
        ):
            events = shots.source[mask], shots["start_seconds"][mask]
            measures[name] = seconds_to_nearest(source, seconds, *events)
    scores = score_frames(measures, shot, source)
    phash: UInt64Array = frames["phash"]
    share = measures.get("face_share", np.full(len(source), np.nan))
    return ScoredFrames(source, frames["frame_index"], seconds, phash, shot, shots, share, scores)


def read_shots(reader: SourceColumns) -> Columns | None:
    """Start, end and transition of shots: of `scenes`, else the likely ones of `importance`."""
    scenes = reader.read("scenes", ("start_seconds", "end_seconds", "transition"))
    if scenes is not None:
        return scenes
    stretches = reader.read("importance", ("start_seconds", "end_seconds", "shot_index"))
    if stretches is None or not len(stretches):
        return None
    same = (np.diff(stretches.source) == 0) & (np.diff(stretches["shot_index"]) == 0)
    first = np.flatnonzero(np.append(True, ~same))
    last = np.append(first[1:], len(stretches)) - 1
    begins = np.append(True, np.diff(stretches.source[first]) != 0)
    values = {
        "start_seconds": stretches["start_seconds"][first],
        "end_seconds": stretches["end_seconds"][last],
        "transition": np.where(begins, "start", "cut").astype(object),
    }
    return Columns(stretches.source[first], values)


def _add_rows(measures: dict[str, Float64Array], frames: Columns, rows: Columns | None) -> None:
    """Columns of a table with one row a frame."""
    if rows is None:
        return
    at = match_frames(rows, frames.source, frames["frame_index"])
    for name, values in rows.values.items():
        if name != "frame_index":
            measures[name] = np.full(len(frames), np.nan)
            measures[name][at[at >= 0]] = values[at >= 0].astype(np.float64)


def _add_faces(measures: dict[str, Float64Array], frames: Columns, reader: SourceColumns) -> None:
    """The largest face of each frame: its share of the picture, score, and how far it is turned away."""
    box = {edge: pc.field("box", edge) for edge in ("x0", "y0", "x1", "y1")}
    faces = reader.read("faces", ("frame_index", "face_index", "score"), **box, **_points())
    media = reader.read("media", ("width", "height"))
    if faces is None or media is None:
        return
    pixels = np.full(len(reader.sources), np.nan)
    pixels[media.source] = media["width"].astype(np.float64) * media["height"]
    share = (faces["x1"] - faces["x0"]) * (faces["y1"] - faces["y0"]) / pixels[faces.source]
    at = match_frames(faces, frames.source, frames["frame_index"])
    order = np.argsort(share, kind="stable")  # the largest is written last and stays
    order = order[at[order] >= 0]
    values = {"face_share": share, "face_score": faces["score"], "frontality": _frontality(faces)}
    values |= _face_qualities(faces, reader)
    for name, column in values.items():
        measures[name] = np.full(len(frames), np.nan)
        measures[name][at[order]] = column[order]
    emotions = reader.read("emotions", ("frame_index", "label", "score"))
    if emotions is None:
        return
    at = match_frames(emotions, frames.source, frames["frame_index"])
    happy = np.where(np.isin(emotions["label"], _HAPPY), emotions["score"], 0.0)
    measures["smile"] = np.full(len(frames), np.nan)
    measures["smile"][at[at >= 0]] = 0.0
    np.fmax.at(measures["smile"], at[at >= 0], happy[at >= 0])


def _face_qualities(faces: Columns, reader: SourceColumns) -> dict[str, Float64Array]:
    """Blur of each face, and how sure it is that its eyes are open; NaN where it was not measured."""
    qualities = reader.read("face_quality", ("frame_index", "face_index", "blur", "eyes_open"))
    if qualities is None:
        return {}
    ours, theirs = _face_keys(faces), _face_keys(qualities)
    order = np.argsort(theirs, kind="stable")
    at = np.minimum(np.searchsorted(theirs[order], ours), max(len(theirs) - 1, 0))
    known = theirs[order][at] == ours if len(theirs) else np.zeros(len(ours), np.bool_)
    found = {}
    for name, column in (("face_blur", "blur"), ("eyes_open", "eyes_open")):
        found[name] = np.full(len(faces), np.nan)
        found[name][known] = qualities[column][order[at[known]]]
    return found


def _face_keys(rows: Columns) -> Int64Array:
    """A number for each face: 22 bits of source, 29 of frame, 12 of rank: room enough for all three."""
    frame: Int64Array = rows.source << 29 | rows["frame_index"]
    return frame << 12 | np.minimum(rows["face_index"], 4095)


def _points() -> dict[str, pc.Expression]:
    """Where the eyes and the nose are, from left to right."""
    points = {"left_eye_x": 0, "right_eye_x": 1, "nose_x": 2}
    place = pc.field("landmarks")
    return {name: pc.struct_field(pc.list_element(place, index), "x") for name, index in points.items()}


def _frontality(faces: Columns) -> Float64Array:
    """1 where the nose is midway between the eyes, 0 where it is below one of them; NaN without points."""
    left, right, nose = (faces[name].astype(np.float64) for name in ("left_eye_x", "right_eye_x", "nose_x"))
    half = np.maximum((right - left) / 2, 1e-6)
    front: Float64Array = np.clip(1 - np.abs(nose - (left + right) / 2) / half, 0, 1)
    return front
