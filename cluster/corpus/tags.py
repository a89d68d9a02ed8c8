"""Tags that people give to shots: the table `tags`, and the column of that name in the view `shots`.

A tag keeps the times of its shot. Where scenes are extracted anew, it follows the shot with which it shares
most time, at least half of its own; where there is none, it waits for one in its table, and no shot has it.
"""

from __future__ import annotations

import os
import time
import unicodedata
from collections.abc import Collection, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from framemill.cluster.results.curated import curated_rows, replace_curated, select
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.parts import read_rows
from framemill.cluster.results.queries import query
from framemill.cluster.results.remote_path import RemotePath
from framemill.cluster.results.shot_rows import placed_tags
from framemill.errors import UsageError
from framemill.ops.columns import column

TABLE = "tags"
MAX_CHARACTERS = 64
TAGS_SCHEMA = pa.schema(
    [
        column("source_id", pa.string(), "content id of the source"),
        column("scene_index", pa.int32(), "position of the shot when it got the tag, as in `scenes`"),
        column("start_seconds", pa.float64(), "start of the shot; the times tell it again in later `scenes`"),
        column("end_seconds", pa.float64(), "its end, exclusive"),
        column("tag", pa.string(), f"1 to {MAX_CHARACTERS} characters, in Unicode's composed form (NFC)"),
        column("created_at", pa.timestamp("ms"), "when the shot got it, UTC"),
    ]
)
_SHOT = ["source_id", "scene_index", "start_seconds", "end_seconds"]
_TURNING = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})

Shot = tuple[str, int]  # source_id, scene_index
Span = tuple[str, float, float]  # source_id, start_seconds, end_seconds


def clean_label(text: str, what: str = "tag") -> str:
    """What a person typed, without blanks around it, in Unicode's composed form (NFC).

    Args:
        what: it is, for messages.

    Raises:
        UsageError: it is empty, too long, or holds characters that break lines or turn the direction of text.
    """
    text = unicodedata.normalize("NFC", text).strip()
    if not any(unicodedata.category(char)[0] not in "CZ" for char in text):
        raise UsageError(f"the {what} is empty: a {what} has 1 to {MAX_CHARACTERS} characters")
    if len(text) > MAX_CHARACTERS:
        raise UsageError(
            f"the {what} {text[:20]!r}... is {len(text)} long: a {what} has 1 to {MAX_CHARACTERS} characters"
        )
    for char in text:
        turns = unicodedata.bidirectional(char) in _TURNING
        if turns or unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp"):
            raise UsageError(
                f"the {what} {text!r} holds the control character U+{ord(char):04X}: leave it out; a {what} "
                "is one line of text"
            )
    return text


def tag_shots(dataset: Dataset, run_id: str, tag: str, shots: Collection[Shot], *, on: bool) -> int:
    """Gives a tag to shots, or takes it from them, in one commit. Call it inside `dataset.hold`.

    Args:
        tag: see `clean_label`. shots: of `scenes` as it is now. on: whether they have it afterwards.

    Returns:
        How many tags came or went; nothing is committed where none did.

    Raises:
        UsageError: the tag cannot be one, or there is no such shot.
        DatasetError: the storage refuses, or the lease is lost.
    """
    tag = clean_label(tag)
    spans = _spans(dataset, frozenset(shots))
    sources = {source for source, _ in spans}
    there = curated_rows(dataset, TABLE, TAGS_SCHEMA, sources)
    having = _having(dataset, there.filter(pc.equal(there["tag"], tag)), sources)
    if on:
        now = int(time.time() * 1000)
        new = [(*shot, *spans[shot], tag, now) for shot in sorted(spans.keys() - having.values())]
        added = [dict(zip(TAGS_SCHEMA.names, row, strict=True)) for row in new]
        rows = pa.concat_tables([there, pa.Table.from_pylist(added, TAGS_SCHEMA)])
    else:
        # One that no shot has any more goes with a shot that it reaches into, else it could never go.
        gone = {
            span for span, shot in having.items() if (_meets(span, spans) if shot is None else shot in spans)
        }
        is_kept = [row["tag"] != tag or _span_of(row) not in gone for row in there.to_pylist()]
        rows = there.filter(pa.array(is_kept, pa.bool_()))
    num_changed = abs(int(rows.num_rows) - int(there.num_rows))
    if num_changed:
        replace_curated(dataset, run_id, TABLE, sources, rows)
    return num_changed


def count_tags(root: str | os.PathLike[str] | RemotePath) -> list[tuple[str, int]]:
    """Every tag and how many shots have it, the most frequent first.

    Raises:
        UsageError: no results at `root`, or no scenes were extracted.
        DatasetError: a part cannot be read.
    """
    sql = "SELECT tag, count(*) FROM (SELECT unnest(tags) AS tag FROM shots) GROUP BY 1 ORDER BY 2 DESC, 1"
    return [(str(tag), int(count)) for tag, count in query(root, sql).rows]


def _spans(dataset: Dataset, shots: Collection[Shot]) -> dict[Shot, tuple[float, float]]:
    """Start and end of each of some shots."""
    sources = {source for source, _ in shots}
    rows = read_rows(dataset.root, "scenes", dataset.state.parts_of("scenes"), sources, _SHOT)
    found = {}
    for row in [] if rows is None else rows.select(_SHOT).to_pylist():
        found[row["source_id"], row["scene_index"]] = (row["start_seconds"], row["end_seconds"])
    if missing := sorted(shot for shot in shots if shot not in found):
        source, index = missing[0]
        raise UsageError(
            f"{dataset.root} has no shot {index} of source {source}: its scenes may have been extracted anew "
            "meanwhile; look at its shots again"
        )
    return {shot: found[shot] for shot in shots}


def _having(dataset: Dataset, rows: pa.Table, sources: Collection[str]) -> dict[Span, Shot | None]:
    """The shot that each row of one tag is of now; None where there is none."""
    having: dict[Span, Shot | None] = {_span_of(row): None for row in rows.to_pylist()}
    if having:
        scenes = read_rows(dataset.root, "scenes", dataset.state.parts_of("scenes"), sources, _SHOT)
        for source, index, start, end, _ in select({"scenes": scenes, TABLE: rows}, placed_tags()):
            having[source, start, end] = (source, index)
    return having


def _span_of(row: Mapping[str, Any]) -> Span:
    return row["source_id"], row["start_seconds"], row["end_seconds"]


def _meets(span: Span, shots: Mapping[Shot, tuple[float, float]]) -> bool:
    """Whether a span shares time with one of some shots."""
    source, start, end = span
    return any(of == source and start < last and end > first for (of, _), (first, last) in shots.items())
