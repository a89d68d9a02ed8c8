"""Each sampled frame: time, quality measures, perceptual hash, and on request the picture itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from framemill.errors import UsageError
from framemill.ops.chunks import Frames
from framemill.ops.columns import column
from framemill.ops.operation import FrameOp
from framemill.ops.pixels.measures import HASH_INPUT_SIZE, colourfulness, measure_lumas, perceptual_hashes

LUMA_LONG_SIDE = 512
RGB_LONG_SIDE = 128


@dataclass(frozen=True, kw_only=True, slots=True)
class FramesOptions:
    """Options of `frames`.

    Attributes:
        images: whether to store every frame as a JPEG.
        quality: of the JPEGs, 1..100 on libjpeg's scale.
    """

    images: bool = False
    quality: int = 90

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 100:
            raise UsageError(f"frames.quality is {self.quality}; it must be 1 to 100")


def working_size(width: int, height: int, long_side: int) -> tuple[int, int]:
    """(width, height) with the longer side at most `long_side`: values of large and small videos compare.

    Smaller frames stay as they are, since enlarging adds no detail.
    """
    scale = min(1.0, long_side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


class FramesOp(FrameOp):
    """One row a frame: position, quality measures, hash, optional JPEG."""

    name = "frames"
    version = 3
    on_device = True
    Options = FramesOptions
    additions = ("images",)
    addition_options = ("quality",)
    schema = pa.schema(
        [
            column("frame_index", pa.int64(), "0-based position among the presented frames"),
            column("pts_seconds", pa.float64(), "seconds since the start of the presentation, >= 0"),
            column("is_key", pa.bool_(), "whether it is a key frame: a decoder can start here"),
            column(
                "tier",
                pa.string(),
                "how closely adaptive sampling looks there: critical, high, medium, low or minimal; null "
                "under other policies",
                nullable=True,
            ),
            column(
                "reason",
                pa.string(),
                "why adaptive sampling took it: what stands out there; null under other policies",
                nullable=True,
            ),
            column(
                "sharpness",
                pa.float32(),
                "variance of the Laplacian of the luma (long side at most 512 pixels), >= 0, "
                "in squared 8-bit steps; blurred below about 100",
            ),
            column("brightness", pa.float32(), "mean luma, 0 (black) to 1 (white)"),
            column(
                "contrast", pa.float32(), "standard deviation of the luma (RMS contrast), 0 (flat) to 0.5"
            ),
            column(
                "colourfulness",
                pa.float32(),
                "Hasler-Suesstrunk M3 of the frame averaged to a long side of at most 128 pixels: "
                "0 (grey) to about 110 (most vivid), without unit",
            ),
            column("entropy", pa.float32(), "Shannon entropy of the 256-bin luma histogram, 0 to 8 bits"),
            column(
                "frame_score",
                pa.float32(),
                "how much there is to see, 0 to 1: geometric mean of sharpness/(sharpness+100), "
                "4*brightness*(1-brightness), min(contrast/0.25, 1) and entropy/8",
            ),
            column(
                "phash",
                pa.uint64(),
                "64-bit DCT perceptual hash, bits as in imagehash.phash; compare by Hamming distance",
            ),
            column(
                "image",
                pa.binary(),
                "the frame at display size as a JPEG; null unless the option images is set",
                nullable=True,
            ),
        ]
    )

    def run(self, frames: Frames, upstream: Mapping[str, pa.Table]) -> pa.Table:
        if not len(frames):
            return self.schema.empty_table()
        lumas = frames.luma(working_size(frames.width, frames.height, LUMA_LONG_SIDE))
        colours = frames.small_rgb(working_size(frames.width, frames.height, RGB_LONG_SIDE))
        thumbnails = frames.luma((HASH_INPUT_SIZE, HASH_INPUT_SIZE))
        measures = measure_lumas(lumas)
        return pa.table(
            {
                "frame_index": frames.frame_index,
                "pts_seconds": frames.pts_seconds,
                "is_key": frames.is_key,
                **_tier_and_reason(frames, upstream.get("sampling")),
                "sharpness": [m.sharpness for m in measures],
                "brightness": [m.brightness for m in measures],
                "contrast": [m.contrast for m in measures],
                "colourfulness": colourfulness(colours),
                "entropy": [m.entropy for m in measures],
                "frame_score": [m.score for m in measures],
                "phash": pa.array(perceptual_hashes(thumbnails), pa.uint64()),
                "image": frames.jpeg(self.options.quality)
                if self.options.images
                else pa.nulls(len(frames), pa.binary()),
            },
            schema=self.schema,
        )


def _tier_and_reason(frames: Frames, sampling: pa.Table | None) -> dict[str, list[str | None]]:
    """Tier and reason of each frame from the plan that picked it, if one did."""
    names = ("tier", "reason")
    if sampling is None:
        return {name: [None] * len(frames) for name in names}
    found = {row["frame_index"]: row for row in sampling.to_pylist()}
    return {name: [found[i][name] for i in frames.frame_index.tolist()] for name in names}
