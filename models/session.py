"""Opens models on the best execution provider that really takes them, and runs them.

ONNX Runtime falls back to the CPU without a word, so each rung of the ladder is tried by itself and
what came of it is read back from the session.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from models.errors import ModelError, ProviderError, UsageError
from models.loading import Model
from models.registry import ModelEntry
from models.store import cache_folder

LADDER: Mapping[str, str] = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
# Rows a GPU takes at once; more gains little and holds memory that other models need.
GPU_BATCH = 32
_BATCHED_RUNGS = ("tensorrt", "cuda")  # Core ML wants static shapes; on a CPU batches gain nothing

Item = TypeVar("Item")
Result = TypeVar("Result")
Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class SessionReport:
    """Where a model really runs.

    Attributes:
        model: its name. rung: key of `LADDER`.
        attempts: per rung tried, in order, its name and what came of it (`ok` or the reason).
        num_nodes: nodes of the graph by the provider that runs them.
        max_batch: rows in one call of the model.
        note: what else a user should know, such as why batches stay at one row; mostly empty.
    """

    model: str
    rung: str
    attempts: tuple[tuple[str, str], ...]
    num_nodes: Mapping[str, int]
    max_batch: int
    note: str = ""


class OnnxSession:
    """A `models.loading.Runner` over one ONNX Runtime session.

    On the CPU every row is a call of its own on one thread, so that a row never depends on its
    neighbours, and at most `threads` rows run at once in the whole process, whoever asks.
    """

    def __init__(self, name: str, session: Any, max_batch: int, threads: int) -> None:
        """Rows run side by side on `threads` threads; 0 is for a device: one batch after the other."""
        self.max_batch = max_batch
        self._name = name
        self._session = session
        self._inputs = [value.name for value in session.get_inputs()]
        self._outputs = [output.name for output in session.get_outputs()]
        self._cores = shared_cores(threads) if threads else None
        self._slots = self._cores.slots if self._cores else threading.BoundedSemaphore(1)

    def run(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        """See `Runner.run`.

        Raises:
            ModelError: the model refuses the inputs, or an output's first axis is not the batch.
            ValueError: there is no row, or the inputs differ in their number.
        """
        counts = {len(array) for array in inputs.values()}
        if len(counts) != 1 or 0 in counts:
            raise ValueError(f"inputs need the same number of rows, at least 1, not {sorted(counts)}")
        starts = range(0, counts.pop(), self.max_batch)
        parts = [{k: v[i : i + self.max_batch] for k, v in inputs.items()} for i in starts]
        helpers = min(self._cores.num_idle, len(parts) - 1) if self._cores else 0
        results = self._cores.share(self._run_rows, parts, helpers) if self._cores and helpers else None
        if results is None:
            results = [self._run_rows(part) for part in parts]
        if len(results) == 1:
            return results[0]
        return {name: np.concatenate([r[name] for r in results]) for name in self._outputs}

    def run_whole(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        """See `Runner.run_whole`."""
        if len(inputs) == len(self._inputs) == 1:
            # Exports of one family differ in what they call their only input.
            inputs = {self._inputs[0]: next(iter(inputs.values()))}
        try:
            with self._slots:
                values = self._session.run(None, dict(inputs))
        except Exception as exc:  # ONNX Runtime raises a class of its own for each status code
            shapes = {k: f"{v.dtype}{list(v.shape)}" for k, v in inputs.items()}
            raise ModelError(
                f"model {self._name} failed on {shapes}: {str(exc)[:300]}; check that it fits its family"
            ) from exc
        return dict(zip(self._outputs, values, strict=True))

    def _run_rows(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        outputs = self.run_whole(inputs)
        rows = len(next(iter(inputs.values())))
        for name, array in outputs.items():
            if array.ndim == 0 or len(array) != rows:
                raise ModelError(
                    f"model {self._name}: output {name!r} has shape {list(array.shape)} for {rows} rows; "
                    "its first axis must be the batch: export the model with a batch axis"
                )
        return outputs


class Cores:
    """The CPU threads that everything in this process shares: shards that are decoded, and models.

    Attributes:
        slots: held by each model call, so that no more run at once than there are cores.
    """

    def __init__(self, threads: int) -> None:
        self.slots = threading.BoundedSemaphore(threads)
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, "model")
        self._lock = threading.Lock()
        self._num_shards = 0

    @property
    def num_idle(self) -> int:
        """Cores that no shard works on.

        Threads beyond the cores only take caches from each other. Measured on 2 cores, objects in four
        clips: 26.3 s of CPU time with one thread a shard, 28.9 s with model and reading threads beside.
        """
        return max(0, self._threads - self._num_shards)

    @contextmanager
    def shard(self) -> Iterator[None]:
        """Held while a shard is worked on."""
        with self._lock:
            self._num_shards += 1
        try:
            yield
        finally:
            with self._lock:
                self._num_shards -= 1

    def share(self, work: Callable[[Item], Result], items: Sequence[Item], helpers: int) -> list[Result]:
        """`work` of each item in order, done by the caller and up to `helpers` threads of the pool."""
        results: dict[int, Result] = {}
        waiting = iter(range(len(items)))

        def take() -> None:
            # The iterator is advanced under the interpreter's lock: each index is handed out once.
            for index in waiting:
                results[index] = work(items[index])

        helping = [self._pool.submit(take) for _ in range(helpers)]
        try:
            take()
        finally:
            for helper in helping:
                helper.result()
        return [results[index] for index in range(len(items))]


@cache
def shared_cores(threads: int) -> Cores:
    """The one `Cores` of the process."""
    return Cores(threads)


def open_model(entry: ModelEntry, path: Path, threads: int, require: str = "") -> tuple[Model, SessionReport]:
    """Opens a verified model file on the first rung that takes it.

    Args:
        entry: describes the model; an absent `input_size` is filled in from the file where it states one.
        path: its file, as `models.store.find` gives it.
        threads: CPU threads for all models of this process together, at least 1.
        require: key of `LADDER` that must run the model; empty for the best there is.

    Raises:
        UsageError: `require` is no key of `LADDER`.
        ProviderError: the required provider did not take the model.
        ModelError: no provider can open the file, or ONNX Runtime is not installed.
    """
    if require and require not in LADDER:
        raise UsageError(f"unknown execution provider {require!r}; known: {', '.join(LADDER)}")
    if entry.family == "whisper":
        from models.whisper import open_whisper  # runs on CTranslate2, which costs nobody else its import

        return open_whisper(entry, path, threads, require)
    if entry.files:
        from models.bert_graph import graph_file  # only models that come with a tokenizer are folders

        path = graph_file(entry, path)
    try:
        import onnxruntime as ort
    except ImportError as exc:
        raise ModelError(f"ONNX Runtime is not usable ({exc}); install the extra `cpu` or `gpu`") from exc
    available = ort.get_available_providers()
    if LADDER["cuda"] in available:
        ort.preload_dlls()
    attempts: list[tuple[str, str]] = []
    for rung in (require,) if require else LADDER:
        if LADDER[rung] not in available:
            attempts.append((rung, "not in this build of ONNX Runtime"))
            continue
        file, max_batch, note = _batched_file(entry, path) if rung in _BATCHED_RUNGS else (path, 1, "")
        try:
            session, num_nodes = _open(ort, rung, file, entry, max_batch, available)
        except Exception as exc:  # of any class: a provider that cannot load must not end the ladder
            attempts.append((rung, str(exc)[:300] or type(exc).__name__))
            continue
        attempts.append((rung, "ok"))
        report = SessionReport(entry.name, rung, tuple(attempts), num_nodes, max_batch, note)
        runner = OnnxSession(entry.name, session, max_batch, max(threads, 1) if rung == "cpu" else 0)
        size = entry.input_size or picture_size(session.get_inputs()[0].shape)
        return Model(replace(entry, input_size=size), runner), report
    tried = "; ".join(f"{rung}: {reason}" for rung, reason in attempts)
    if require and require != "cpu":
        raise ProviderError(
            f"model {entry.name} must run on {require}, but {tried}; ask `framemill doctor`, or require none"
        )
    raise ModelError(f"model {entry.name}: {path} cannot be opened ({tried}); is it a whole ONNX file?")


def picture_size(shape: Sequence[Any]) -> tuple[int, int] | None:
    """(width, height) that an input shape states, channels first or last; None where it states none."""
    if len(shape) != 4:
        return None
    height, width = shape[1:3] if shape[3] in (1, 3) and shape[1] not in (1, 3) else shape[2:4]
    return (width, height) if isinstance(width, int) and isinstance(height, int) else None


def _batched_file(entry: ModelEntry, path: Path) -> tuple[Path, int, str]:
    """The file for a device that gains from batches, the rows in a batch, and a note."""
    if entry.batching == "dynamic":
        return path, GPU_BATCH, ""
    if entry.batching == "none":
        return path, 1, "runs one row at a time"
    from models.batchable import dynamic_variant

    try:
        variant, reason = dynamic_variant(entry, path)
    except ModelError as exc:
        variant, reason = None, str(exc)
    return (variant, GPU_BATCH, "") if variant else (path, 1, f"runs one row at a time: {reason}")


def _open(
    ort: Any, rung: str, path: Path, entry: ModelEntry, max_batch: int, available: Sequence[str]
) -> tuple[Any, dict[str, int]]:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    for key, value in (
        ("session.intra_op.allow_spinning", "0"),
        ("session.inter_op.allow_spinning", "0"),
        ("session.record_ep_graph_assignment_info", "1"),
        # Weights in other files are not covered by the digest: pointed at nothing, they do not load.
        ("session.model_external_initializers_file_folder_path", str(path.parent / ".no-external-data")),
    ):
        options.add_session_config_entry(key, value)
    wanted = LADDER[rung]
    order = [wanted]
    if rung == "tensorrt" and LADDER["cuda"] in available:
        order.append(LADDER["cuda"])
    if rung != "cpu":
        order.append(LADDER["cpu"])
    providers = [(name, _provider_options(name, entry, max_batch)) for name in order]
    session = ort.InferenceSession(str(path), options, providers=providers, enable_fallback=0)
    got = session.get_providers()
    if not got or got[0] != wanted:
        raise ProviderError(f"silently absent: the session has {', '.join(got)}")
    num_nodes: dict[str, int] = {}
    for part in session.get_provider_graph_assignment_info():
        num_nodes[part.ep_name] = num_nodes.get(part.ep_name, 0) + len(part.get_nodes())
    if num_nodes and not num_nodes.get(wanted):
        raise ProviderError("took no node of the graph")
    return session, num_nodes


def _provider_options(provider: str, entry: ModelEntry, max_batch: int) -> dict[str, str]:
    if provider == LADDER["tensorrt"]:
        folder = cache_folder() / "tensorrt"
        folder.mkdir(parents=True, exist_ok=True)
        # An engine takes minutes to build, so it is kept; full precision keeps rows equal to the CPU's.
        return {
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(folder),
            "trt_engine_cache_prefix": f"{entry.sha256[:16]}-{max_batch}",
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": str(folder),
            "trt_fp16_enable": "0",
        }
    if provider == LADDER["cuda"]:
        return {
            "arena_extend_strategy": "kSameAsRequested",
            "cudnn_conv_algo_search": "HEURISTIC",
            "use_tf32": "0",  # it would cost three digits of each product
        }
    if provider == LADDER["coreml"]:
        return {"ModelFormat": "MLProgram", "MLComputeUnits": "ALL", "RequireStaticInputShapes": "1"}
    return {}
