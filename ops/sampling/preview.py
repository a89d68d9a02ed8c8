"""Preview of a file: measures of its key frames, and small pictures of the best of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from framemill.models.arrays import to_host
from framemill.ops.at_first_use import cv2
from framemill.ops.chunks import Frames
from framemill.ops.columns import column
from framemill.ops.frames.frames import LUMA_LONG_SIDE, working_size
from framemill.ops.operation import FrameOp, Partial
from framemill.ops.pixels.measures import HASH_INPUT_SIZE, measure_lumas, perceptual_hashes

LONG_SIDE = 320
JPEG_QUALITY = 80
NUM_PICTURES = 6
LIKENESS_BITS = 8  # hashes that differ by at most so many of 64 bits are of pictures that look the same


class Preview(FrameOp):
    """One row a frame; the best few, no two of them alike, carry a picture."""

    name = "preview"
    on_device = True
    schema = pa.schema(
        [
            column("frame_index", pa.int64(), "0-based position among the presented frames"),
            column("pts_seconds", pa.float64(), "seconds since the start of the presentation, >= 0"),
            column("frame_score", pa.float32(), "how much there is to see, 0 to 1, as in `frames`"),
            column("phash", pa.uint64(), "64-bit DCT perceptual hash, as in `frames`"),
            column("rank", pa.int32(), "0-based position among the best; null for all others", nullable=True),
            column(
                "image",
                pa.binary(),
                f"a JPEG with its longer side at most {LONG_SIDE} pixels; null where rank is",
                nullable=True,
            ),
        ]
    )

    def run(self, frames: Frames, upstream: Mapping[str, pa.Table]) -> pa.Table:
        if not len(frames):
            return self.schema.empty_table()
        lumas = frames.luma(working_size(frames.width, frames.height, LUMA_LONG_SIDE))
        return pa.table(
            {
                "frame_index": frames.frame_index,
                "pts_seconds": frames.pts_seconds,
                "frame_score": [measures.score for measures in measure_lumas(lumas)],
                "phash": pa.array(
                    perceptual_hashes(frames.luma((HASH_INPUT_SIZE, HASH_INPUT_SIZE))), pa.uint64()
                ),
                "rank": pa.nulls(len(frames), pa.int32()),
                "image": _small_pictures(frames),
            },
            schema=self.schema,
        )

    def merge(self, partials: Sequence[Partial]) -> pa.Table:
        """Ranks the frames of all shards and drops the pictures of the others."""
        rows = pa.concat_tables([partial.rows for partial in partials])
        scores, hashes = rows["frame_score"].to_pylist(), rows["phash"].to_pylist()
        best: list[int] = []
        for i in sorted(range(len(scores)), key=lambda i: (-scores[i], i)):
            if len(best) == NUM_PICTURES:
                break
            if all((hashes[i] ^ hashes[other]).bit_count() > LIKENESS_BITS for other in best):
                best.append(i)
        rank = {i: number for number, i in enumerate(best)}
        images = rows["image"].to_pylist()
        columns = {name: rows[name] for name in rows.schema.names} | {
            "rank": [rank.get(i) for i in range(len(scores))],
            "image": [image if i in rank else None for i, image in enumerate(images)],
        }
        return pa.table(columns, schema=self.schema)


def _small_pictures(frames: Frames) -> list[bytes]:
    found = []
    for pixels in to_host(frames.rgb(working_size(frames.width, frames.height, LONG_SIDE))):
        bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
        found.append(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes())
    return found
