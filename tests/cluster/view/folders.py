"""Result folders for pages: a rendered clip with rows that no model has to make, and texts that attack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.sample_clip import render_sample
from framemill.cluster.results.commits import Commit
from framemill.cluster.results.corpus_tables import uris_by_source
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.invariants import SOURCE_ID
from framemill.cluster.results.packed import Entry
from framemill.cluster.results.parts import write_part
from framemill.cluster.results.queries import CORPUS_TABLES, corpus_schema
from framemill.ops import load_op
from tests.actors.clips import moving, write_clip
from tests.cluster.extraction import extract, render_clip

HOSTILE_NAME = "<img src=x onerror=hacked()> \u202egpj.mp4"
HOSTILE_TEXT = "</script><script>window.hacked = 1</script> \u2028 '\"&amp; \u202eevil"
BOX = {"x0": 40.0, "y0": 30.0, "x1": 200.5, "y1": 150.25}
SAMPLE, HOSTILE, LATE = "sample.mp4", HOSTILE_NAME, "late.webm"


def add_rows(dataset: Dataset, table: str, rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Commits rows of a table, by source; columns that are not named are null."""
    own = [SOURCE_ID, *load_op(table).schema] if table not in CORPUS_TABLES else [*corpus_schema(table)]
    schema = pa.schema([field.with_nullable(True) for field in own])
    content = pa.Table.from_pylist(
        [{"source_id": s, **row} for s, own in rows.items() for row in own], schema
    )
    with dataset.hold("rows"):
        part = write_part(dataset.root, table, [content], run_id="rows", seed=[table, *rows])
        dataset.commit(
            Commit(
                run_id="rows",
                entries=tuple(Entry(table, source, "k", rows=len(own)) for source, own in rows.items()),
                parts=() if part is None else (part,),
                keys={table: {"digest": "k"}},
            )
        )


def make_folder(folder: Path) -> Dataset:
    """Extracts a plain clip, a hostile one, a late one and a broken one, and adds rows of every kind."""
    media = folder / "media"
    media.mkdir()
    render_sample(media / SAMPLE, 12, 320, 180)
    render_clip(media / HOSTILE, seed=3)
    late = [2000 + 40 * number for number in range(50)]
    options = {"times": late, "time_base": Fraction(1, 1000)}
    write_clip(media / LATE, moving(50, 128, 96), codec="libvpx", **options)
    (media / "broken.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(2000))
    ops = ("media", "frames", "scenes", "audio_levels", "beats")
    extract(media, out=folder / "out", ops=ops, sample="every:1")
    dataset = Dataset.open(folder / "out", create=False)
    by_name = {uris[0].rsplit("/", 1)[1]: source for source, uris in uris_by_source(dataset).items()}
    sample, hostile = by_name[SAMPLE], next(by_name[name] for name in by_name if "hacked" in name)
    at = [{"frame_index": second * 25, "pts_seconds": float(second)} for second in range(12)]
    person = {"label": "person", "label_index": 0, "score": 0.9, "object_index": 0, "box": BOX}
    face = {"face_index": 0, "score": 0.8, "box": {"x0": 60.0, "y0": 40.0, "x1": 90.0, "y1": 80.0}}
    add_rows(dataset, "objects", {sample: [{**one, **person} for one in at]})
    add_rows(dataset, "faces", {sample: [{**one, **face} for one in at[:4]]})
    seen = [{"frame_index": one["frame_index"], "face_index": 0, "person_id": "a1b2c3"} for one in at[:4]]
    add_rows(dataset, "people", {sample: seen})
    twins = [{"kind": "frame", "group_id": "g", **one} for one in at[:3]]
    add_rows(dataset, "duplicates", {sample: twins})
    label = {"rank": 0, "label": "stopwatch", "score": 0.7}
    add_rows(
        dataset,
        "labels",
        {sample: [{**at[6], **label}], hostile: [{**at[0], **label, "label": HOSTILE_TEXT}]},
    )
    polygon = [10.0, 10.0, 100.0, 10.0, 100.0, 30.0, 10.0, 30.0]
    shown = {"score": 0.9, "polygon": polygon}
    spans = {
        sample: [{"start_seconds": 4.6, "end_seconds": 7.0, "text": "THIRD SHOT", **shown}],
        hostile: [{"start_seconds": 0.0, "end_seconds": 2.0, "text": HOSTILE_TEXT, **shown}],
    }
    add_rows(dataset, "text_spans", spans)
    words = [
        {"start_seconds": 8.0 + k, "end_seconds": 8.5 + k, "text": f" {word}", "probability": 0.9}
        for k, word in enumerate(("framed", "milling", "words"))
    ]
    said = {"segment_index": 0, "start_seconds": 8.0, "end_seconds": 11.0, "text": "framed milling words"}
    cue = {"segment_index": 0, "start_seconds": 1.0, "end_seconds": 2.0, "text": HOSTILE_TEXT}
    transcript = {
        sample: [{**said, "origin": "speech", "words": words}],
        hostile: [{**cue, "origin": "subtitles"}],
    }
    add_rows(dataset, "transcript", transcript)
    picked = {"rank": 0, "start_seconds": 2.0, "end_seconds": 5.0, "score": 0.5, "reasons": ["motion"]}
    add_rows(dataset, "highlights", {sample: [picked]})
    return dataset
