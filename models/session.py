"""Opens models on the best execution provider that really takes them, and runs them.

ONNX Runtime falls back to the CPU without a word, so each provider is tried by itself and what
came of it is read back from the session.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy.typing as npt

from framemill.errors import DeviceFullError, ModelError, ProviderError, UsageError
from framemill.models.arrays import (
    array_module,
    await_producer,
    blocking_event,
    is_on_host,
    to_device,
    to_host,
)
from framemill.models.checked_files import read_checked
from framemill.models.engines import Tell, tell_nobody
from framemill.models.failures import model_failure
from framemill.models.halves import open_judged
from framemill.models.probing import WORKED_SECONDS, choose_threads, known_probe, openvino_problem
from framemill.models.provider_sessions import load_cuda, open_on_provider
from framemill.models.providers import BATCHED_PROVIDERS, LADDER, SessionReport, padded_rows
from framemill.models.registry import ModelEntry
from framemill.models.runner import Model
from framemill.models.thread_budget import shared_thread_budget

# Calls of a model on a device that are asked for at once: while one runs, the next waits behind it.
IN_FLIGHT = 2
Arrays = Mapping[str, npt.NDArray[Any]]
# From a row of a run to a session that runs such rows the fastest here, and the CPU threads that each takes.
Choose = Callable[[Arrays], tuple[Any, int]]


class OnnxSession:
    """A `framemill.models.runner.Runner` over one ONNX Runtime session.

    On the CPU every row is a call of its own, so that a row never depends on its neighbours, on one thread or
    on all where that is faster here; rows of all callers together take at most `threads` in the process.
    On a device one batch runs after the other; a batch that does not fit its memory is halved, for good. With
    `options` the next is asked for while one is under way, so that the device need not wait for the host
    between them; results are waited for and read back outside of the lock.

    Attributes:
        max_batch: rows in one call. in_flight: calls that may be under way at once on a device.
        row_threads: CPU threads that a row takes.
        busy_seconds: time that calls took so far, together. note: what went wrong without harm, or empty.
        num_halved: how often it was halved.
        num_batches, num_rows: calls on a device so far, and rows in them, without padding.
    """

    def __init__(
        self,
        name: str,
        session: Any,
        max_batch: int,
        threads: int,
        device: str = "cpu",
        stream: Any = None,
        row_threads: int = 1,
        choose: Choose | None = None,
        options: Any = None,
    ) -> None:
        """Rows run side by side on `threads` threads; 0 is for a device: one batch after the other.

        Args:
            device: memory in which ONNX Runtime keeps outputs of inputs that lie on a device.
            stream: CuPy's stream, to which the session sends its work; None for one of its own.
            row_threads: CPU threads that a row takes in this session.
            choose: gives a session that runs a row like the given one faster here, and its `row_threads`;
                called once, when the model has worked for `WORKED_SECONDS`. None where that is known.
            options: of calls that do not wait for the device (`launch_options`), on `stream`; None where each
                waits.
        """
        self.max_batch = max_batch
        self.row_threads = row_threads
        self.busy_seconds = 0.0
        self.note = ""
        self.in_flight = 1 if options is None else IN_FLIGHT
        self._choose = choose
        self._options = options
        self._flights = threading.BoundedSemaphore(self.in_flight)
        self._until = 0.0  # when the last call so far was done, by `time.perf_counter`
        self.num_halved = self.num_batches = self.num_rows = 0
        self._name = name
        self._session = session
        self._device = device
        self._stream = stream
        self._inputs = [value.name for value in session.get_inputs()]
        self._outputs = [output.name for output in session.get_outputs()]
        self._budget = shared_thread_budget(threads) if threads else None
        self._lock = threading.Lock()

    def run(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        """See `Runner.run`.

        Raises:
            ModelError: the model refuses the inputs, or an output's first axis is not the batch.
            ValueError: there is no row, or the inputs differ in their number.
        """
        counts = {len(array) for array in inputs.values()}
        if len(counts) != 1 or 0 in counts:
            raise ValueError(f"inputs need the same number of rows, at least 1, not {sorted(counts)}")
        (count,) = counts
        if self._budget is None:
            return self._joined(self._run_on_device(inputs, count))
        parts = [
            {k: v[i : i + self.max_batch] for k, v in inputs.items()} for i in range(0, count, self.max_batch)
        ]
        helpers = min(self._budget.num_idle, len(parts) - 1)
        results = self._budget.map(self._run_rows, parts, helpers) if helpers else None
        results = results or [self._run_rows(part) for part in parts]
        if self._choose is not None and self.busy_seconds > WORKED_SECONDS:
            self._tune(parts[0])
        return self._joined(results)

    def run_whole(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        """See `Runner.run_whole`."""
        return self._call(inputs, stays=False)

    def run_in_place(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """See `InPlaceRunner.run_in_place`."""
        if self._options is None:
            return self.run(inputs)
        joined = self._joined(self._run_on_device(inputs, len(next(iter(inputs.values()))), stays=True))
        for array in joined.values():
            await_producer(array)  # what joined them, if there were several
        return joined

    def _call(self, inputs: Mapping[str, Any], stays: bool) -> dict[str, Any]:
        if len(inputs) == len(self._inputs) == 1:
            # Exports of one family differ in what they call their only input.
            inputs = {self._inputs[0]: next(iter(inputs.values()))}
        try:
            values = self._call_now(inputs) if self._options is None else self._call_ahead(inputs, stays)
        except Exception as exc:  # ONNX Runtime raises a class of its own for each status code
            shapes = {k: f"{v.dtype}{list(v.shape)}" for k, v in inputs.items()}
            raise model_failure(
                f"model {self._name} failed on {shapes}", exc, "check that it fits its family"
            ) from exc
        return dict(zip(self._outputs, values, strict=True))

    def _call_now(self, inputs: Mapping[str, Any]) -> Sequence[Any]:
        """A call that is over when it returns, before the next one begins."""
        for array in inputs.values():
            await_producer(array)
        with self._turn(), self._stream or nullcontext():
            started = time.perf_counter()
            if all(is_on_host(array) for array in inputs.values()):
                values: Sequence[Any] = self._session.run(None, dict(inputs))
            else:
                from framemill.models.binding import run_bound

                values = run_bound(self._session, inputs, self._outputs, self._device)
            self.busy_seconds += time.perf_counter() - started
        return values

    def _call_ahead(self, inputs: Mapping[str, Any], stays: bool) -> list[Any]:
        """A call that is asked for while the one before it may be under way, and read back when done."""
        from framemill.models.binding import array_of, launch_bound

        # ONNX Runtime would copy it to memory that the call under way may still use.
        inputs = {name: to_device(array) for name, array in inputs.items()}
        for array in inputs.values():
            await_producer(array)
        with self._flights:
            with self._lock, self._stream:
                started = time.perf_counter()
                found, held = launch_bound(self._session, inputs, self._outputs, self._device, self._options)
                done = self._stream.record(blocking_event())
            done.synchronize()
            del held
            with self._lock:
                now = time.perf_counter()
                self.busy_seconds += now - max(started, self._until)
                self._until = now
            arrays = [array_of(value) for value in found]
            return arrays if stays else [to_host(array) for array in arrays]

    def _turn(self) -> AbstractContextManager[Any]:
        return self._budget.reserve(self.row_threads) if self._budget else self._lock

    def _tune(self, row: Arrays) -> None:
        """Looks once for a faster way to run this model here; the old way stays where that fails."""
        with self._lock:
            choose, self._choose = self._choose, None
        if choose is None or self._budget is None:
            return  # another thread sees to it
        with self._budget.reserve(self._budget.threads):
            try:
                self._session, self.row_threads = choose(row)
            except Exception as exc:  # of any class: memory for a second session, a cache that is read-only
                self.note = f"how it runs fastest here could not be found out: {str(exc)[:300]}"

    def _run_on_device(
        self, inputs: Mapping[str, Any], count: int, stays: bool = False
    ) -> list[dict[str, Any]]:
        results, start = [], 0
        while start < count:
            size = self.max_batch
            part = {k: v[start : start + size] for k, v in inputs.items()}
            try:
                results.append(self._run_padded(part, min(size, count - start), stays))
            except DeviceFullError:
                if min(size, count - start) == 1:
                    raise
                if self.max_batch == size:  # else another caller halved it meanwhile
                    self.max_batch = max(1, min(size, count - start) // 2)
                    self.num_halved += 1
                continue
            start += size
        return results

    def _run_padded(self, inputs: Mapping[str, Any], count: int, stays: bool) -> dict[str, Any]:
        """Rows in a batch of one of the few lengths that are used; what is added is dropped again."""
        missing = padded_rows(count, self.max_batch) - count
        if missing:
            inputs = {k: _with_copies(v, missing) for k, v in inputs.items()}
        outputs = self._run_rows(inputs, stays)
        with self._lock:
            self.num_batches += 1
            self.num_rows += count
        return {name: values[:count] for name, values in outputs.items()} if missing else outputs

    def _run_rows(self, inputs: Mapping[str, Any], stays: bool = False) -> dict[str, Any]:
        outputs = self._call(inputs, stays)
        rows = len(next(iter(inputs.values())))
        for name, array in outputs.items():
            if array.ndim == 0 or len(array) != rows:
                raise ModelError(
                    f"model {self._name}: output {name!r} has shape {list(array.shape)} for {rows} rows; "
                    "its first axis must be the batch: export the model with a batch axis"
                )
        return outputs

    def _joined(self, results: Sequence[dict[str, Any]]) -> dict[str, Any]:
        if len(results) == 1:
            return results[0]
        xp = array_module(results[0][self._outputs[0]])
        return {name: xp.concat([r[name] for r in results]) for name in self._outputs}


def _with_copies(array: Any, count: int) -> Any:
    """The array with its last row so many times more."""
    xp = array_module(array)
    return xp.concat([array, xp.repeat(array[-1:], count, axis=0)])


def open_model(
    entry: ModelEntry,
    path: Path,
    threads: int,
    require: str = "",
    sharing: int = 1,
    precision: str = "fp32",
    tell: Tell = tell_nobody,
) -> tuple[Model, SessionReport]:
    """Opens a verified model file on the first provider that takes it.

    Args:
        entry: describes the model; an absent `input_size` is filled in from the file where it states one.
        path: its file, as `framemill.models.store.find` gives it.
        threads: CPU threads for all models of this process together, at least 1.
        require: key of `LADDER` that must run the model; empty for the best there is.
        sharing: how many models of this process share a device's memory, >= 1.
        precision: fp32, or fp16 where a GPU may compute in halves, if it gives the same within bounds there.
        tell: is told of an engine that is built for it.

    Raises:
        UsageError: `require` is no key of `LADDER`.
        ProviderError: the required provider did not take the model.
        ModelError: no provider can open the file, or ONNX Runtime is not installed.
    """
    if require and require not in LADDER:
        raise UsageError(f"unknown execution provider {require!r}; known: {', '.join(LADDER)}")
    if entry.family == "whisper":
        from framemill.models.whisper import (
            open_whisper,  # runs on CTranslate2, which costs nobody else its import
        )

        return open_whisper(entry, path, threads, require)
    if entry.files:
        from framemill.models.bert_graph import (
            graph_file,  # only models that come with a tokenizer are folders
        )

        path = graph_file(entry, path)
    try:
        import onnxruntime as ort
    except ImportError as exc:
        raise ModelError(f"ONNX Runtime is not usable ({exc}); install the extra `cpu` or `gpu`") from exc
    load_cuda(ort)
    available = ort.get_available_providers()
    attempts: list[tuple[str, str]] = []
    cores = max(threads, 1)
    known = known_probe(entry.sha256, cores)
    row_threads = known.threads if known else 1
    for provider in (require,) if require else LADDER:
        if LADDER[provider] not in available:
            attempts.append((provider, "not in this build of ONNX Runtime"))
            continue
        try:
            open_ = partial(
                open_on_provider,
                ort,
                provider,
                path,
                entry,
                available,
                sharing=sharing,
                row_threads=row_threads,
                cores=cores,
                tell=tell,
            )
            if provider == "openvino" and (
                problem := openvino_problem(ort, open_, entry, path, cores, require)
            ):
                raise ProviderError(problem)
            opened = open_judged(open_, ort, provider, path, entry, precision)
        except UsageError:
            raise
        except Exception as exc:  # of any class: a provider that cannot load must not end the ladder
            attempts.append((provider, str(exc)[:300] or type(exc).__name__))
            continue
        attempts.append((provider, "ok"))
        report = SessionReport(
            entry.name,
            provider,
            tuple(attempts),
            opened.num_nodes,
            opened.max_batch,
            opened.note,
            opened.precision,
            opened.build_seconds,
        )
        on_cpu = provider == "cpu"
        runner = OnnxSession(
            entry.name,
            opened.session,
            opened.max_batch,
            cores if on_cpu or provider == "openvino" else 0,
            "cuda" if provider in BATCHED_PROVIDERS else "cpu",
            opened.stream,
            row_threads if on_cpu else 1,
            partial(_choose, ort, path, entry, cores) if on_cpu and cores > 1 and known is None else None,
            opened.options,
        )
        size = entry.input_size or picture_size(opened.session.get_inputs()[0].shape)
        return Model(replace(entry, input_size=size), runner), report
    tried = "; ".join(f"{provider}: {reason}" for provider, reason in attempts)
    if require and require != "cpu":
        raise ProviderError(
            f"model {entry.name} must run on {require}, but {tried}; ask `framemill doctor`, or require none"
        )
    read_checked(path)  # says so where it was changed meanwhile
    raise ModelError(f"model {entry.name}: {path} cannot be opened ({tried}); is it a whole ONNX file?")


def _choose(ort: Any, path: Path, entry: ModelEntry, cores: int, row: Arrays) -> tuple[Any, int]:
    def open_(row_threads: int) -> Any:
        return open_on_provider(ort, "cpu", path, entry, [LADDER["cpu"]], row_threads=row_threads).session

    session, found = choose_threads(entry.sha256, open_, row, cores)
    return session, found.threads


def picture_size(shape: Sequence[Any]) -> tuple[int, int] | None:
    """(width, height) that an input shape states, channels first or last; None where it states none."""
    if len(shape) != 4:
        return None
    height, width = shape[1:3] if shape[3] in (1, 3) and shape[1] not in (1, 3) else shape[2:4]
    return (width, height) if isinstance(width, int) and isinstance(height, int) else None
