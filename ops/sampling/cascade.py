"""The operation `candidates`: the sampled frames that expensive operations process, by cheap measures."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from framemill.errors import UsageError
from framemill.ops.chunks import Float64Array, ShardInfo
from framemill.ops.columns import column
from framemill.ops.operation import TableOp
from framemill.ops.sampling.candidate_choice import Choice, choose

KEPT, AUDITED, SKIPPED = "kept", "audited", "skipped"


@dataclass(frozen=True, kw_only=True, slots=True)
class CandidatesOptions:
    """Options of `candidates`.

    Attributes:
        recall_target: frames are kept until this share of all findings is expected to be found,
            above 0 up to 1.
        audit_share: probability with which a frame that is left out is processed all the same, 0..1.
        max_distance: bits of 64 by which the hash of a frame may differ from that of the kept frame that
            stands for it.
        max_change: how far its brightness, contrast, entropy, colourfulness and (in logarithms) sharpness
            may differ from those of that frame, each in the median change from frame to frame of the file.
        max_group_seconds: a frame stands for others at most so far away.
    """

    recall_target: float = 0.95
    audit_share: float = 0.1
    max_distance: int = 6
    max_change: float = 4.0
    max_group_seconds: float = 10.0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("recall_target", 0.01, 1.0),
            ("audit_share", 0.0, 1.0),
            ("max_distance", 0, 64),
            ("max_change", 0.0, 1e6),
            ("max_group_seconds", 0.0, 86400.0),
        ):
            if not low <= getattr(self, name) <= high:
                raise UsageError(f"candidates.{name} is {getattr(self, name)}; it must be {low} to {high}")


class Candidates(TableOp):
    """One row a sampled frame.

    The further a frame is from the kept frame that stands for it, the more probably it shows something new.
    Frames are kept by descending score until `recall_target` is expected to be reached. The recall is
    estimated from an audit: a random sample, drawn by the file's content id, of the frames left out.
    """

    name = "candidates"
    version = 2
    after = ("frames",)
    Options = CandidatesOptions
    schema = pa.schema(
        [
            column("frame_index", pa.int64(), "0-based position among the presented frames"),
            column("pts_seconds", pa.float64(), "seconds since the start of the presentation, >= 0"),
            column(
                "score",
                pa.float32(),
                "how much a look promises, 0 to 1: frame_score times the chance that it shows what no frame "
                "kept before it (of those left out: no kept frame) shows",
            ),
            column(
                "decision",
                pa.string(),
                "kept: looked at; audited: looked at to learn what is missed; skipped: not looked at",
            ),
            column(
                "reason",
                pa.string(),
                "why it is kept or not: shows something new, near duplicate, too dark, too bright, flat, "
                "blurred, low score",
            ),
            column(
                "stand_in_frame",
                pa.int64(),
                "the kept frame that looks like it, itself where it is kept; null where there is none",
                nullable=True,
            ),
        ]
    )

    def combine(self, upstream: Mapping[str, pa.Table], source: ShardInfo) -> pa.Table:
        rows = upstream["frames"].sort_by("frame_index")
        if not rows.num_rows:
            return self.schema.empty_table()
        o = self.options
        names = (
            "pts_seconds",
            "frame_score",
            "sharpness",
            "brightness",
            "contrast",
            "entropy",
            "colourfulness",
        )
        measures: dict[str, Float64Array] = {name: rows[name].to_numpy().astype(np.float64) for name in names}
        choice: Choice = choose(
            measures,
            rows["phash"].to_numpy().astype(np.uint64),
            recall_target=o.recall_target,
            max_distance=o.max_distance,
            max_change=o.max_change,
            max_group_seconds=o.max_group_seconds,
        )
        frames = rows["frame_index"].to_pylist()
        decisions = [
            KEPT if kept else AUDITED if audit_draw(source.source_id, frame) < o.audit_share else SKIPPED
            for frame, kept in zip(frames, choice.is_kept.tolist(), strict=True)
        ]
        return pa.table(
            {
                "frame_index": frames,
                "pts_seconds": measures["pts_seconds"],
                "score": choice.score,
                "decision": decisions,
                "reason": choice.reasons,
                "stand_in_frame": [frames[i] if i >= 0 else None for i in choice.stand_in.tolist()],
            },
            schema=self.schema,
        )


def audit_draw(source_id: str, frame_index: int) -> float:
    """A pseudo-random number in [0, 1) that depends on the content and the frame alone."""
    digest = hashlib.blake2b(f"{source_id} {frame_index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
