"""Maps what a runtime raised to our errors: the device is full, the device is lost, or the model fails."""

from __future__ import annotations

from framemill.errors import DeviceFullError, DeviceLostError, ModelError
from framemill.models.cuda import LOST_REMEDY, is_device_lost

# What the runtimes write when a device, or the part of it that is theirs, is full.
_FULL = (
    "out of memory",
    "failed to allocate memory",
    "memory allocation failure",
    "cudaerrormemoryallocation",
)


def model_failure(what: str, exc: Exception, remedy: str) -> ModelError:
    """The error for what a runtime raised; only its text shows whether a device is to blame.

    Args:
        what: which model failed on what. remedy: what to do where no device is to blame.
    """
    text, lowered = f"{what}: {str(exc)[:300]}", str(exc).lower()
    if any(words in lowered for words in _FULL):
        return DeviceFullError(f"{text}; lower FRAMEMILL_GPU_MEMORY_SHARE of other workers")
    if is_device_lost(exc):
        return DeviceLostError(f"{text}; {LOST_REMEDY}")
    return ModelError(f"{text}; {remedy}")
