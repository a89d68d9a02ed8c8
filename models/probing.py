"""Which way of running a model on this machine's CPU is the fastest, measured once and kept.

By default each row runs on one thread and rows run side by side, which wins on most machines. Where a model
has worked for a while and nothing is known of it here, `OnnxSession` stops for a moment and measures
(`choose_threads`); `framemill models probe` does so at once. In how many threads a row runs changes no row
beyond rounding. A file of other precision does change rows, so that an eight-bit variant is compared only
where a person asks for one (`--precision auto`).
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from framemill.errors import ModelError
from framemill.models.folders import weights_beside
from framemill.models.providers import open_session, session_options
from framemill.models.registry import ModelEntry
from framemill.models.store import cache_folder

# Measuring takes so long, however many ways there are; longer only where a single row does.
PROBE_SECONDS = 0.8
# Each way has so many turns, and the best of them counts: what else the machine does only slows down. By the
# mean of two, a busy machine once took 2 threads for six times as fast as 1, which won when it was quiet.
ROUNDS = 4
# A model that has worked for so long may stop for `PROBE_SECONDS`; short runs never pay for it.
WORKED_SECONDS = 60.0
# Another way must gain this much to be chosen: less is noise.
LEAST_GAIN = 1.1

Row = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Probe:
    """What was measured of one file.

    Attributes:
        threads: in a row's own calls, the number that gave the most rows a second.
        rows_per_second: number of threads a row -> rows a second of the whole machine.
    """

    threads: int
    rows_per_second: Mapping[int, float]


def known_probe(sha256: str, cores: int) -> Probe | None:
    """What was measured here of a model on so many cores; None where nothing was."""
    try:
        known = _known(cores)[sha256]
        speeds = {int(threads): float(speed) for threads, speed in known["rows_per_second"].items()}
        threads = int(known["threads"])
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    return Probe(threads, speeds) if 1 <= threads <= cores else None


def choose_threads(sha256: str, open_: Callable[[int], Any], row: Row, cores: int) -> tuple[Any, Probe]:
    """Measures one thread a row against all threads on one row, on a row of the run, and remembers it.

    To be called while the cores are free.

    Args:
        open_: opens a session that runs a row on so many threads.
    """
    sessions = {threads: open_(threads) for threads in sorted({1, cores})}
    speeds = dict(zip(sessions, _measure([(it, cores // n) for n, it in sessions.items()], row), strict=True))
    best = max(speeds, key=lambda threads: speeds[threads])
    found = Probe(best if speeds[best] >= LEAST_GAIN * speeds[1] else 1, speeds)
    _record(cores, sha256, asdict(found))
    return sessions[found.threads], found


def probe(entry: ModelEntry, path: Path, cores: int) -> Probe:
    """As `choose_threads`, with a random row.

    Raises:
        ModelError: the file cannot be run on random rows.
    """
    if entry.files:
        from framemill.models.bert_graph import graph_file  # as in `open_model`

        path = graph_file(entry, path)
    open_ = _opener(entry, path)
    return choose_threads(entry.sha256, open_, _trial_row(entry, path), cores)[1]


def openvino_problem(
    ort: Any, open_: Callable[[], Any], entry: ModelEntry, path: Path, cores: int, require: str
) -> str:
    """Why OpenVINO is not to run a model: rows out of bounds, or no gain; empty where it is. Measured once.

    Args:
        open_: opens the model on it, with a stream for each core. path: the model's file.
        require: as `open_model` takes it; where OpenVINO is asked for by name, its speed does not matter.
    """
    from framemill.models.halves import judge

    key = f"openvino against cpu {entry.key}"
    known = _known(cores).get(key)
    if not (isinstance(known, dict) and {"problem", "rows_per_second"} <= known.keys()):
        session = open_().session
        known = {"problem": judge(ort, session, path, entry), "rows_per_second": [0.0, 0.0]}
        if not known["problem"]:
            ways = [(session, cores), (_opener(entry, path)(1), cores)]
            known["rows_per_second"] = _measure(ways, _trial_row(entry, path))
        _record(cores, key, known)
    if known["problem"]:
        return f"not within bounds of the CPU's rows: {known['problem']}"
    here, there = map(float, known["rows_per_second"])
    if not require and here < LEAST_GAIN * there:
        return f"no faster here: {here:.1f} rows a second, {there:.1f} by ONNX Runtime's own"
    return ""


def is_faster(variant: ModelEntry, variant_path: Path, entry: ModelEntry, path: Path, cores: int) -> bool:
    """Whether another file of a model gives clearly more rows a second on this CPU; measured once.

    Raises:
        ModelError: one of them cannot be run on random rows.
    """
    key = f"{variant.sha256} against {entry.sha256}"
    known = _known(cores).get(key)
    if not (isinstance(known, list) and len(known) == 2):
        sessions = [_opener(variant, variant_path)(1), _opener(entry, path)(1)]
        known = _measure([(session, cores) for session in sessions], _trial_row(entry, path))
        _record(cores, key, known)
    return float(known[0]) >= LEAST_GAIN * float(known[1])


def rows_per_second(entry: ModelEntry, path: Path, threads: int, cores: int) -> float:
    """Rows a second when `cores // threads` rows run side by side.

    Raises:
        ModelError: the file cannot be run on random rows.
    """
    session = _opener(entry, path)(threads)
    return _measure([(session, cores // threads)], _trial_row(entry, path))[0]


def _measure(ways: Sequence[tuple[Any, int]], row: Row) -> list[float]:
    """Rows a second of each session when so many rows run side by side in it, in its best round."""
    for session, _ in ways:
        session.run(None, row)  # buffers are made at the first call
    best = [0.0] * len(ways)
    for _ in range(ROUNDS):
        for way, (session, lanes) in enumerate(ways):
            started = time.perf_counter()
            ends = started + PROBE_SECONDS / len(ways) / ROUNDS

            def run_until(session: Any = session, ends: float = ends) -> int:
                count = 0
                while not count or time.perf_counter() < ends:
                    session.run(None, row)
                    count += 1
                return count

            with ThreadPoolExecutor(max(1, lanes)) as pool:
                count = sum(lane.result() for lane in [pool.submit(run_until) for _ in range(lanes)])
            best[way] = max(best[way], count / (time.perf_counter() - started))
    return best


def _opener(entry: ModelEntry, path: Path) -> Callable[[int], Any]:
    def open_(threads: int) -> Any:
        import onnxruntime as ort

        try:
            options = session_options(ort, path, threads)
            weights = weights_beside(entry.files, path)
            return open_session(ort, path, options, ["CPUExecutionProvider"], weights)
        except ModelError:
            raise
        except Exception as exc:  # ONNX Runtime raises a class of its own for each status code
            raise ModelError(f"model {entry.name} does not run: {str(exc)[:200]}") from exc

    return open_


def _trial_row(entry: ModelEntry, path: Path) -> Row:
    from framemill.models.onnx_batching import load_graph, trial_rows

    rows = trial_rows(load_graph(path, weights_beside(entry.files, path)), entry.input_size)
    if rows is None:
        raise ModelError(f"model {entry.name} has open axes besides the batch; state its input size")
    return {name: values[:1] for name, values in rows.items()}


def _known(cores: int) -> dict[str, Any]:
    try:
        known = json.loads(_file(cores).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _record(cores: int, key: str, found: Any) -> None:
    from framemill.models.download import replacing  # its imports would slow down every start

    with replacing(_file(cores)) as out:
        out.write(json.dumps({**_known(cores), key: found}, indent=1).encode())


def _file(cores: int) -> Path:
    """Measured speeds of this very processor: the cache may be shared by several machines."""
    words = [_processor(), f"{cores}_cores", _runtime()]
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
