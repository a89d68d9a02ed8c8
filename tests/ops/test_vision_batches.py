"""Rows of the vision operations: equal at any batch, with any number of files in flight, in any order."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from framemill.actors.batcher import Batcher
from framemill.actors.indexing import index_source
from framemill.actors.pyav_reader import ReadReport, ReadRequest, read_shard
from framemill.models.onnx_batching import dynamic_variant
from framemill.models.runner import Model
from framemill.models.store import find
from framemill.ops import load_op
from framemill.ops.chunks import Frames
from framemill.ops.operation import Op
from tests.ops.stand_ins import OrtRunner, shard
from tests.small_models import SMALL

OPS = (
    "objects",
    "faces",
    "emotions",
    "face_embeddings",
    "image_embeddings",
    "labels",
    "poses",
    "composition",
)
CLIPS = (
    "gif/head-pose-face-detection-female-and-male.gif",
    "gif/classroom.gif",
    "gif/person-bicycle-car-detection.gif",
    "video/pose_squats.mp4",
    "video/bottle-detection.mp4",
    "video/dog_eating_854132.mp4",
    "video/internal_180_rotated.mp4",
    "video/counter.mp4",
)
FRAMES_EACH = 3
Arrays = dict[str, npt.NDArray[Any]]
Rows = dict[str, pa.Table]


class Shuffled(OrtRunner):
    """A model that takes real batches, and is late now and then."""

    def __init__(self, path: Path, max_batch: int) -> None:
        super().__init__(path)
        self.max_batch = max_batch
        self.input = self.session.get_inputs()[0].name
        self.largest = 0

    def run(self, inputs: Mapping[str, npt.NDArray[Any]]) -> Arrays:
        ((_, values),) = inputs.items()
        assert len(values) <= self.max_batch
        self.largest = max(self.largest, len(values))
        time.sleep(random.random() * 0.01)
        return super().run_whole({self.input: values})

    def run_whole(self, inputs: Mapping[str, npt.NDArray[Any]]) -> Arrays:
        ((_, values),) = inputs.items()
        return super().run_whole({self.input: values})


@pytest.fixture(scope="module")
def pieces(media_dir: Path) -> list[list[Frames]]:
    """A few frames of each clip, as the reader gives them."""
    found = []
    for clip in CLIPS:
        index = index_source(str(media_dir / clip))
        at = np.linspace(0, len(index.frames) - 1, FRAMES_EACH).astype(np.int64)
        request = ReadRequest(frames=at, signals=np.zeros(0, np.int64), with_sound=False, threads=1)
        read = read_shard(str(media_dir / clip), index, request, ReadReport())
        chunks = [chunk for chunk in read if isinstance(chunk, Frames)]
        assert sum(map(len, chunks)) == FRAMES_EACH
        found.append(chunks)
    return found


class Setup:
    """The operations over models that take batches of at most `max_batch` rows across files."""

    def __init__(self, max_batch: int, ops: tuple[str, ...]) -> None:
        self.runners: dict[str, Shuffled] = {}
        self.batchers: list[Batcher] = []
        loaded = {role: self._model(role, max_batch) for op in ops for role in load_op(op).models}
        self.ops: list[Op] = [load_op(op)(load_op(op).Options(), loaded) for op in ops]

    def _model(self, role: str, max_batch: int) -> Model:
        entry = SMALL[role]
        path, limit = find(entry), max_batch
        if entry.batching == "fixed":
            variant, reason = dynamic_variant(entry, path)
            assert variant is not None, reason
            path = variant
        elif entry.batching == "none":
            limit = 1
        if role not in self.runners:
            self.runners[role] = Shuffled(path, limit)
            self.batchers.append(Batcher(self.runners[role], limit, 0.02))
        return Model(entry, self.batchers[list(self.runners).index(role)])

    def rows(self, chunks: list[Frames]) -> Rows:
        """What the operations make of one file."""
        extractors = {op.name: op.open(shard(FRAMES_EACH)) for op in self.ops}
        for chunk in chunks:
            upstream: Rows = {}
            for op in self.ops:
                fed = extractors[op.name].feed(chunk, {name: upstream[name] for name in op.after})
                assert fed is not None
                upstream[op.name] = fed
        return {op.name: op.merge([extractors[op.name].finish()]) for op in self.ops}

    def run(self, pieces: list[list[Frames]], in_flight: int) -> list[Rows]:
        order = random.sample(range(len(pieces)), len(pieces))
        with ThreadPoolExecutor(in_flight) as pool:
            results = dict(zip(order, pool.map(lambda at: self.rows(pieces[at]), order), strict=True))
        return [results[at] for at in range(len(pieces))]

    def close(self) -> None:
        for batcher in self.batchers:
            batcher.close()


def leaves(value: Any) -> Iterator[Any]:
    """Every scalar in rows of lists, structs and maps."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from leaves(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from leaves(inner)
    else:
        yield value


def assert_equal(found: Rows, expected: Rows) -> None:
    for name, table in expected.items():
        assert found[name].num_rows == table.num_rows, name
        for column in table.column_names:
            ours, theirs = (list(leaves(t[column].to_pylist())) for t in (found[name], table))
            floats = [isinstance(value, float) for value in theirs]
            exact = [a == b for a, b, is_float in zip(ours, theirs, floats, strict=True) if not is_float]
            assert all(exact), f"{name}.{column}"
            close = [np.array([v for v, f in zip(side, floats, strict=True) if f]) for side in (ours, theirs)]
            np.testing.assert_allclose(close[0], close[1], rtol=1e-4, atol=1e-4, err_msg=f"{name}.{column}")


@pytest.mark.media
@pytest.mark.parametrize(
    ("ops", "num_files", "runs"),
    [
        pytest.param(OPS, 8, ((1, 1), (1, 8), (8, 1), (64, 8)), id="frames"),
        pytest.param(("text",), 2, ((1, 1), (8, 2)), id="text", marks=pytest.mark.slow),
    ],
)
def test_rows_do_not_depend_on_batches_files_in_flight_or_order(
    ops: tuple[str, ...],
    num_files: int,
    runs: tuple[tuple[int, int], ...],
    models_dir: Path,
    pieces: list[list[Frames]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FRAMEMILL_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("FRAMEMILL_MODEL_MIRROR", str(models_dir))
    pieces = pieces[-num_files:]
    random.seed(7)
    expected: list[Rows] = []
    for max_batch, in_flight in runs:
        setup = Setup(max_batch, ops)
        try:
            found = setup.run(pieces, in_flight)
        finally:
            setup.close()
        expected = expected or found
        for ours, theirs in zip(found, expected, strict=True):
            assert_equal(ours, theirs)
        # The batches were real ones, across files where there were several.
        largest = max(runner.largest for runner in setup.runners.values())
        assert (largest == 1) if max_batch == 1 else (largest > 1)
        if in_flight == 8 and max_batch == 64:
            assert setup.runners["objects"].largest > FRAMES_EACH
    assert all(sum(rows[name].num_rows for rows in expected) > 0 for name in ops)
