"""Whether a device decodes in this process, and why not where it could."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

from framemill.errors import SetupError, UsageError
from framemill.models import nvdec
from framemill.models.cuda import find_gpus
from framemill.models.memory_plan import (
    SESSIONS_PER_CALL,
    UNKNOWN_UNITS,
    ReaderPlan,
    plan_memory,
    plan_readers,
)
from framemill.ops.chunks import Chunk

VARIABLE = "FRAMEMILL_DECODER"
# auto: the device where there is one; dali-cpu is DALI's variant for the host, for tests and comparison.
WISHES = ("auto", "pyav", "dali", "dali-cpu")
# What making views takes of the memory for arrays, at its height, as a multiple of the pictures they are of:
# their luma at full size is a weighted sum of three planes in 32 bits.
VIEW_COST = 8

Reader = Callable[..., Iterator[Chunk]]


def open_device_reader(readers: int) -> tuple[Reader | None, str]:
    """What reads shards instead of `read_shard`, as `FRAMEMILL_DECODER` wishes.

    A device that can be seen may still be unusable: it reads only once it has decoded a clip of ours.

    Args:
        readers: threads that read at once, >= 1.

    Returns:
        The reader, with the arguments of `read_shard`, or None; and what a person should know, or empty.

    Raises:
        UsageError: the wish is none of `WISHES`.
        SetupError: DALI is wished for, but something lacks, or it does not decode.
    """
    wish = os.environ.get(VARIABLE) or WISHES[0]
    if wish not in WISHES:
        raise UsageError(f"{VARIABLE}={wish}: choose one of {', '.join(WISHES)}")
    if wish == "pyav":
        return None, ""
    if wish == "dali-cpu":
        if not _is_installed("nvidia.dali"):
            raise SetupError(f"{VARIABLE}={wish}, but DALI is not installed: install the extra `dali`")
        reader, problem = _reader("cpu", ReaderPlan(readers, SESSIONS_PER_CALL, 0, 0))
        if problem:
            raise SetupError(f"{VARIABLE}={wish}, but DALI does not decode: {problem}")
        return reader, "frames are decoded by DALI on the CPU"
    gpus = find_gpus()
    if not gpus:
        lacking = "there is no usable GPU"
    elif not (lacking := _missing()):
        plan = plan_memory(gpus[0].memory_bytes)
        sharing = plan_readers(_units(), plan.decoder, readers)
        reader, problem = _reader("gpu", sharing, plan.arrays // readers // VIEW_COST)
        if not problem:
            codecs = "" if nvdec.decoder_limits() else "; its driver tells no codecs, those of Hopper count"
            return reader, f"frames are decoded by DALI on {gpus[0].name} where it can{codecs}"
        lacking = f"{gpus[0].name} does not decode: {problem}"
    if wish == "dali":
        raise SetupError(f"{VARIABLE}=dali, but {lacking}; ask `framemill doctor`, or wish for auto")
    return None, f"frames are decoded on the CPU: {lacking}; ask `framemill doctor`" if gpus else ""


def decoder_problem() -> str:
    """Why the first GPU decodes nothing in this process; empty where it decodes a clip as it should.

    Raises:
        UsageError: the share of its memory that is granted is too small for work.
    """
    gpus = find_gpus()
    if not gpus:
        return "there is no usable GPU"
    if missing := _missing():
        return missing
    sharing = plan_readers(_units(), plan_memory(gpus[0].memory_bytes).decoder, 1)
    return _reader("gpu", sharing)[1]


def _missing() -> str:
    """What the decoder of a GPU needs and this process cannot load, in words; empty where nothing lacks."""
    missing = [name for name in ("nvidia.dali", "cupy") if not _is_installed(name)]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        return f"{' and '.join(missing)} {verb} not installed (extra `gpu`)"
    return nvdec.library_problem()


def _units() -> int:
    """Decoding units of the first GPU: of the codec that has most of them."""
    return max((limits.units for limits in nvdec.decoder_limits().values()), default=UNKNOWN_UNITS)


def _reader(device: str, sharing: ReaderPlan, chunk_bytes: int = 0) -> tuple[Reader | None, str]:
    """A reader, or None and why it does not decode."""
    # With them comes DALI's world, which nobody needs where PyAV reads.
    from framemill.actors.dali_reader import CHUNK_BYTES, DECODED_BYTES, DaliDecoder
    from framemill.actors.device_reader import read_shard_on_device
    from framemill.actors.trial_clip import trial_problem

    chunk_bytes = min(chunk_bytes or CHUNK_BYTES, CHUNK_BYTES)
    frame_bytes = sharing.frame_bytes or DECODED_BYTES
    decoder = DaliDecoder(
        device, frame_bytes, sharing.calls, chunk_bytes, sharing.sessions, sharing.kept_bytes
    )
    if problem := trial_problem(decoder.decode, device):
        return None, problem

    def read(path: str, index: Any, request: Any, report: Any, container: Any = None) -> Iterator[Chunk]:
        return read_shard_on_device(path, index, request, report, decoder, container)

    return read, ""


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ImportError:
        return False
