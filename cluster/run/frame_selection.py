"""Which frames a piece of work looks at, where tables of the source say it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import numpy as np
import pyarrow as pa

from framemill.actors.plan import Sampling, sample_frames
from framemill.ops.at_first_use import pc
from framemill.ops.chunks import FrameIndex, Int64Array
from framemill.ops.operation import Op, Reads
from framemill.ops.sampling.cascade import SKIPPED


def picked_frames(
    ops: Mapping[str, tuple[type[Op], Collection[str]]],
    sampling: Sampling,
    index: FrameIndex,
    rows_of: Callable[[str], pa.Table],
) -> Int64Array | None:
    """Sorted frame indices; None where the policy tells them from the index alone, or no frame is looked at.

    Args:
        ops: operations that share the decode: class, and what each comes after in this run.
        rows_of: gives the rows of another operation for the source.
    """
    looking = [set(after) for kind, after in ops.values() if kind.reads is Reads.FRAMES]
    needs = set().union(*looking)
    if "candidates" in needs:
        rows = rows_of("candidates")
        rows = rows.filter(pc.not_equal(rows["decision"], SKIPPED))
    elif "sampling" in needs:
        rows = rows_of("sampling")
    elif looking and sampling.kind == "scenes":
        shots = rows_of("scenes")
        edges = np.stack([shots["start_frame"].to_numpy(), shots["end_frame"].to_numpy()], axis=1)
        return sample_frames(index, sampling, edges)
    else:
        return None
    return np.sort(rows["frame_index"].to_numpy())
