"""Calls of ONNX Runtime on arrays where they lie: pointers go in, outputs come to the host once.

Written for any kind of memory, so that the same code runs on a device and, in tests, on the host.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from framemill.models.arrays import array_module, cupy_module, is_on_host, to_host


def run_bound(
    session: Any, inputs: Mapping[str, Any], outputs: Sequence[str], device: str
) -> list[npt.NDArray[Any]]:
    """One call with every input bound to its memory and every output left on `device`.

    The call returns once the device is done, since ONNX Runtime waits for its stream at the end of a run.

    Args:
        inputs: arrays of the device or the host by name; those that do not lie row by row are copied.
        outputs: names of the outputs wanted.
        device: ONNX Runtime's name of the memory for outputs, `cuda` or `cpu`.

    Returns:
        The outputs in order, in the host's memory.
    """
    binding = session.io_binding()
    held = []  # the memory must outlive the call
    for name, array in inputs.items():
        whole = array_module(array).ascontiguousarray(array)
        held.append(whole)
        on_host = is_on_host(whole)
        pointer = whole.ctypes.data if on_host else whole.data.ptr
        kind = "cpu" if on_host else "cuda"
        binding.bind_input(name, kind, 0, np.dtype(whole.dtype).type, whole.shape, pointer)
    for name in outputs:
        binding.bind_output(name, device)
    session.run_with_iobinding(binding)
    return [_on_host(value) for value in binding.get_outputs()]


def _on_host(value: Any) -> npt.NDArray[Any]:
    if value.device_name() == "cpu":
        array: npt.NDArray[Any] = value.numpy()
        return array
    return to_host(cupy_module().from_dlpack(value))
