"""The execution providers of ONNX Runtime, best first, and how each is set up for a model."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from framemill.models.checked_files import is_checked, read_checked

LADDER: Mapping[str, str] = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
# Providers on which batches pay; Core ML wants static shapes, and on a CPU batches gain nothing.
BATCHED_PROVIDERS = ("tensorrt", "cuda")
# Rows a GPU takes at once; more gains little and holds memory that other models need.
GPU_BATCH = 32
_PROCESSOR = Path("/proc/cpuinfo")
_EXACT_PRODUCTS = ("avx512_vnni", "avx_vnni")


@dataclass(frozen=True, slots=True)
class SessionReport:
    """Where a model really runs.

    Attributes:
        model: its name. provider: key of `LADDER`.
        attempts: per provider tried, in order, its name and what came of it (`ok` or the reason).
        num_nodes: nodes of the graph by the provider that runs them.
        max_batch: rows in one call of the model.
        note: what else a user should know, such as why batches stay at one row; mostly empty.
        precision: of the arithmetic: fp32, fp16 or int8.
        build_seconds: time that building its engine took; 0 where there is none, or it was there.
    """

    model: str
    provider: str
    attempts: tuple[tuple[str, str], ...]
    num_nodes: Mapping[str, int]
    max_batch: int
    note: str = ""
    precision: str = "fp32"
    build_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Opened:
    """A session on one provider, and what its report holds; fields as in `SessionReport`.

    Attributes:
        stream: CuPy's stream that the session's work goes to; None on the host, or without CuPy.
        options: of calls that need not wait for the device (`launch_options`); None where they have to.
    """

    session: Any
    num_nodes: Mapping[str, int]
    max_batch: int
    note: str
    precision: str
    build_seconds: float
    stream: Any
    options: Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Setup:
    """What the options of a provider depend on.

    Attributes:
        max_batch: rows in one call.
        row_shapes: per input, the shape of one row; empty where the file leaves an axis open.
        precision: in which numbers TensorRT computes: fp32, fp16, or int8 for a quantised file.
        engines: folder of what TensorRT, Core ML or OpenVINO compiles. timings: of TensorRT's measured times.
        memory_bytes: device memory that the session may take; 0 for as much as there is.
        stream: pointer of the CUDA stream that all work of the session goes to; 0 for its own.
        cores: CPU threads that OpenVINO may take for rows side by side, one for each.
    """

    max_batch: int
    row_shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    precision: str = "fp32"
    engines: Path = Path()
    timings: Path = Path()
    memory_bytes: int = 0
    stream: int = 0
    cores: int = 1


def session_options(ort: Any, path: Path, threads: int) -> Any:
    """Options of a session of the file at `path`; on a CPU a row takes `threads`."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    for key, value in (
        ("session.intra_op.allow_spinning", "0"),
        ("session.inter_op.allow_spinning", "0"),
        ("session.record_ep_graph_assignment_info", "1"),
        # Weights in other files do not load, but those that `open_session` has read: no digest covers others.
        (
            "session.model_external_initializers_file_folder_path",
            str(path.parent / ".no-external-data"),
        ),
    ):
        options.add_session_config_entry(key, value)
    if byte_sums_may_saturate():
        options.add_session_config_entry("session.x64quantprecision", "1")
    return options


def open_session(
    ort: Any, path: Path, options: Any, providers: Sequence[Any], weights: Collection[str] = ()
) -> Any:
    """A session of the ONNX file at `path` as it was checked.

    Args:
        options: as `session_options` gives them. providers: names, or names with options, in their order.
        weights: files beside it that hold its weights and have digests of their own.

    Raises:
        ModelError: a file cannot be read, or was changed after it had been checked.
        Exception: of a class of ONNX Runtime's, why it cannot be opened.
    """
    contents = {name: read_checked(path.parent / name) for name in sorted(weights)}
    if contents:
        lengths = [len(content) for content in contents.values()]
        names, buffers = list(contents), list(contents.values())
        options.add_external_initializers_from_files_in_memory(names, buffers, lengths)
    model = read_checked(path) if is_checked(path) else str(path)  # what we made ourselves has no digest
    session = ort.InferenceSession(model, options, providers=providers, enable_fallback=0)
    if isinstance(model, bytes):
        # It would hold them as long as it lives, for a fallback that it is told not to take.
        vars(session)["_model_bytes"] = b""
    return session


def byte_sums_may_saturate() -> bool:
    """Whether products of unsigned by signed bytes may be summed in too few bits here.

    x86 without VNNI adds two of them in 16 bits and clips: on it the probabilities of an eight-bit network
    moved by up to 0.58. ONNX Runtime's `session.x64quantprecision` takes weights as unsigned there, which
    gives the sums of VNNI to the last bit, and does nothing on other architectures. With VNNI it would cost
    29% of the time for nothing. Where the processor's flags cannot be read, they may saturate.
    """
    flags = _PROCESSOR.read_text().split() if _PROCESSOR.is_file() else []
    return not set(flags).intersection(_EXACT_PRODUCTS)


def provider_options(provider: str, setup: Setup) -> dict[str, str]:
    """Options of one provider, as ONNX Runtime takes them."""
    if provider == LADDER["tensorrt"]:
        return _tensorrt(setup) | _stream(setup)
    if provider == LADDER["cuda"]:
        limit = {"gpu_mem_limit": str(setup.memory_bytes)} if setup.memory_bytes else {}
        return {
            "device_id": "0",
            "arena_extend_strategy": "kSameAsRequested",
            "cudnn_conv_algo_search": "HEURISTIC",
            "use_tf32": "0",  # it would cost three digits of each product
            **limit,
            **_stream(setup),
        }
    if provider == LADDER["coreml"]:
        cache = {"ModelCacheDirectory": str(setup.engines)} if setup.engines != Path() else {}
        return {"ModelFormat": "MLProgram", "MLComputeUnits": "ALL", "RequireStaticInputShapes": "1", **cache}
    if provider == LADDER["openvino"]:
        cache = {"cache_dir": str(setup.engines)} if setup.engines != Path() else {}
        lanes = str(setup.cores)
        # Else it computes in 16 bits where the processor has them.
        return {
            "device_type": "CPU",
            "precision": "FP32",
            "num_of_threads": lanes,
            "num_streams": lanes,
            **cache,
        }
    return {}


def _stream(setup: Setup) -> dict[str, str]:
    return {"user_compute_stream": str(setup.stream)} if setup.stream else {}


def _tensorrt(setup: Setup) -> dict[str, str]:
    # The Python binding takes truth values of this provider as these words alone, not as 1 and 0.
    options = {
        "device_id": "0",
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(setup.engines),
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": str(setup.timings),
        "trt_fp16_enable": str(setup.precision == "fp16"),
        "trt_int8_enable": str(setup.precision == "int8"),
        "trt_layer_norm_fp32_fallback": "True",
    }
    if setup.memory_bytes:
        options["trt_max_workspace_size"] = str(setup.memory_bytes)
    if setup.row_shapes:
        # One engine for every batch: the least, the one it is tuned for, and the most.
        for kind, rows in (("min", 1), ("opt", setup.max_batch), ("max", setup.max_batch)):
            options[f"trt_profile_{kind}_shapes"] = ",".join(
                f"{name}:{'x'.join(map(str, (rows, *shape)))}" for name, shape in setup.row_shapes.items()
            )
    return options


def padded_rows(count: int, max_batch: int) -> int:
    """The batch in which `count` rows run on a device: the next power of two, at most `max_batch`.

    Each new shape costs a device new plans and buffers, so there are few of them.
    """
    rows = 1
    while rows < count:
        rows *= 2
    return min(rows, max_batch)


def computes_in_bytes(session: Any) -> bool:
    """Whether the graph that runs holds eight-bit products or what makes them."""
    parts = session.get_provider_graph_assignment_info()
    kinds = {getattr(node, "op_type", "") for part in parts for node in part.get_nodes()}
    return any(
        kind.startswith(("QLinear", "QuantizeLinear", "DynamicQuantize", "ConvInteger")) for kind in kinds
    )


def count_nodes(session: Any) -> dict[str, int]:
    """Nodes of the graph by the provider that runs them."""
    num_nodes: dict[str, int] = {}
    for part in session.get_provider_graph_assignment_info():
        num_nodes[part.ep_name] = num_nodes.get(part.ep_name, 0) + len(part.get_nodes())
    return num_nodes
