"""Captions: what a vision-language model says of each shot or clip, and the table `captions`.

The model is behind an address that the user names. Frames are those that extraction sampled; the prompt
holds what other tables know of the shot.
"""

from __future__ import annotations

import base64
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from string import Template
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from framemill.cluster.corpus.asking import (
    ANSWER_COLUMNS,
    Asker,
    Ledger,
    Prices,
    Row,
    answer_row,
    question_of,
)
from framemill.cluster.corpus.caption_prompts import Caption, clean, fill
from framemill.cluster.corpus.caption_server import Answer, AskError, CaptionServer
from framemill.cluster.corpus.caption_units import KINDS, Unit, read_units
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.queries import ask, dataset_tables
from framemill.cluster.results.source_batches import source_batches
from framemill.errors import UsageError
from framemill.ops.chunks import Int64Array
from framemill.ops.columns import column

TABLE = "captions"
VERSION = 1
NUM_FRAMES = 3
MAX_FRAMES = 16
CONCURRENCY = 8
MAX_CONCURRENCY = 512
# Longest side of a picture that is sent: what models look at, at most.
SIDE_PIXELS = 768
_JPEG_QUALITY = 90
KEY = ("of", "scene_index", "clip_index")
CAPTIONS_SCHEMA = pa.schema(
    [
        column("source_id", pa.string(), "content id of the source"),
        column("of", pa.string(), "shot or clip"),
        column(
            "scene_index",
            pa.int32(),
            "position of the shot in the source, as in `scenes`; of a clip the shot that it begins in, null "
            "where not known",
            nullable=True,
        ),
        column("clip_index", pa.int32(), "position of the clip in `clips`; null of a shot", nullable=True),
        column("start_seconds", pa.float64(), "start of the shot or clip"),
        column("end_seconds", pa.float64(), "its end, exclusive"),
        column(
            "text", pa.string(), "the caption, on one line, at most 4000 characters; null where failed",
            nullable=True,
        ),
        column("tags", pa.list_(pa.string()), "keywords of the model; null where failed", nullable=True),
        *ANSWER_COLUMNS,
        column("frames", pa.list_(pa.int64()), "indices of the frames that were shown to the model"),
    ]
)  # fmt: skip
# Each look into the tables has its cost, which many shots share.
_BATCH_SOURCES, _BATCH_ROWS = 512, 4096
_PICTURES_AT_ONCE = 128  # shots whose pictures are looked up together
_DECODED_AT_ONCE = 16  # of them, those that wait for pictures to be decoded, which takes far longer

# Content id and ascending frame indices -> a JPEG of each frame, None where it cannot be had.
Fetch = Callable[[str, Int64Array], Sequence[bytes | None]]
OnProgress = Callable[[int, int], None]
Pictures = dict[tuple[str, int], bytes]  # content id and frame index -> JPEG


@dataclass(frozen=True, slots=True)
class CaptionsRequest:
    """What is asked for.

    Attributes:
        of: shots or clips. where: a condition on the view `shots`, of shots alone; empty for all.
        prompt: see `caption_prompts`. num_frames: most pictures of one, 1 to `MAX_FRAMES`.
        concurrency: questions at a time, 1 to `MAX_CONCURRENCY`.
    """

    prompt: Template
    of: str = "shots"
    where: str = ""
    num_frames: int = NUM_FRAMES
    concurrency: int = CONCURRENCY
    prices: Prices = field(default_factory=Prices)

    def __post_init__(self) -> None:
        if self.of not in KINDS:
            raise UsageError(f"there are no captions of {self.of!r}; choose one of {', '.join(KINDS)}")
        if self.where and self.of == "clips":
            raise UsageError("`where` chooses shots; clips are chosen as they are made, by `framemill clips`")
        for name, value, most in (
            ("frames", self.num_frames, MAX_FRAMES), ("concurrency", self.concurrency, MAX_CONCURRENCY),
        ):  # fmt: skip
            if not 1 <= value <= most:
                raise UsageError(f"{name} is {value}; it must be 1 to {most}")


@dataclass(slots=True)
class Tally:
    """What a run asked and got.

    Attributes:
        num_wanted: shots, clips or files. num_kept: of them, how many had their answer before.
        num_ok: that got it now. errors: kind -> how many failed. tokens_in, tokens_out, cost: of this run.
        problem: why the server was not asked any more; empty where it was.
    """

    num_wanted: int = 0
    num_kept: int = 0
    num_ok: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0
    problem: str = ""
    example: str = ""

    def add(self, row: Row) -> None:
        """Counts an answer."""
        if row["status"] == "ok":
            self.num_ok += 1
        else:
            self.errors[row["error"]] += 1
            self.example = self.example or row["message"]
        self.tokens_in += row["tokens_in"] or 0
        self.tokens_out += row["tokens_out"] or 0
        self.cost += row["cost"] or 0.0


@dataclass(frozen=True, slots=True)
class _Job:
    unit: Unit
    prompt: str
    question: str
    pictures: tuple[bytes | None, ...]
    is_large: bool


def make_captions(
    dataset: Dataset,
    run_id: str,
    request: CaptionsRequest,
    server: CaptionServer,
    fetch: Fetch,
    on_progress: OnProgress = lambda done, total: None,
) -> Tally:
    """Asks for the captions that are missing and commits them to the table. Call it inside `dataset.hold`.

    A server that fails costs rows of status failed, never the run.

    Args:
        server: entered. fetch: gets pictures that the tables do not hold. on_progress: done, total.

    Raises:
        UsageError: there are no shots, or no clips, or the condition is wrong.
        DatasetError: the storage refuses, or the lease is lost.
    """
    table = KINDS[request.of]
    counts = {o: e.rows for (of, o), e in sorted(dataset.state.entries.items()) if of == table}
    if table not in dataset.state.keys:
        made = f"`framemill extract SOURCES -o {dataset.root} --ops frames,scenes`"
        made = made if table == "scenes" else f"`framemill clips {dataset.root} -o DIR`"
        raise UsageError(f"{dataset.root} has no {table}: run {made} first")
    tally, ledger = Tally(), Ledger(dataset, run_id, TABLE, CAPTIONS_SCHEMA, KEY)
    total = sum(counts.values())

    def answer(job: _Job) -> Answer[Caption]:
        return _ask(server, job)

    asker = Asker(server, answer, request.concurrency)
    done = 0
    try:
        for job, answer_ in asker.answers(
            _jobs(dataset, request, server.model, counts, ledger, tally, fetch)
        ):
            row = _row(job, answer_, server.model, request.prices)
            ledger.put(row)
            tally.add(row)
            done = tally.num_kept + tally.num_ok + tally.errors.total()
            on_progress(done, max(done, tally.num_wanted if request.where else total))
    finally:
        ledger.commit()
    tally.problem = asker.problem
    return tally


def _jobs(
    dataset: Dataset,
    request: CaptionsRequest,
    model: str,
    counts: Mapping[str, int],
    ledger: Ledger,
    tally: Tally,
    fetch: Fetch,
) -> Iterator[_Job]:
    """What is to be asked, with pictures, of some sources after the others."""
    for sources in source_batches(counts, _BATCH_SOURCES, _BATCH_ROWS):
        units = read_units(dataset, request.of, sources, request.where, request.num_frames)
        ledger.open(sources)
        present = {(unit.source_id, unit.key) for unit in units}
        for source in sources if not request.where else ():
            kind = request.of.removesuffix("s")
            gone = [k for k in ledger.rows(source) if k[0] == kind and (source, k) not in present]
            for key in gone:
                ledger.drop(source, key)
        wanted = []
        for unit in units:
            prompt = fill(request.prompt, unit.facts)
            shown = (unit.source_id, unit.start_seconds, unit.end_seconds, unit.frames, SIDE_PIXELS)
            question = question_of(VERSION, *shown, prompt, model)
            row = ledger.rows(unit.source_id).get(unit.key)
            tally.num_wanted += 1
            if row is not None and row["status"] == "ok" and row["question"] == question:
                tally.num_kept += 1
            else:
                wanted.append((unit, prompt, question))
                ledger.expect(unit.source_id)
        sizes = _largest_sides(dataset, sources)
        for start in range(0, len(wanted), _PICTURES_AT_ONCE):
            some = wanted[start : start + _PICTURES_AT_ONCE]
            stored = _stored_pictures(dataset, [unit for unit, _, _ in some])
            for begin in range(0, len(some), _DECODED_AT_ONCE):
                few = some[begin : begin + _DECODED_AT_ONCE]
                pictures = stored | _decoded_pictures([unit for unit, _, _ in few], stored, fetch)
                for unit, prompt, question in few:
                    own = tuple(pictures.get((unit.source_id, frame)) for frame in unit.frames)
                    is_large = sizes.get(unit.source_id, SIDE_PIXELS + 1) > SIDE_PIXELS
                    yield _Job(unit, prompt, question, own, is_large)


def _largest_sides(dataset: Dataset, sources: Sequence[str]) -> dict[str, int]:
    """Content id -> the longer side of its pictures in pixels, where it is known."""
    if "media" not in dataset.state.keys:
        return {}
    ids = ", ".join(f"'{source}'" for source in sources)
    sql = f"SELECT source_id, max(greatest(width, height)) FROM media WHERE source_id IN ({ids}) GROUP BY 1"
    rows = ask(dataset.narrowed(("media",), sources), sql).rows
    return {str(source): int(side) for source, side in rows if side}


def _stored_pictures(dataset: Dataset, units: Iterable[Unit]) -> Pictures:
    """JPEGs of the frames of some shots, as far as the tables hold them."""
    by_source = _frames_of(units)
    held = dataset_tables(dataset.narrowed(("frames",), list(by_source)), ["frames"]).get("frames")
    if held is None or "image" not in held.schema.names:
        return {}
    frames = sorted(set(itertools.chain.from_iterable(by_source.values())))
    wanted = pc.field("source_id").isin(sorted(by_source)) & pc.field("frame_index").isin(frames)
    rows = held.to_table(
        columns=["source_id", "frame_index", "image"], filter=wanted & pc.field("image").is_valid()
    )
    # Sources have frames of the same index: of each only its own.
    keys = zip(rows["source_id"].to_pylist(), rows["frame_index"].to_pylist(), strict=True)
    return {
        (source, frame): rows["image"][at].as_py()
        for at, (source, frame) in enumerate(keys)
        if frame in by_source[source]
    }


def _decoded_pictures(units: Iterable[Unit], stored: Pictures, fetch: Fetch) -> Pictures:
    """The others, from the files."""
    found: Pictures = {}
    for source, wanted in _frames_of(units).items():
        missing = sorted(frame for frame in wanted if (source, frame) not in stored)
        if missing:
            fetched = fetch(source, np.array(missing, np.int64))
            found |= {(source, n): jpeg for n, jpeg in zip(missing, fetched, strict=True) if jpeg is not None}
    return found


def _frames_of(units: Iterable[Unit]) -> dict[str, set[int]]:
    by_source: dict[str, set[int]] = {}
    for unit in units:
        by_source.setdefault(unit.source_id, set()).update(unit.frames)
    return by_source


def _ask(server: CaptionServer, job: _Job) -> Answer[Caption]:
    pictures = [picture for picture in job.pictures if picture is not None]
    if not pictures:
        message = "none of its frames can be had: is the file still where it was extracted from?"
        return Answer(error=AskError("no_picture", message))
    content: list[Mapping[str, Any]] = [{"type": "text", "text": job.prompt}]
    for picture in pictures:
        jpeg = reduced(picture) if job.is_large else picture
        url = f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
        content.append({"type": "image_url", "image_url": {"url": url}})
    return server.ask(content, Caption)


def reduced(jpeg: bytes) -> bytes:
    """The picture with its longer side at most `SIDE_PIXELS`."""
    import cv2

    pixels = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None or max(pixels.shape[:2]) <= SIDE_PIXELS:
        return jpeg
    scale = SIDE_PIXELS / max(pixels.shape[:2])
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return bytes(data)


def _row(job: _Job, answer: Answer[Caption], model: str, prices: Prices) -> Row:
    unit, said = job.unit, answer.value
    shown = [n for n, jpeg in zip(unit.frames, job.pictures, strict=True) if jpeg is not None]
    kind, scene_index, clip_index = unit.key
    return {
        "source_id": unit.source_id,
        "of": kind,
        "scene_index": scene_index,
        "clip_index": clip_index,
        "start_seconds": unit.start_seconds,
        "end_seconds": unit.end_seconds,
        "text": None if said is None else clean(said.caption),
        "tags": None if said is None else list(dict.fromkeys(filter(None, map(clean, said.tags)))),
        **answer_row(model, job.question, answer, prices),
        "frames": shown,
    }
