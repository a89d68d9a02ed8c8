"""16-bit floating point: a model's graph in it, and the gate that a model passes before it computes so.

Halves have three digits and end at 65504. Most networks lose nothing by them that shows in a row; some
overflow and find nothing any more. So a model computes in halves where it runs only after it has given there
what it gives in 32 bits on the CPU, within bounds, for rows of the kind that it takes. What came of that is
kept in the cache folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from framemill.errors import ModelError
from framemill.models import cuda
from framemill.models.entry import ModelEntry
from framemill.models.folders import weights_beside
from framemill.models.providers import BATCHED_PROVIDERS, LADDER, Opened, open_session, session_options
from framemill.models.store import cache_folder

# Raise it when halves are made or judged in another way.
_VERSION = 1
# Of roles whose outputs are vectors: the least cosine of a row in halves with the same in 32 bits.
LEAST_COSINE = 0.999
_VECTORS = ("embeddings", "image_text")
# Of outputs within 0..1, which are scores: what one may move by. One in a thousand may move by more: most are
# of places where nothing is.
MOST_STEPS, MOST_BEYOND = 0.01, 0.001
# Of all others, such as boxes: the length of the difference as a part of the output's own.
MOST_LENGTH = 0.01
# Of pictures whose size the model leaves open.
_OPEN_SIZE = (224, 224)
ADVICE = "16-bit floats give the same rows here within bounds: `precision` fp16 uses the tensor cores"

Row = Mapping[str, npt.NDArray[Any]]


def open_judged(
    open_: Callable[..., Opened], ort: Any, provider: str, path: Path, entry: ModelEntry, precision: str
) -> Opened:
    """A session in halves where they are asked for and pass the gate on this device, else in 32 bits.

    Args:
        open_: opens the model on `provider`, in `precision`. path: its file in 32 bits.

    Returns:
        The session; its note tells why it is not in halves, or that it could be.

    Raises:
        Exception: of any class, why the provider does not take the model in 32 bits.
    """
    if provider not in BATCHED_PROVIDERS:
        return open_(precision=precision)
    place = _verdict_file(ort, provider, entry, path)
    if precision != "fp16":
        opened = open_(precision=precision)
        passes = opened.precision == "fp32" and place.is_file() and not _kept(place)
        return _noted(opened, ADVICE) if passes else opened
    problem = _kept(place)
    if not problem:
        try:
            opened = open_(precision="fp16")
        except Exception as exc:  # of any class: the converter's, the runtime's, the device's
            # Nothing is kept: it may be the provider that is not there.
            problem = f"it does not open: {str(exc)[:200] or type(exc).__name__}"
        else:
            if opened.precision != "fp16" or place.is_file():
                return opened
            problem = judge(ort, opened.session, path, entry)
            _keep(place, problem)
            if not problem:
                return opened
    return _noted(open_(precision="fp32"), f"computes in 32 bits, as in halves {problem}")


def half_file(ort: Any, entry: ModelEntry, path: Path) -> Path:
    """The model's file in halves, with inputs and outputs as they were; made once and kept in the cache.

    Raises:
        ModelError: it cannot be made.
    """
    from framemill.models.download import replacing
    from framemill.models.onnx_batching import load_graph

    if weights_beside(entry.files, path):
        raise ModelError(f"model {entry.name} keeps its weights in other files: it stays at 32 bits")
    words = (entry.sha256, path.name, ort.__version__, str(_VERSION))
    made = cache_folder() / "halves" / f"{_digest(words)}.onnx"
    if made.is_file():
        return made
    graph = load_graph(path)
    try:
        from onnxruntime.transformers.float16 import convert_float_to_float16

        halves = convert_float_to_float16(graph, keep_io_types=True)
    except Exception as exc:  # of any class: the converter's, the parser's
        raise ModelError(f"model {entry.name} cannot be made of halves: {str(exc)[:200]}") from exc
    with replacing(made) as file:
        file.write(halves.SerializeToString())
    return made


def difference(role: str, expected: Sequence[npt.NDArray[Any]], got: Sequence[npt.NDArray[Any]]) -> str:
    """How far the outputs of one row are from what they should be, in words; empty within the bounds."""
    for number, (want, have) in enumerate(zip(expected, got, strict=True)):
        if want.shape != have.shape:
            return f"output {number} has shape {list(have.shape)}, not {list(want.shape)}"
        wanted, found = want.astype(np.float64), have.astype(np.float64)
        if not np.isfinite(found[np.isfinite(wanted)]).all():
            return f"output {number} overflows"
        length = float(np.linalg.norm(wanted))
        if any(kind in role for kind in _VECTORS):
            product = length * float(np.linalg.norm(found))
            cosine = float((wanted * found).sum()) / product if product else float(length == 0)
            if cosine < LEAST_COSINE:
                return f"output {number} has a cosine of {cosine:.4f}, at least {LEAST_COSINE} is asked for"
        elif wanted.min(initial=0) >= 0 and wanted.max(initial=0) <= 1:
            beyond = float((np.abs(found - wanted) > MOST_STEPS).mean())
            if beyond > MOST_BEYOND:
                return f"{beyond:.1%} of the scores of output {number} move by more than {MOST_STEPS}"
        elif (moved := float(np.linalg.norm(found - wanted)) / length) > MOST_LENGTH:
            return f"output {number} moves by {moved:.1%}, at most {MOST_LENGTH:.0%} is within bounds"
    return ""


def judge(ort: Any, session: Any, path: Path, entry: ModelEntry) -> str:
    """What is wrong with a session, held against the model on the CPU in 32 bits; empty where nothing is."""
    from framemill.models.onnx_batching import load_graph

    weights = weights_beside(entry.files, path)
    rows = judging_rows(load_graph(path, weights), entry)
    if rows is None:
        return "its inputs have open axes, so that nothing can be tried"
    try:
        reference = open_session(ort, path, session_options(ort, path, 1), [LADDER["cpu"]], weights)
        for row in rows:
            if problem := difference(entry.role, reference.run(None, row), session.run(None, row)):
                return problem
    except Exception as exc:  # ONNX Runtime raises a class of its own for each status code
        return f"a row does not run: {str(exc)[:200]}"
    return ""


def judging_rows(graph: Any, entry: ModelEntry) -> list[Row] | None:
    """Single rows as the model takes them: blotches and edges where it takes pictures; None for open axes."""
    from framemill.models.onnx_batching import trial_rows

    rows = trial_rows(graph, entry.input_size or _OPEN_SIZE)
    if rows is None:
        return None
    shown = {
        name: _pictures(entry, values.shape) if _is_pictures(values) else values
        for name, values in rows.items()
    }
    return [{name: values[i : i + 1] for name, values in shown.items()} for i in range(len(_BLOTCHES))]


# Pixels of a side: what is seen from afar, from near, and noise.
_BLOTCHES = (64, 16, 1)


def _is_pictures(values: npt.NDArray[Any]) -> bool:
    return values.ndim == 4 and values.dtype == np.float32 and 3 in (values.shape[1], values.shape[3])


def _pictures(entry: ModelEntry, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    rng = np.random.default_rng(0)
    is_first = shape[1] == 3
    height, width = shape[2:] if is_first else shape[1:3]
    pictures = []
    for side in _BLOTCHES:
        coarse = rng.integers(0, 256, (-(-height // side), -(-width // side), 3))
        pictures.append(coarse.repeat(side, 0).repeat(side, 1)[:height, :width])
    values = np.stack(pictures).astype(np.float32)
    values = (values - np.array(entry.mean or (0,), np.float32)) * np.array(entry.scale or (1,), np.float32)
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2)) if is_first else values


def _verdict_file(ort: Any, provider: str, entry: ModelEntry, path: Path) -> Path:
    gpus = cuda.find_gpus()
    runtimes = (ort.__version__, cuda.version_of(*cuda.TENSORRT_PACKAGES))
    words = (
        entry.key,
        path.name,
        provider,
        gpus[0].architecture if gpus else "none",
        *runtimes,
        str(_VERSION),
    )
    return cache_folder() / "halves" / f"{_digest(words)}.json"


def _digest(words: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:32]


def _kept(place: Path) -> str:
    """What is known to be wrong with halves here; empty where nothing is, or nothing is known."""
    try:
        return str(json.loads(place.read_text(encoding="utf-8"))["problem"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _keep(place: Path, problem: str) -> None:
    from framemill.models.download import replacing

    with replacing(place) as file:
        file.write(json.dumps({"problem": problem}).encode())


def _noted(opened: Opened, note: str) -> Opened:
    return replace(opened, note="; ".join(filter(None, [opened.note, note])))
