"""Which way of running a model on this machine's CPU is the fastest, measured once and remembered.

By default each row runs on one thread and rows run side by side, which wins on most machines. Where it does
not, `framemill models probe` finds out. In how many threads a row runs changes no row beyond rounding; a
file of other precision would, so that this only tells what could be gained.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from models.download import replacing
from models.errors import ModelError
from models.registry import ModelEntry
from models.store import cache_folder

PROBE_SECONDS = 0.5
# Another number of threads must gain this much to be chosen: less is noise.
LEAST_GAIN = 1.1


@dataclass(frozen=True, slots=True)
class Probe:
    """What was measured of one file.

    Attributes:
        threads: in a row's own calls, the number that gave the most rows a second.
        rows_per_second: number of threads a row -> rows a second of the whole machine.
    """

    threads: int
    rows_per_second: Mapping[int, float]


def remembered_threads(sha256: str) -> int:
    """Threads for a row of this model on this machine; 1 where nothing was measured."""
    try:
        known = json.loads(_file().read_text(encoding="utf-8"))
        return int(known[sha256]["threads"])
    except (OSError, ValueError, KeyError, TypeError):
        return 1


def probe(entry: ModelEntry, path: Path, cores: int) -> Probe:
    """Measures a model on `cores` cores, one thread a row against all threads on one row, and remembers it.

    Raises:
        ModelError: the file cannot be run on random rows.
    """
    speeds = {threads: rows_per_second(entry, path, threads, cores) for threads in sorted({1, cores})}
    best = max(speeds, key=lambda threads: speeds[threads])
    found = Probe(best if speeds[best] >= LEAST_GAIN * speeds[1] else 1, speeds)
    file = _file()
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    with replacing(file) as out:
        out.write(json.dumps({**known, entry.sha256: asdict(found)}, indent=1).encode())
    return found


def rows_per_second(entry: ModelEntry, path: Path, threads: int, cores: int) -> float:
    """Rows a second when `cores // threads` rows run side by side."""
    import onnxruntime as ort

    from models.batchable import load_graph, trial_rows

    rows = trial_rows(load_graph(path), entry.input_size)
    if rows is None:
        raise ModelError(f"model {entry.name} has open axes besides the batch; state its input size")
    row = {name: values[:1] for name, values in rows.items()}
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        session.run(None, row)
    except Exception as exc:  # ONNX Runtime raises a class of its own for each status code
        raise ModelError(f"model {entry.name} does not run: {str(exc)[:200]}") from exc

    def run_until(deadline: float) -> int:
        count = 0
        while time.perf_counter() < deadline:
            session.run(None, row)
            count += 1
        return count

    started = time.perf_counter()
    with ThreadPoolExecutor(max(1, cores // threads)) as pool:
        lanes = [pool.submit(run_until, started + PROBE_SECONDS) for _ in range(max(1, cores // threads))]
        count = sum(lane.result() for lane in lanes)
    return count / (time.perf_counter() - started)


def _file() -> Path:
    """Measured speeds of this very processor: the cache may be shared by several machines."""
    words = [_processor(), str(os.cpu_count()), _runtime()]
    name = "-".join(part.replace("/", "_").replace(" ", "_") for part in words)
    return cache_folder() / "probes" / f"{name}.json"


@cache
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names: Any = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _runtime() -> str:
    import onnxruntime

    return f"onnxruntime_{onnxruntime.__version__}_numpy_{np.__version__}"
