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
# Pictures that go through one decoding unit of a chip side by side: with one it waits for its host between
# pictures, with more than three they wait for each other.
SESSIONS_PER_UNIT = 3
# Of what decoders of a chip that does not tell of its units may have: nearly all have two or more.
UNKNOWN_UNITS = 2
# Pixels of the pictures that others refer to: of level 5.2 of H.264 (184320 blocks of 256, table A-1), and so
# many pictures at least and at most. Beside them, as many are being decoded or handed over.
REFERENCE_PIXELS = 184_320 * 256
LEAST_REFERENCES, MOST_REFERENCES = 6, 16
UNDERWAY = 6
# Pictures in RGB that a session holds beside the frames that it hands over, which came before their turn.
REORDERED = 8
# Sessions of one call: a call costs about as much as decoding some pictures, and is over with its slowest.
SESSIONS_PER_CALL = 4


def decoder_bytes(width: int, height: int) -> int:
    """What a decoder of pictures of this size, in pixels, holds for as long as it is kept."""
    pixels = _coded_pixels(width, height)
    references = min(MOST_REFERENCES, max(LEAST_REFERENCES, REFERENCE_PIXELS // pixels))
    return (references + UNDERWAY) * pixels * 3 // 2


def session_bytes(width: int, height: int) -> int:
    """What one holds while it decodes, beside the frames that it hands over."""
    return decoder_bytes(width, height) + REORDERED * _coded_pixels(width, height) * 3


def _coded_pixels(width: int, height: int) -> int:
    return (width + 15) // 16 * 16 * ((height + 15) // 16 * 16)


# That of the size that most files have, for which sessions are counted.
USUAL_SIZE = (1920, 1080)
SESSION_BYTES = session_bytes(*USUAL_SIZE)


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


@dataclass(frozen=True, slots=True)
class ReaderPlan:
    """How a worker's readers share the decoder of a device.

    Attributes:
        calls: of the decoder at once. sessions: in each call, a group of pictures each.
        frame_bytes: decoded pictures that all calls together may hold.
        kept_bytes: what decoders may hold, at work or idle (`decoder_bytes` each).
    """

    calls: int
    sessions: int
    frame_bytes: int
    kept_bytes: int


def plan_readers(units: int, memory_bytes: int, threads: int) -> ReaderPlan:
    """As many sessions as keep a chip's decoder busy and leave half of the memory to frames.

    Args:
        units: decoding units of the chip that work side by side, >= 1.
        memory_bytes: `MemoryPlan.decoder`. threads: that read at once, >= 1; each makes one call at a time.
    """
    sessions = max(1, min(SESSIONS_PER_UNIT * units, memory_bytes // 2 // SESSION_BYTES))
    calls = max(1, min(threads, sessions // SESSIONS_PER_CALL))
    each = min(SESSIONS_PER_CALL, sessions // calls)
    of_decoders = memory_bytes // 2
    reordered = calls * each * (SESSION_BYTES - decoder_bytes(*USUAL_SIZE))
    return ReaderPlan(calls, each, memory_bytes - of_decoders, max(0, of_decoders - reordered))
