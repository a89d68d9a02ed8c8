"""Calls of ONNX Runtime on arrays where they lie: pointers go in, outputs stay where they are made.

Written for any kind of memory, so that the same code runs on a device and, in tests, on the host.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from framemill.models.arrays import array_module, cupy_module, is_on_host, to_host


def launch_options(ort: Any) -> Any:
    """Options of a call that returns once its work is asked for, before the device has done it.

    For sessions all of whose nodes run on the device, in the order of one stream, with inputs that lie there:
    what ONNX Runtime copies from the host by itself goes to memory that earlier work may still use.
    """
    options = ort.RunOptions()
    options.add_run_config_entry("disable_synchronize_execution_providers", "1")
    return options


def launch_bound(
    session: Any, inputs: Mapping[str, Any], outputs: Sequence[str], device: str, options: Any = None
) -> tuple[list[Any], list[Any]]:
    """One call with every input bound to its memory and every output left on `device`.

    Args:
        inputs: arrays of the device or the host by name; those that do not lie row by row are copied.
        outputs: names of the outputs wanted.
        device: ONNX Runtime's name of the memory for outputs, `cuda` or `cpu`.
        options: None for a call that waits for the device; those of `launch_options` for one that does not.

    Returns:
        ONNX Runtime's values of the outputs in order, and arrays that must be held until the device is done.
    """
    binding = session.io_binding()
    held = []
    for name, array in inputs.items():
        whole = array_module(array).ascontiguousarray(array)
        held.append(whole)
        on_host = is_on_host(whole)
        pointer = whole.ctypes.data if on_host else whole.data.ptr
        kind = "cpu" if on_host else "cuda"
        binding.bind_input(name, kind, 0, np.dtype(whole.dtype).type, whole.shape, pointer)
    for name in outputs:
        binding.bind_output(name, device)
    session.run_with_iobinding(binding, options)
    return binding.get_outputs(), held


def array_of(value: Any) -> Any:
    """An array over the memory of an output, on a device or the host."""
    return value.numpy() if value.device_name() == "cpu" else cupy_module().from_dlpack(value)


def run_bound(
    session: Any, inputs: Mapping[str, Any], outputs: Sequence[str], device: str
) -> list[npt.NDArray[Any]]:
    """One call on arrays where they lie, as of `launch_bound`, and its outputs in the host's memory.

    ONNX Runtime waits for its stream at the end of such a call.
    """
    values, _ = launch_bound(session, inputs, outputs, device)
    return [to_host(array_of(value)) for value in values]
