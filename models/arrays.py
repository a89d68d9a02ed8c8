"""Arrays wherever they live: NumPy's in memory, CuPy's on a device.

Array code takes its functions from its input (`xp = array_module(pixels)`) and keeps to those of the array
API standard (data-apis.org, 2024.12), which NumPy and CuPy offer in their main modules. So one body serves
both, and nothing visits the host unasked.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

import numpy as np
import numpy.typing as npt

from framemill.models.cuda import wait_asleep


def array_module(array: Any) -> Any:
    """The module whose functions work on this array: `numpy`, `cupy`, or another of the standard."""
    if isinstance(array, np.ndarray):
        return np
    namespace = getattr(array, "__array_namespace__", None)
    return namespace() if namespace else sys.modules[type(array).__module__.partition(".")[0]]


def argsort(keys: Any) -> Any:
    """Positions of a row of numbers in ascending order, equal ones as they come."""
    if isinstance(keys, np.ndarray):
        return np.argsort(keys, kind="stable")
    return array_module(keys).argsort(keys)  # stable by default, by the standard and in CuPy


def cupy_module() -> Any:
    """The module `cupy`, in which each thread has a stream of its own.

    Raises:
        ImportError: it is not installed.
    """
    os.environ.setdefault("CUPY_CUDA_PER_THREAD_DEFAULT_STREAM", "1")  # read at its first import
    wait_asleep()
    import cupy

    return cupy


def is_on_host(array: Any) -> bool:
    """Whether NumPy can look at it without copying from a device."""
    return isinstance(array, np.ndarray)


def to_host(array: Any) -> npt.NDArray[Any]:
    """The same values for NumPy: the array itself where it is NumPy's, else a copy."""
    if isinstance(array, np.ndarray):
        return array
    if hasattr(array, "get"):  # CuPy's
        if not array.size:
            return np.empty(array.shape, array.dtype)
        import cupyx

        # Copies into page-locked memory run at the speed of the bus; others pass through a small buffer.
        out: npt.NDArray[Any] = cupyx.empty_pinned(array.shape, array.dtype)
        array.get(out=out)
        return out
    return np.from_dlpack(array)


def to_device(array: Any) -> Any:
    """The same values for CuPy, in the order of the calling thread's stream."""
    return cupy_module().asarray(array) if isinstance(array, np.ndarray) else array


def await_producer(array: Any) -> None:
    """Waits for what the calling thread still has in the making on a device.

    ONNX Runtime does not wait for what produces a bound pointer, and calls are handed to other threads
    with streams of their own. A wait of the calling thread alone costs tens of microseconds.
    """
    if not isinstance(array, np.ndarray) and hasattr(array, "get"):
        sys.modules["cupy"].cuda.get_current_stream().synchronize()


def blocking_event() -> Any:
    """An event of CuPy's that a thread waits for asleep; for others it spins, whatever is set for it."""
    return sys.modules["cupy"].cuda.Event(block=True, disable_timing=True)


class Borrowed:
    """Work on memory of another library, which takes it back in the order of a stream of its own.

    Whoever computes with such arrays does so in other threads, on other streams: without `settle`, what the
    library writes there next could overtake what is still to be read.

    Args:
        stream: CuPy's stream that the library works on; None on the host, where nothing has to be done.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._events: dict[int, Any] = {}

    def used(self) -> None:
        """To be called by a thread when it has asked for work on the memory; the last call of each counts."""
        if self._stream is not None:
            stream = sys.modules["cupy"].cuda.get_current_stream()
            self._events[threading.get_ident()] = stream.record()

    def settle(self) -> None:
        """To be called before the memory is given back: the library's stream waits for that work."""
        while self._events:
            self._stream.wait_event(self._events.popitem()[1])
