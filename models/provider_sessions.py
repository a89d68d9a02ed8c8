"""Opening a model on one execution provider: which file, which options, and what really came of it."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from framemill.errors import ModelError, ProviderError
from framemill.models import cuda
from framemill.models.arrays import cupy_module
from framemill.models.engines import Tell, engine_folder, open_with_engine, tell_nobody, timing_folder
from framemill.models.entry import BATCH_TRANSFORM_VERSION, ModelEntry
from framemill.models.folders import weights_beside
from framemill.models.halves import half_file
from framemill.models.memory_plan import plan_memory
from framemill.models.providers import (
    BATCHED_PROVIDERS,
    GPU_BATCH,
    LADDER,
    Opened,
    Setup,
    computes_in_bytes,
    count_nodes,
    open_session,
    provider_options,
    session_options,
)
from framemill.models.store import cache_folder


def open_on_provider(
    ort: Any,
    provider: str,
    path: Path,
    entry: ModelEntry,
    available: Sequence[str],
    *,
    sharing: int = 1,
    precision: str = "fp32",
    row_threads: int = 1,
    cores: int = 1,
    tell: Tell = tell_nobody,
) -> Opened:
    """A session that the provider really runs.

    Args:
        ort: the module `onnxruntime`.
        provider: key of `LADDER`, one that is in this build.
        path: the model's file; an engine may run another, made from it.
        available: the providers of this build.
        sharing: how many models share the device's memory, >= 1.
        precision: in which numbers a GPU may compute, fp32 or fp16; a quantised file stays as it is.
        row_threads: CPU threads that a row takes where the CPU runs it. cores: those for all rows at once.
        tell: is told of an engine that is built (see `open_with_engine`).

    Raises:
        Exception: of any class, why the provider did not take the model.
    """
    setup, note, stream = Setup(max_batch=1), "", None
    if provider == "tensorrt" and (problem := cuda.load_tensorrt()):
        raise ProviderError(problem)
    if provider in BATCHED_PROVIDERS:
        stream = own_stream()
        path, setup, note = _device_setup(ort, provider, path, entry, sharing, precision)
        setup = replace(setup, stream=stream.ptr if stream is not None else 0)
    if provider in ("coreml", "openvino"):
        # They compile for seconds; Core ML tells models in a folder apart by little more than their inputs.
        compiled = engine_folder(cache_folder() / provider, [entry.sha256, path.name, ort.__version__])
        setup = replace(setup, engines=compiled, cores=cores)

    def open_in(engines: Path) -> Any:
        threads = row_threads if provider == "cpu" else 1
        session = _open(ort, provider, path, entry, replace(setup, engines=engines), available, threads)
        got = session.get_providers()
        if not got or got[0] != LADDER[provider]:
            raise ProviderError(_absent(ort, got))
        return session

    seconds = 0.0
    if provider == "tensorrt":
        session, seconds = open_with_engine(setup.engines, open_in, tell, entry.name)
    else:
        session = open_in(setup.engines)
    num_nodes = count_nodes(session)
    if num_nodes and not num_nodes.get(LADDER[provider]):
        raise ProviderError("took no node of the graph")
    precision = "int8" if computes_in_bytes(session) else setup.precision
    options = None
    if stream is not None and num_nodes and LADDER["cpu"] not in num_nodes:
        from framemill.models.binding import launch_options

        options = launch_options(ort)
    return Opened(session, num_nodes, setup.max_batch, note, precision, seconds, stream, options)


def may_build_engines(require: str = "", precision: str = "fp32") -> bool:
    """Whether opening a model here may take minutes: an engine is built, or halves are tried on a GPU.

    Args:
        require, precision: as `open_model` takes them.
    """
    if require not in ("", *BATCHED_PROVIDERS) or not cuda.find_gpus():
        return False
    tries_halves = precision == "fp16"
    if require == "cuda" and not tries_halves:
        return False
    try:
        import onnxruntime as ort
    except ImportError:
        return False
    load_cuda(ort)
    available = ort.get_available_providers()
    if require != "cuda" and LADDER["tensorrt"] in available and cuda.has_tensorrt():
        return True
    return tries_halves and LADDER["cuda"] in available


def try_provider(provider: str) -> str:
    """Why a provider does not run a small model; empty where it does."""
    import onnxruntime as ort
    from onnx import TensorProto, helper

    load_cuda(ort)
    available = ort.get_available_providers()
    if LADDER[provider] not in available:
        return "not in this build of ONNX Runtime"
    if provider == "tensorrt" and (problem := cuda.load_tensorrt()):
        return problem
    shape = [1, 3, 8, 8]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2])],
        "graph",
        [value("x", TensorProto.FLOAT, shape)],
        [value("y", TensorProto.FLOAT, [1, 3, 7, 7])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        order = list(dict.fromkeys([LADDER[provider], LADDER["cpu"]]))
        session = ort.InferenceSession(model.SerializeToString(), options, providers=order, enable_fallback=0)
        if session.get_providers()[0] != LADDER[provider]:
            return _absent(ort, session.get_providers())
        session.run(None, {"x": np.zeros(shape, np.float32)})
    except Exception as exc:  # of any class: what a provider raises that cannot load its libraries
        return str(exc)[:300] or type(exc).__name__
    return ""


@cache
def load_cuda(ort: Any) -> str:
    """Loads the CUDA libraries that came as wheels, where this build of ONNX Runtime is one for CUDA.

    To be called before its providers are listed: CUDA as a plug-in appears once they are there.

    Returns:
        Its messages about those that are not there; empty where all are, or none is needed.
    """
    printed = io.StringIO()
    if getattr(ort, "cuda_version", ""):
        cuda.wait_asleep()
        with contextlib.redirect_stdout(printed):  # it prints, and does so for every model
            ort.preload_dlls()
    return "; ".join(printed.getvalue().splitlines())[:300]


def _absent(ort: Any, got: Sequence[str]) -> str:
    return "; ".join(filter(None, [f"silently absent: the session has {', '.join(got)}", load_cuda(ort)]))


def own_stream() -> Any:
    """A stream beside the default one, which waits for all others; None without CuPy or a device.

    Each session has one, as each is run by one thread at a time: what the session's thread prepares is then
    in order with what the runtime does.
    """
    gpus = cuda.find_gpus()
    if not gpus:
        return None
    try:
        cupy = cupy_module()
    except ImportError:
        return None  # then inputs come from the host, and nothing has to be in step
    cupy.get_default_memory_pool().set_limit(size=plan_memory(gpus[0].memory_bytes).arrays)
    return cupy.cuda.Stream(non_blocking=True)


def batched_file(entry: ModelEntry, path: Path) -> tuple[Path, int, str]:
    """The file for a device that gains from batches, the rows in a batch, and a note."""
    if entry.batching == "dynamic":
        return path, GPU_BATCH, ""
    if entry.batching == "none":
        return path, 1, "runs one row at a time"
    from framemill.models.onnx_batching import dynamic_variant

    try:
        variant, reason = dynamic_variant(entry, path)
    except ModelError as exc:
        variant, reason = None, str(exc)
    return (variant, GPU_BATCH, "") if variant else (path, 1, f"runs one row at a time: {reason}")


def _device_setup(
    ort: Any, provider: str, path: Path, entry: ModelEntry, sharing: int, precision: str
) -> tuple[Path, Setup, str]:
    from framemill.models.onnx_batching import closed_rows, load_graph
    from framemill.models.quantizing import signed_file

    path, max_batch, note = batched_file(entry, path)
    shapes: Mapping[str, tuple[int, ...]] = {}
    if provider != "tensorrt":
        if precision == "fp16":
            path = half_file(ort, entry, path)
    else:
        graph = load_graph(path, weights_beside(entry.files, path))
        signed = signed_file(graph, path)
        if signed is not None:
            path, precision = signed, "int8"
        shapes = closed_rows(graph, entry.input_size)
        if not shapes:
            note = "; ".join(filter(None, [note, "engines are built while it runs: it has open axes"]))
    gpus = cuda.find_gpus()
    memory = plan_memory(gpus[0].memory_bytes).onnxruntime // sharing if gpus else 0
    architecture = gpus[0].architecture if gpus else "none"
    runtimes = [ort.__version__, cuda.version_of(*cuda.TENSORRT_PACKAGES), architecture]
    root = cache_folder() / "tensorrt"
    model = [entry.sha256, str(BATCH_TRANSFORM_VERSION), path.name, precision, repr(sorted(shapes.items()))]
    model.append(os.environ.get(cuda.TF32_VARIABLE, ""))
    setup = Setup(
        max_batch=max_batch,
        row_shapes=shapes,
        precision=precision,
        engines=engine_folder(root, [*model, str(max_batch), *runtimes]),
        timings=timing_folder(root, runtimes),
        memory_bytes=memory,
    )
    return path, setup, note


def _open(
    ort: Any,
    provider: str,
    path: Path,
    entry: ModelEntry,
    setup: Setup,
    available: Sequence[str],
    threads: int,
) -> Any:
    options = session_options(ort, path, threads)
    if provider == "tensorrt":
        setup.timings.mkdir(parents=True, exist_ok=True)
    if provider in ("coreml", "openvino"):
        setup.engines.mkdir(parents=True, exist_ok=True)
    if provider == "coreml":
        _close_axes(options, path, entry)
    order = [LADDER[provider]]
    if provider == "tensorrt" and LADDER["cuda"] in available:
        order.append(LADDER["cuda"])
    if provider != "cpu":
        order.append(LADDER["cpu"])
    # TensorRT leaves to CUDA what it does not take: both together stay within the session's part.
    num_devices = sum(name != LADDER["cpu"] for name in order)
    setup = replace(setup, memory_bytes=setup.memory_bytes // max(1, num_devices))
    providers = [(name, provider_options(name, setup)) for name in order]
    return open_session(ort, path, options, providers, weights_beside(entry.files, path))


def _close_axes(options: Any, path: Path, entry: ModelEntry) -> None:
    """Core ML compiles for shapes that are known: one row, and the picture's size where that is open."""
    from framemill.models.onnx_batching import input_shapes, load_graph

    for shape in input_shapes(load_graph(path, weights_beside(entry.files, path))).values():
        if shape and isinstance(shape[0], str):
            options.add_free_dimension_override_by_name(shape[0], 1)
        sides = shape[1:3] if len(shape) == 4 and shape[3] in (1, 3) else shape[2:4]
        for side, length in zip(sides, reversed(entry.input_size or ()), strict=False):
            if isinstance(side, str):
                options.add_free_dimension_override_by_name(side, length)
