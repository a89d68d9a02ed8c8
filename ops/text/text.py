"""Text on screen: place and content of every line, by a DB detector and a CTC recogniser.

Text that stands still is read once. A frame that equals the last examined one but for coding noise
(`pixels.stillness`) has the same lines. In any other frame lines are detected, and a line is read unless the
last examined frame had one at the same place and the picture around it still equals that of the frame where
it was read. Pictures are compared with the examined one, never with the frame before, so that slow changes
add up. This state begins anew with each shard, and does not depend on how frames are batched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from framemill.errors import ModelError, UsageError
from framemill.models.characters import read_characters
from framemill.models.runner import Model
from framemill.ops.chunks import Chunk, Float32Array, Frames, Int64Array, ShardInfo, UInt8Array
from framemill.ops.columns import FRAME_COLUMNS, column
from framemill.ops.operation import Extractor, Op, Partial, Reads
from framemill.ops.pixels.stillness import StillPicture
from framemill.ops.text.detection import detect_text, picture_size
from framemill.ops.text.recognition import Reading, cut_line, read_lines, turn_upright

FAMILIES = {"text_detection": "dbnet", "text_recognition": "ctc_text", "text_orientation": "text_orientation"}
# Pictures for the detector that are in memory at once: some of 1080p, so that every core has one.
SLICE_BYTES = 128 << 20
# A line is at the same place where no corner has moved by more than this part of its height.
MAX_SHIFT = 0.25
EMPTY = Reading("", 0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class TextOptions:
    """Options of `text`; the values are RapidOCR's.

    Attributes:
        score: least mean probability of the characters of a row, 0..1.
        box_score: least mean probability within a line for it to be read, 0..1.
        max_lines: most lines of one frame, >= 1.
        reuse: whether text that stands still is read once; without it every frame is examined.
    """

    score: float = 0.5
    box_score: float = 0.5
    max_lines: int = 1000
    reuse: bool = True

    def __post_init__(self) -> None:
        for name in ("score", "box_score"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"text.{name} is {getattr(self, name)}; it must be 0 to 1")
        if self.max_lines < 1:
            raise UsageError(f"text.max_lines is {self.max_lines}; it must be at least 1")


class Text(Op):
    """Finds and reads lines of text; a frame without any has no row.

    Each frame that is examined takes about a second of one core.
    """

    name = "text"
    reads = Reads.FRAMES
    models = ("text_detection", "text_recognition", "text_orientation")
    Options = TextOptions
    schema = pa.schema(
        [
            *FRAME_COLUMNS,
            column("text_index", pa.int32(), "0-based rank in the frame in reading order"),
            column("text", pa.string(), "what the line says, never blank"),
            column("score", pa.float32(), "mean probability of the characters, 0..1"),
            column(
                "polygon",
                pa.list_(pa.float32()),
                "x, y of the four corners in display pixels within the frame, 8 values, clockwise from the "
                "top left",
            ),
        ]
    )

    def __init__(self, options: Any, models: Mapping[str, Model]) -> None:
        super().__init__(options, models)
        for role, family in FAMILIES.items():
            entry = models[role].entry
            if entry.family != family:
                raise ModelError(
                    f"text: model {entry.name} for {role} is of family {entry.family!r}; "
                    f"choose a {family} one"
                )
        self._characters = read_characters(models["text_recognition"].entry)

    def open(self, shard: ShardInfo) -> Extractor:
        return _TextExtractor(self)

    def find(self, pictures: list[UInt8Array]) -> list[Float32Array]:
        """Corners of the lines in each picture of a shard, in reading order."""
        model = self.loaded["text_detection"]
        return detect_text(pictures, model, self.options.box_score, self.options.max_lines)

    def read(self, cuts: list[UInt8Array]) -> list[Reading]:
        """Text of pictures of lines."""
        if not cuts:
            return []
        upright = turn_upright(cuts, self.loaded["text_orientation"])
        return read_lines(upright, self.loaded["text_recognition"], self._characters)


@dataclass(slots=True)
class _Line:
    """A line that was read, or is about to be: its corners, the picture around it, and its text."""

    quad: Float32Array
    corner: tuple[int, int]  # x, y of `around` in the frame
    around: StillPicture
    reading: Reading = EMPTY


@dataclass(slots=True)
class _ExaminedFrame:
    """The lines of a frame: the corners of each in this frame, and the line as it was read."""

    quads: Float32Array
    lines: list[_Line]


@dataclass(slots=True)
class _TextExtractor:
    op: Text
    tables: list[pa.Table] = field(default_factory=list)
    done: bool = False
    still: StillPicture | None = None  # luma of the last examined frame
    examined: _ExaminedFrame = field(
        default_factory=lambda: _ExaminedFrame(np.empty((0, 4, 2), np.float32), [])
    )

    def feed(self, chunk: Chunk, upstream: Mapping[str, pa.Table]) -> pa.Table:
        assert isinstance(chunk, Frames)
        lumas = chunk.luma()
        changed = np.array([self._changes(luma) for luma in lumas], bool)
        examined, waiting, cuts = [self.examined], [], []
        width, height = picture_size(chunk.width, chunk.height)
        step = max(1, SLICE_BYTES // (width * height * 3 * 4))
        places = np.flatnonzero(changed)
        for start in range(0, len(places), step):
            at = places[start : start + step]
            pictures = _whole(chunk, at)
            for place, picture, quads in zip(at, pictures, self.op.find(pictures), strict=True):
                lines = []
                for quad in quads:
                    line = self._line_at(quad, examined[-1], lumas[place])
                    if line is None:
                        line = _Line(quad, *_around(quad, lumas[place]))
                        waiting.append(line)
                        cuts.append(cut_line(picture, quad))
                    lines.append(line)
                examined.append(_ExaminedFrame(quads, lines))
        for line, reading in zip(waiting, self.op.read(cuts), strict=True):
            line.reading = reading
        self.examined = examined[-1]
        rows = self._rows(chunk, [examined[which] for which in np.cumsum(changed)])
        self.tables.append(rows)
        return rows

    def finish(self) -> Partial:
        return Partial(pa.concat_tables(self.tables) if self.tables else self.op.schema.empty_table())

    def _changes(self, luma: UInt8Array) -> bool:
        """Whether lines must be detected in a frame, with which later ones are then compared."""
        if self.op.options.reuse and self.still is not None and self.still.shows(luma):
            return False
        self.still = StillPicture(luma.copy())
        return True

    def _line_at(self, quad: Float32Array, before: _ExaminedFrame, luma: UInt8Array) -> _Line | None:
        """The line read earlier at this place, if the picture around it is still the same."""
        if not self.op.options.reuse or not len(before.quads):
            return None
        apart = np.abs(np.stack([line.quad for line in before.lines]) - quad).max(axis=(1, 2))
        nearest = int(apart.argmin())
        line = before.lines[nearest]
        if apart[nearest] > _max_shift(line.quad):
            return None
        (x, y), (high, wide) = line.corner, line.around.luma.shape
        return line if line.around.shows(luma[y : y + high, x : x + wide]) else None

    def _rows(self, chunk: Frames, examined: list[_ExaminedFrame]) -> pa.Table:
        columns: list[list[Any]] = [[] for _ in self.op.schema]
        for frame_index, pts_seconds, one in zip(chunk.frame_index, chunk.pts_seconds, examined, strict=True):
            readings = [
                (line.reading, quad)
                for line, quad in zip(one.lines, one.quads, strict=True)
                if line.reading.text.strip() and line.reading.score >= self.op.options.score
            ]
            for text_index, (reading, quad) in enumerate(readings):
                row = (frame_index, pts_seconds, text_index, reading.text, reading.score, quad.ravel())
                for values, value in zip(columns, row, strict=True):
                    values.append(value)
        arrays = [pa.array(values, kind.type) for values, kind in zip(columns, self.op.schema, strict=True)]
        return pa.table(arrays, schema=self.op.schema)


def _whole(chunk: Frames, at: Int64Array) -> list[UInt8Array]:
    """Full-resolution pictures of some frames, RGB."""
    box = np.array([[0, 0, chunk.width, chunk.height]], np.float32).repeat(len(at), axis=0)
    return list(chunk.crops(at, box, (chunk.width, chunk.height)))


def _max_shift(quad: Float32Array) -> float:
    """How far a corner may move, in pixels; lines may run upwards, so the shorter sides are the height."""
    sides = np.linalg.norm(quad - np.roll(quad, -1, axis=0), axis=1)
    return MAX_SHIFT * float(sides.min())


def _around(quad: Float32Array, luma: UInt8Array) -> tuple[tuple[int, int], StillPicture]:
    """Corner and picture of the part of a frame that a line may lie in, allowing for `_max_shift`."""
    margin = _max_shift(quad)
    x0, y0 = np.maximum(np.floor(quad.min(axis=0) - margin), 0).astype(int)
    x1, y1 = np.ceil(quad.max(axis=0) + margin).astype(int) + 1
    return (int(x0), int(y0)), StillPicture(luma[y0:y1, x0:x1].copy())
