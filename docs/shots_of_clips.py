"""An example of docs/ray-data.md: the longest shot of each clip, with the sharpest frame that was seen in it.

    python docs/shots_of_clips.py RESULT.parquet CLIP...

Clips are absolute paths that every node has, or addresses with s3:// or gs://; the result, too.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import ray

import framemill.ray


def longest_shot(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A row for a clip in which shots were found."""
    shots = row["scenes"]
    if row["error"] is not None or not shots:
        return
    shot = max(shots, key=lambda shot: shot["end_seconds"] - shot["start_seconds"])
    inside = [
        frame
        for frame in row["frames"] or ()
        if shot["start_seconds"] <= frame["pts_seconds"] < shot["end_seconds"]
    ]
    best = max(inside, key=lambda frame: frame["sharpness"], default=None)
    yield {
        "uri": row["uri"],
        "start_seconds": shot["start_seconds"],
        "end_seconds": shot["end_seconds"],
        "best_at_seconds": best and best["pts_seconds"],
        "picture": best and best["image"],
    }


def main(result: str, clips: list[str]) -> None:
    """Extracts, goes on in Ray Data, and writes one table."""
    files = ray.data.from_items([{"uri": clip} for clip in clips])
    rows = framemill.ray.extract(
        files, ops=["frames", "scenes"], sample="every:0.5", options={"frames": {"images": True}}
    )
    shots = rows.flat_map(longest_shot).sort("uri").materialize()
    shots.write_parquet(result)
    print(f"{shots.count()} of {len(clips)} clips")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
