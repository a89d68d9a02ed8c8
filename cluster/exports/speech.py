"""Transcripts and speakers of a result folder as files that other programs read.

Speech gives a file a source, each subtitle stream another one.

Nothing is taken from a file's own name but letters, digits, `-` and `_`; what makes a name unique is the
source's id. Text from media stays text: no line of it can end a cue or open a tag.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa

from framemill.cluster.exports.catalogue import format_named
from framemill.cluster.exports.naming import Exported
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.parts import read_groups
from framemill.cluster.results.queries import live_paths
from framemill.errors import DatasetError, UsageError
from framemill.ops import load_op
from framemill.ops.plain_text import one_line

ID_DIGITS = 16  # of the source's id in a file name, more where two ids share them
_NAME_LENGTH = 40
_ATTEMPTS = 20  # a compaction may replace parts while they are read

Row = Mapping[str, Any]
_TIMES = ("start_seconds", "end_seconds")
_CUES = (*_TIMES, "text", "language", "origin", "stream_index")
# What each format takes of the tables; json takes all.
_COLUMNS = {**dict.fromkeys(("srt", "vtt", "txt", "tsv"), _CUES), "rttm": (*_TIMES, "speaker"), "json": None}


@dataclass(slots=True)
class _Source:
    source_id: str
    uris: list[str]
    transcript: list[Row] = field(default_factory=list)
    speakers: list[Row] = field(default_factory=list)


def export_speech(root: str | os.PathLike[str], form: str, folder: str | os.PathLike[str]) -> list[Exported]:
    """Writes the files of each source that has rows; files of the same name are replaced whole.

    The rows of one source are held at a time, whatever the size of the tables.

    Args:
        root: a result folder.
        form: a name in `FORMATS`.
        folder: where the files go; made if it is not there.

    Returns:
        What was written, by the name of each source's first file.

    Raises:
        UsageError: the format is unknown, the table it needs was never extracted, or the folder cannot be
            written.
        DatasetError: a part of the results cannot be read.
    """
    made_by = format_named(form, "speech")
    write, needed, columns = made_by.load(), made_by.needs, _COLUMNS[form]
    dataset = Dataset.open(root, create=False)
    present = [table for table in needed if table in dataset.state.keys]
    if not present:
        raise UsageError(
            f"{os.fspath(root)} has no table {' or '.join(needed)}: extract it first, with "
            f"`framemill extract SOURCES -o {os.fspath(root)} --ops {needed[0]}`"
        )
    target = Path(os.path.abspath(folder))
    exported: dict[str, list[Exported]] = {}
    for _ in range(_ATTEMPTS):
        paths = live_paths(dataset)
        try:
            for source, name in _named(dataset, present, columns, exported):
                files = []
                for track, part in _parts(source, form):
                    path = target / f"{name}{track}.{form}"
                    _replace(path, write(part))
                    files.append(Exported(source.source_id, source.uris[0], str(path)))
                exported[source.source_id] = files
            break
        except DatasetError:
            dataset.reload()
            if paths == live_paths(dataset):
                raise
    written = (file for files in exported.values() for file in files)
    return sorted(written, key=lambda file: (file.uri, file.source_id))


def _replace(path: Path, text: str) -> None:
    hidden = path.parent / f".{path.name}.new"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        hidden.write_text(text, "utf-8", newline="\n")
        os.replace(hidden, path)
    except OSError as exc:
        raise UsageError(f"{path.parent} cannot be written ({exc.strerror}): choose another folder") from exc


def _named(
    dataset: Dataset, tables: Sequence[str], columns: Sequence[str] | None, done: Set[str] | Mapping[str, Any]
) -> Iterator[tuple[_Source, str]]:
    """Sources with a row in one of the tables that are not done, and the name of each one's files."""
    uris: dict[str, list[str]] = {}
    for record in sorted(dataset.state.sources.values(), key=lambda record: record.uri):
        uris.setdefault(record.source_id, []).append(record.uri)
    readers = {table: _Reader(dataset, table, columns) for table in tables}
    owners = dict.fromkeys(owner for reader in readers.values() for owner in reader.owners)
    digits = _id_digits(owners.keys())
    for source_id in owners:
        if source_id in done:
            continue
        source = _Source(source_id, uris.get(source_id, [source_id]))
        for table, reader in readers.items():
            getattr(source, table).extend(reader.take(source_id))
        yield source, f"{_readable(source.uris[0])}-{source_id[:digits]}"


class _Reader:
    """Reads one table source by source.

    Attributes:
        owners: source ids with rows, in the order in which the parts hold them. Taken in this order, only
            the rows of one row group are held; those of other sources met meanwhile are kept as columns.
    """

    def __init__(self, dataset: Dataset, table: str, columns: Sequence[str] | None) -> None:
        self.owners = dict.fromkeys(owner for part in dataset.state.parts_of(table) for owner in part.owners)
        self._names = [name for name in load_op(table).schema.names if columns is None or name in columns]
        self._rows = self._read(dataset, table)
        self._passed: dict[str, pa.Table] = {}

    def take(self, source_id: str) -> list[Row]:
        """The rows of a source by time, each once."""
        while source_id in self.owners and source_id not in self._passed:
            found = next(self._rows, None)
            if found is None:
                raise DatasetError(f"rows of {source_id} are gone: restore their part, or extract again")
            self._passed[found[0]] = found[1]
        rows = self._passed.pop(source_id, None)
        if rows is None:
            return []
        rows = rows.sort_by([("start_seconds", "ascending"), ("end_seconds", "ascending")])
        # Parts of earlier versions lack fields.
        return [{name: row.get(name) for name in self._names} for row in rows.to_pylist()]

    def _read(self, dataset: Dataset, table: str) -> Iterator[tuple[str, pa.Table]]:
        """All rows of a source, which parts hold one after another."""
        for part in dataset.state.parts_of(table):
            found: dict[str, list[pa.Table]] = {}
            for rows in read_groups(dataset.root, part, ["source_id", *self._names]):
                for owner, piece in _pieces(rows):
                    found.setdefault(owner, []).append(piece)
                last = next(reversed(found), None)
                for owner in [owner for owner in found if owner != last]:
                    yield owner, pa.concat_tables(found.pop(owner))
            for owner, pieces in found.items():
                yield owner, pa.concat_tables(pieces)


def _pieces(rows: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """Consecutive rows of one source each."""
    ids = rows["source_id"].combine_chunks().dictionary_encode()
    codes = ids.indices.to_numpy()
    edges = np.flatnonzero(np.diff(codes, prepend=-1))
    plain = rows.drop_columns("source_id")
    for start, end in zip(edges, [*edges[1:], len(codes)], strict=True):
        yield ids.dictionary[int(codes[start])].as_py(), plain.slice(int(start), int(end - start))


def _parts(source: _Source, form: str) -> list[tuple[str, _Source]]:
    """What goes into a file each, with the end of its name: empty for speech and for what holds all."""
    if form in ("json", "rttm"):
        return [("", source)]
    streams: dict[int | None, list[Row]] = {}
    for row in source.transcript:
        streams.setdefault(None if row["origin"] == "speech" else row["stream_index"], []).append(row)
    parts = []
    for stream_index, rows in sorted(streams.items(), key=lambda item: -1 if item[0] is None else item[0]):
        # Players show what stands between the last two dots as the language.
        language = re.sub(r"[^A-Za-z0-9]+", "", rows[0]["language"])[:8] or "und"
        track = "" if stream_index is None else f".{stream_index}.{language}"
        parts.append((track, replace(source, transcript=rows)))
    return parts


def _id_digits(source_ids: Set[str]) -> int:
    """How much of an id tells it from all others, whatever their case."""
    digits = ID_DIGITS
    while len({source_id[:digits].lower() for source_id in source_ids}) < len(source_ids):
        digits += 1
    return digits


def _readable(uri: str) -> str:
    stem = PurePosixPath(uri.replace("\\", "/")).stem
    return re.sub(r"[^A-Za-z0-9]+", "_", stem).strip("_")[:_NAME_LENGTH] or "file"


def _line(text: str) -> str:
    """Text on one line without what ends a cue's times."""
    return one_line(text.replace("-->", "->"))


def _lines(text: str) -> str:
    """The lines of a cue, none of them empty, which would end it, or a number, which readers take for its."""
    lines = [line for part in text.split("\n") if (line := _line(part))]
    return (" " if any(line.isdecimal() for line in lines) else "\n").join(lines)


def _clock(seconds: float, point: str) -> str:
    milliseconds = round(max(seconds, 0.0) * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{point}{rest % 1000:03}"


def _cues(source: _Source, point: str) -> list[tuple[str, str]]:
    """(times, text) of each cue; none is empty, and each lasts a millisecond at least."""
    cues = []
    for row in source.transcript:
        text = _lines(row["text"])
        if text:
            end = max(row["end_seconds"], row["start_seconds"] + 0.001)
            cues.append((f"{_clock(row['start_seconds'], point)} --> {_clock(end, point)}", text))
    return cues


def write_srt(source: _Source) -> str:
    cues = enumerate(_cues(source, ","), 1)
    return "\n".join(f"{number}\n{times}\n{text}\n" for number, (times, text) in cues)


def write_vtt(source: _Source) -> str:
    signs = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
    return "WEBVTT\n" + "".join(f"\n{times}\n{text.translate(signs)}\n" for times, text in _cues(source, "."))


def write_txt(source: _Source) -> str:
    return "".join(f"{line}\n" for row in source.transcript if (line := _line(row["text"])))


def write_tsv(source: _Source) -> str:
    """Whisper's table: whole milliseconds, and text without a tab or line end of its own."""
    rows = [(row, line) for row in source.transcript if (line := one_line(row["text"]))]
    cues = "".join(
        f"{round(max(row['start_seconds'], 0) * 1000)}\t{round(max(row['end_seconds'], 0) * 1000)}\t{line}\n"
        for row, line in rows
    )
    return f"start\tend\ttext\n{cues}"


def write_rttm(source: _Source) -> str:
    """NIST's format: type, file, channel, start, length, then the speaker among fields left open."""
    name = source.source_id[:ID_DIGITS]
    return "".join(
        f"SPEAKER {name} 1 {row['start_seconds']:.3f} {row['end_seconds'] - row['start_seconds']:.3f} "
        f"<NA> <NA> {row['speaker']} <NA> <NA>\n"
        for row in source.speakers
    )


def write_json(source: _Source) -> str:
    document = {
        "source_id": source.source_id,
        "uris": source.uris,
        "segments": source.transcript,
        "speakers": source.speakers,
    }
    return json.dumps(document, indent=2) + "\n"
