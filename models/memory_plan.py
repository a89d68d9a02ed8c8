"""How much of a device's memory each part of a worker may take, so that the parts add up."""

from __future__ import annotations

import os
from dataclasses import dataclass

from framemill.errors import UsageError

# For the driver's context, the kernels of the libraries and what else uses the device.
RESERVE_BYTES = 1 << 30
RESERVE_SHARE = 0.1
# Of what is left. Models hold weights, workspaces and batches; arrays are frames and what is made of them.
_SHARES = {"onnxruntime": 0.4, "ctranslate2": 0.2, "arrays": 0.25, "decoder": 0.15}
LEAST_BYTES = 1 << 30
VARIABLE = "FRAMEMILL_GPU_MEMORY_SHARE"


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Limits in bytes, of one worker on one device.

    Attributes:
        onnxruntime: for all its sessions together; each gets an equal part.
        ctranslate2: what its models may need; it takes no limit of its own, so that its batch is chosen so.
        arrays: CuPy's pool.
        decoder: surfaces of the decoders and the frames they hand over.
    """

    onnxruntime: int
    ctranslate2: int
    arrays: int
    decoder: int

    @property
    def total(self) -> int:
        """What the worker takes at most beside `RESERVE_BYTES`."""
        return self.onnxruntime + self.ctranslate2 + self.arrays + self.decoder


def plan_memory(device_bytes: int, share: float | None = None) -> MemoryPlan:
    """Splits a device's memory.

    Args:
        device_bytes: all of its memory.
        share: what part of it is this worker's, above 0 and at most 1; from `FRAMEMILL_GPU_MEMORY_SHARE`
            if None (for several workers on one device), else all of it.

    Raises:
        UsageError: the share is no such number, or leaves less than `LEAST_BYTES`.
    """
    if share is None:
        text = os.environ.get(VARIABLE, "1")
        try:
            share = float(text)
        except ValueError:
            share = 0.0
        if not 0 < share <= 1:
            raise UsageError(f"{VARIABLE}={text}: give a number above 0 and at most 1, such as 0.5")
    usable = int(device_bytes * share) - max(RESERVE_BYTES, int(RESERVE_SHARE * device_bytes * share))
    if usable < LEAST_BYTES:
        raise UsageError(
            f"a share of {share:g} of {device_bytes} bytes of device memory leaves {usable} bytes for the "
            f"worker, less than {LEAST_BYTES}; raise {VARIABLE}, or run on the CPU"
        )
    return MemoryPlan(**{part: int(usable * part_share) for part, part_share in _SHARES.items()})
