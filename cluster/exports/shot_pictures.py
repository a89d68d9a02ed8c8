"""A picture of each stretch of a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from framemill.cluster.editing.source_pictures import SourcePictures
from framemill.cluster.exports.stretches import Shot
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.queries import ask


class ShotPictures:
    """Finds the pictures of stretches: in the table `frames`, else in the files themselves."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._has_frames = "frames" in dataset.state.keys
        self._pictures = SourcePictures(dataset)

    def find(
        self, source_id: str, media: Mapping[str, Any], shots: Sequence[Shot]
    ) -> tuple[list[bytes | None], str]:
        """A JPEG of each stretch of a source, None where there is none; and what is wrong with it.

        Where a stretch has no picture of its own and no frame is known to be the best one, it is the sampled
        frame with the highest score, or the one in the middle.

        Args:
            media: the source's row, or as much of it as is known.
        """
        sampled = self._sampled(source_id) if any(shot.still is None for shot in shots) else []
        frames = [None if shot.still else _best(shot, media, sampled) for shot in shots]
        wanted = sorted({frame for frame in frames if frame is not None})
        kept = self._kept(source_id, wanted)
        problem = ""
        missing = np.array([frame for frame in wanted if frame not in kept], np.int64)
        if len(missing):
            self._pictures.problems.clear()
            pictures = self._pictures.fetch(source_id, missing)
            kept |= {
                index: picture
                for index, picture in zip(missing.tolist(), pictures, strict=True)
                if picture is not None
            }
            problem = next(iter(self._pictures.problems.values()), "")
        found = [
            shot.still or (None if frame is None else kept.get(frame))
            for shot, frame in zip(shots, frames, strict=True)
        ]
        return found, problem

    def _sampled(self, source_id: str) -> Sequence[tuple[int, float, float]]:
        """Index, time and score of the source's sampled frames."""
        if not self._has_frames:
            return []
        sql = f"SELECT frame_index, pts_seconds, coalesce(frame_score, 0) FROM frames WHERE {_of(source_id)}"
        return ask(self._dataset.narrowed(["frames"], [source_id]), f"{sql} ORDER BY frame_index").rows

    def _kept(self, source_id: str, frames: Sequence[int]) -> dict[int, bytes]:
        if not self._has_frames or not frames:
            return {}
        wanted = f"frame_index IN ({', '.join(map(str, frames))}) AND image IS NOT NULL"
        sql = f"SELECT frame_index, image FROM frames WHERE {_of(source_id)} AND {wanted}"
        return dict(ask(self._dataset.narrowed(["frames"], [source_id]), sql).rows)


def _best(shot: Shot, media: Mapping[str, Any], sampled: Sequence[tuple[int, float, float]]) -> int | None:
    if shot.best_frame is not None:
        return shot.best_frame
    inside = [row for row in sampled if shot.start_seconds <= row[1] < shot.end_seconds]
    if inside:
        best, _, _ = max(inside, key=lambda row: row[2])
        return best
    if shot.start_frame is not None and shot.end_frame is not None:
        return (shot.start_frame + max(shot.start_frame, shot.end_frame - 1)) // 2
    fps, num_frames = media.get("fps"), media.get("num_frames")
    if not fps or not num_frames:
        return None
    middle = int((shot.start_seconds + shot.end_seconds) / 2 * fps)
    return min(middle, int(num_frames) - 1)


def _of(source_id: str) -> str:
    literal = source_id.replace("'", "''")
    return f"source_id = '{literal}'"
