"""Whether there is a driver with a GPU: run by path, before anything is installed, with Python alone.

Ends with 5 where there is none, and says what is missing.
"""

from __future__ import annotations

import ctypes
import sys

MISSING = 5
# cuda.h: the driver is there, and no device that it may use.
_NO_DEVICE = 100


def problem() -> str:
    """What is missing, with a remedy; empty where a GPU can be seen."""
    if sys.platform != "linux":
        return f"NVIDIA's driver is for Linux, and this is {sys.platform}"
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError as exc:
        return (
            f"no NVIDIA driver: {exc}. Install driver 580 or newer; in a container, have its runtime "
            "mount it (--gpus all, NVIDIA_DRIVER_CAPABILITIES=compute,utility,video)"
        )
    code, count = library.cuInit(0), ctypes.c_int()
    if code == 0:
        code = library.cuDeviceGetCount(ctypes.byref(count))
    if code in (0, _NO_DEVICE) and not count.value:
        return "the NVIDIA driver is there, but no GPU that this process may use (CUDA_VISIBLE_DEVICES?)"
    return f"the NVIDIA driver does not start (CUDA error {code}): ask `nvidia-smi`" if code else ""


if __name__ == "__main__":
    if missing := problem():
        print(f"first-gpu: {missing}", file=sys.stderr)
        sys.exit(MISSING)
