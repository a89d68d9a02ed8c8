"""`models quantize`: eight-bit variants of a model, calibrated and judged on frames of real videos."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from framemill.actors.indexing import index_source
from framemill.actors.pyav_reader import ReadReport, ReadRequest, read_shard
from framemill.cluster.run.sources import list_sources
from framemill.errors import MediaError, ModelError, UsageError
from framemill.models.adding import write_block
from framemill.models.folders import digest_file
from framemill.models.onnx_batching import check_batching, load_graph
from framemill.models.probing import rows_per_second
from framemill.models.quantizing import MAX_ROWS, MIN_ROWS, RECIPES, quantize, signed_beside, variant_name
from framemill.models.registry import ModelEntry, named_entries, resolve
from framemill.models.runner import Model, Runner
from framemill.models.session import open_model
from framemill.models.store import cache_folder, find
from framemill.ops import OPS, load_op
from framemill.ops.chunks import Frames
from framemill.ops.operation import FrameOp
from framemill.ops.pixels.boxes import overlaps

# Of each file, spread over its length; every second one calibrates, the others judge.
FRAMES_PER_FILE = 16
# Boxes that overlap this much say the same (the usual limit since PASCAL VOC, 2007).
SAME_BOX = 0.5

Report = Callable[[str], None]


class _Recorder:
    """Runs a model and keeps every row it was given."""

    def __init__(self, runner: Runner) -> None:
        self.max_batch = runner.max_batch
        self.rows: list[Mapping[str, npt.NDArray[Any]]] = []
        self._runner = runner

    def run(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        count = len(next(iter(inputs.values())))
        self.rows += [{name: array[i : i + 1] for name, array in inputs.items()} for i in range(count)]
        return self._runner.run(inputs)

    def run_whole(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        self.rows.append(inputs)
        return self._runner.run_whole(inputs)


# A row of a table, or of what a command prints.
Row = Mapping[str, Any]


def quantize_model(name: str, sources: Sequence[str], max_loss: float, report: Report) -> Row:
    """Makes and registers `NAME-int8`, if its rows differ little enough from those of `NAME`.

    Args:
        name: a model of the registry whose operation looks at whole frames.
        sources: videos, as for `extract`.
        max_loss: largest share of rows that may change, 0..1 (see `agreement`), of either file.
        report: called with a line on what happens.

    Returns:
        name, path, sha256, block, recipe, num_frames and num_rows (that it was judged on), loss (of the file
        for processors), signed_loss (of that for TensorRT), and rows_per_second before and after on one core
        of this machine.

    Raises:
        UsageError: an unknown model, or one of no operation on frames.
        ModelError: it cannot be quantised, or loses more than `max_loss`.
    """
    entry = named_entries([name])[name]
    kind = _operation(entry)
    path = find(entry)
    if not path.is_file():
        raise ModelError(f"model {name} is a folder; only single ONNX files can be quantised")
    calibrating, judging = _read(sources, 0), _read(sources, 1)
    if not calibrating or not judging:
        raise UsageError("too few frames of these sources could be read; name videos")
    model, _ = open_model(entry, path, 1, "cpu")
    recorder = _Recorder(model.runner)
    _rows(kind, Model(model.entry, recorder), calibrating)
    # Evenly, so that all files have their say.
    step = max(1, -(-len(recorder.rows) // MAX_ROWS))
    rows = recorder.rows[::step]
    if len(rows) < MIN_ROWS:
        raise ModelError(
            f"{len(rows)} rows to calibrate on, at least {MIN_ROWS} are needed: name more videos"
        )
    expected = _rows(kind, model, judging)
    if not expected.num_rows:
        raise ModelError(f"{name} finds nothing in these frames, so nothing can be judged: name other videos")
    target = cache_folder() / "quantized" / f"{name}-int8.onnx"
    target.parent.mkdir(parents=True, exist_ok=True)
    losses: list[tuple[float, float]] = []
    # Beside the target, which stays as it is until the new one has passed.
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".trial-") as folder:
        trial = Path(folder) / target.name
        for recipe in RECIPES:
            report(f"calibrating on {len(rows)} rows: {recipe.name}")
            quantize(entry, path, rows, trial, recipe)
            made = _entry(entry, trial, target)
            loss = 1 - agreement(expected, _rows(kind, _open(made, trial), judging))
            signed_loss = 1 - agreement(expected, _rows(kind, _open(made, signed_beside(trial)), judging))
            losses.append((loss, signed_loss))
            report(f"rows that change: {loss:.1%} on processors, {signed_loss:.1%} on TensorRT")
            if max(loss, signed_loss) <= max_loss:
                speeds = {
                    "fp32": round(rows_per_second(entry, path, 1, 1), 2),
                    "int8": round(rows_per_second(made, trial, 1, 1), 2),
                }
                signed_beside(trial).replace(signed_beside(target))
                trial.replace(target)
                return {
                    "name": made.name,
                    "path": str(target),
                    "sha256": made.sha256,
                    "block": str(write_block(made)),
                    "recipe": recipe.name,
                    "num_frames": sum(len(batch) for batch in judging),
                    "num_rows": expected.num_rows,
                    "loss": round(loss, 4),
                    "signed_loss": round(signed_loss, 4),
                    "rows_per_second": speeds,
                }
    tried = "; ".join(f"{unsigned:.1%} and {signed:.1%}" for unsigned, signed in losses)
    raise ModelError(
        f"model {name} loses too much in eight bits: {tried} of rows change on processors and on TensorRT, "
        f"at most {max_loss:.1%} may; name more varied videos, or raise `max_loss`"
    )


def agreement(expected: pa.Table, got: pa.Table) -> float:
    """How alike two tables of one operation on the same frames are, 0..1.

    Rows with boxes are matched one to one where frame and label are equal and boxes overlap by `SAME_BOX`:
    twice the matches over the rows of both (F1). Rows with vectors: the mean cosine, as pairs of frames.
    Others: the share of frames and ranks whose label is the same.
    """
    if "box" in expected.column_names:
        total = expected.num_rows + got.num_rows
        return 2 * _num_matches(expected, got) / total if total else 1.0
    if "vector" in expected.column_names:
        pairs = zip(expected["vector"].to_pylist(), got["vector"].to_pylist(), strict=True)
        return float(np.mean([np.dot(a, b) for a, b in pairs])) if expected.num_rows else 1.0
    mine, theirs = ({_identity(row) for row in table.to_pylist()} for table in (expected, got))
    return 2 * len(mine & theirs) / (len(mine) + len(theirs)) if mine or theirs else 1.0


def _identity(row: Row) -> tuple[Any, ...]:
    return tuple(row.get(name) for name in ("frame_index", "rank", "label", "text"))


def _num_matches(expected: pa.Table, got: pa.Table) -> int:
    others = got.to_pylist()
    used: set[int] = set()
    for row in expected.to_pylist():
        box = _box(row)
        best, best_overlap = -1, SAME_BOX
        for number, other in enumerate(others):
            if number in used or any(row.get(k) != other.get(k) for k in ("frame_index", "label")):
                continue
            overlap = float(overlaps(box, _box(other)[None])[0])
            if overlap >= best_overlap:
                best, best_overlap = number, overlap
        if best >= 0:
            used.add(best)
    return len(used)


def _box(row: Row) -> npt.NDArray[np.float32]:
    return np.array([row["box"][edge] for edge in ("x0", "y0", "x1", "y1")], np.float32)


def _operation(entry: ModelEntry) -> type[FrameOp]:
    for name in OPS:
        kind = load_op(name)
        if entry.role in kind.models and issubclass(kind, FrameOp) and _needs_frames_alone(kind, entry):
            return kind
    raise UsageError(
        f"{entry.name} is for {entry.role}, which no operation on whole frames uses: it cannot be calibrated"
    )


def _needs_frames_alone(kind: type[FrameOp], entry: ModelEntry) -> bool:
    """Whether an operation needs no rows of others with this model."""
    try:
        return not kind.follows((), lambda role: entry if role == entry.role else resolve(role))
    except UsageError:
        return False


def _open(entry: ModelEntry, path: Path) -> Model:
    return open_model(entry, path, 1, "cpu")[0]


def _entry(entry: ModelEntry, made: Path, target: Path) -> ModelEntry:
    """The entry of a file that lies at `made` and is to lie at `target`."""
    return replace(
        entry,
        name=variant_name(entry),
        vectors_of=entry.space if entry.role == "image_embeddings" else entry.vectors_of,
        sha256=digest_file(made),
        num_bytes=made.stat().st_size,
        urls=(),
        package_file="",
        path=str(target),
        batching=check_batching(load_graph(made), entry.input_size)[0],
    )


def _rows(kind: type[FrameOp], model: Model, batches: Sequence[Frames]) -> pa.Table:
    op = kind(kind.Options(), dict.fromkeys(kind.models, model))
    return pa.concat_tables([op.schema.empty_table(), *(op.run(batch, {}) for batch in batches)])


def _read(sources: Sequence[str], half: int) -> list[Frames]:
    """Every second of the frames looked at, numbered anew, so that several files fit into one table."""
    found: list[Frames] = []
    count = 0
    for file in list_sources(sources).files:
        try:
            index = index_source(file.path)
            if not len(index.frames):
                continue
            wanted = np.unique(np.linspace(0, len(index.frames) - 1, FRAMES_PER_FILE).astype(np.int64))
            request = ReadRequest(wanted[half::2], np.zeros(0, np.int64), with_sound=False, threads=1)
            for chunk in read_shard(file.path, index, request, ReadReport()):
                if isinstance(chunk, Frames):
                    chunk.frame_index = np.arange(count, count + len(chunk))
                    count += len(chunk)
                    found.append(chunk)
        except MediaError:
            continue  # `extract` says what is wrong with it
    return found
