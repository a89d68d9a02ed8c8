"""The operation `sampling`: frames that adaptive sampling takes, with the tier and the reason of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from framemill.errors import UsageError
from framemill.ops.chunks import ShardInfo
from framemill.ops.columns import column
from framemill.ops.operation import TableOp
from framemill.ops.sampling.budget import Limits, Stretch, plan_frames


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingOptions:
    """Options of `sampling`.

    Attributes:
        budget: frames per file, 1 and more. Where the floor needs more, it takes more.
        max_segments: stretches per file that are sampled densely, 0 and more: the best of the tiers
            critical and high. The others count as medium.
        max_segment_frames: frames within each of them, 1 and more.
        floor_seconds: at least one frame in each piece of this length, and in each likely shot.
    """

    budget: int = 60
    max_segments: int = 8
    max_segment_frames: int = 24
    floor_seconds: float = 30.0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("budget", 1, 10_000_000),
            ("max_segments", 0, 1_000_000),
            ("max_segment_frames", 1, 1_000_000),
            ("floor_seconds", 0.1, 86400.0),
        ):
            if not low <= getattr(self, name) <= high:
                raise UsageError(f"sampling.{name} is {getattr(self, name)}; it must be {low} to {high}")


class Sampling(TableOp):
    """One row a frame that the policy `adaptive` picks, chosen before any of them is decoded."""

    name = "sampling"
    after = ("importance",)
    Options = SamplingOptions
    schema = pa.schema(
        [
            column("frame_index", pa.int64(), "0-based position among the presented frames"),
            column("pts_seconds", pa.float64(), "seconds since the start of the presentation, >= 0"),
            column(
                "tier",
                pa.string(),
                "critical, high, medium, low or minimal: how closely its stretch is looked at",
            ),
            column("reason", pa.string(), "what stands out there, behind what the floor took it for"),
            column(
                "is_floor", pa.bool_(), "taken as the one of its shot or of its piece, whatever the budget"
            ),
        ]
    )

    def combine(self, upstream: Mapping[str, pa.Table], source: ShardInfo) -> pa.Table:
        names = tuple(Stretch.__slots__)
        rows = upstream["importance"].sort_by("start_frame").select(names).to_pylist()
        o = self.options
        limits = Limits(
            budget=o.budget,
            max_segments=o.max_segments,
            max_segment_frames=o.max_segment_frames,
            floor_seconds=o.floor_seconds,
        )
        picks = plan_frames(source.index, [Stretch(**row) for row in rows], limits)
        frames = [pick.frame_index for pick in picks]
        return pa.table(
            {
                "frame_index": frames,
                "pts_seconds": source.index.pts_seconds[frames] if frames else [],
                "tier": [pick.tier for pick in picks],
                "reason": [pick.reason for pick in picks],
                "is_floor": [pick.is_floor for pick in picks],
            },
            schema=self.schema,
        )
