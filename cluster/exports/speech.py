"""Transcripts and speakers of a result folder as files that other programs read.

Speech gives a file a source, each subtitle stream another one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from framemill.cluster.exports.catalogue import FORMATS, format_named
from framemill.cluster.exports.cues import LEAST_LINE_WIDTH, LINE_WIDTH
from framemill.cluster.exports.naming import Exported, folder_beside, stems_of
from framemill.cluster.exports.speech_rows import Condition, Reader, Row
from framemill.cluster.exports.tracks import Track, suffixes_of
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.layout import write_file
from framemill.cluster.results.queries import live_paths, query
from framemill.errors import DatasetError, UsageError

_ATTEMPTS = 20  # a compaction may replace parts while they are read
_TIMES = ("start_seconds", "end_seconds")
_TEXT = (*_TIMES, "text", "language", "origin", "stream_index", "segment_index")
_TURNS = (*_TIMES, "speaker")
_WITH_LINES = ("srt", "vtt", "ass")
_WHOLE = ("json", "rttm")  # all of a source in one file
_ALL = "all"  # stands for its streams
# Format -> table -> the columns that it takes of it, none for all. Tables that are not needed may be missing.
_COLUMNS: Mapping[str, Mapping[str, Sequence[str]]] = {
    **{form: {"transcript": (*_TEXT, "words"), "speakers": _TURNS} for form in (*_WITH_LINES, "txt")},
    "tsv": {"transcript": _TEXT},
    "rttm": {"speakers": _TURNS},
    "json": {"transcript": (), "speakers": ()},
}


def export_speech(
    root: str | os.PathLike[str],
    form: str,
    folder: str | os.PathLike[str] | None,
    where: str | None = None,
    name: str = "{stem}",
    line_width: int | None = None,
) -> tuple[list[Exported], dict[str, str]]:
    """Writes the files of each source that has rows.

    The rows of one source are held at a time, whatever the size of the tables.

    Args:
        root: a result folder. form: a name in `FORMATS`. name: as in `stems_of`.
        folder: where the files go, made if it is not there; files of the same name are replaced whole. None:
            beside each source, where no file is replaced.
        where: as in `Condition`; of json, turns stay during which a segment that is taken is spoken.
        line_width: of subtitles, in characters, of which full-width ones count 42 / 16; 0 leaves text as it
            is; None: 42.

    Returns:
        What was written, by the name of each source's first file; and what could not be -> why.

    Raises:
        UsageError: the format is unknown, the table it needs was never extracted, a condition, name or width
            is wrong, the folder cannot be written, or nothing but refusals is left.
        DatasetError: a part of the results cannot be read.
    """
    made_by = format_named(form, "speech")
    width = _checked_width(form, line_width)
    dataset = Dataset.open(root, create=False)
    columns = {table: names for table, names in _COLUMNS[form].items() if table in dataset.state.keys}
    if not set(made_by.needs) & set(columns):
        raise UsageError(
            f"{os.fspath(root)} has no table {' or '.join(made_by.needs)}: extract it first, with "
            f"`framemill extract SOURCES -o {os.fspath(root)} --ops {made_by.needs[0]}`"
        )
    condition = Condition(root, tuple(columns), where) if where else None
    export = _Export(dataset, root, form, folder, name, width)
    for _ in range(_ATTEMPTS):
        paths = live_paths(dataset)
        try:
            for source_id, rows in _sources(dataset, columns, export.done):
                export.write(source_id, rows, condition)
            break
        except DatasetError:
            dataset.reload()
            if paths == live_paths(dataset):
                raise
    if export.refused and not export.written:
        raise UsageError(next(iter(export.refused.values())))
    return sorted(export.written, key=lambda file: (file.uri, file.source_id)), export.refused


def _checked_width(form: str, line_width: int | None) -> int:
    if line_width is None:
        return LINE_WIDTH
    if form not in _WITH_LINES:
        raise UsageError(f"`line_width` is for {', '.join(_WITH_LINES)}, and {form} has no lines to break")
    if line_width and line_width < LEAST_LINE_WIDTH:
        raise UsageError(
            f"`line_width` is {line_width}; it must be {LEAST_LINE_WIDTH} or more, or 0, which leaves text "
            "as it is"
        )
    return line_width


def _sources(
    dataset: Dataset, columns: Mapping[str, Sequence[str]], done: Mapping[str, Any] | set[str]
) -> Iterator[tuple[str, dict[str, list[Row]]]]:
    """Sources with a row in one of the tables that are not done, with their rows of each."""
    readers = {table: Reader(dataset, table, names) for table, names in columns.items()}
    for source_id in dict.fromkeys(owner for reader in readers.values() for owner in reader.owners):
        if source_id not in done:
            yield source_id, {table: reader.take(source_id) for table, reader in readers.items()}


class _Export:
    """Writes the files of one source after the other.

    Attributes:
        done: source ids. written: files. refused: what could not be written -> why.
    """

    def __init__(
        self,
        dataset: Dataset,
        root: str | os.PathLike[str],
        form: str,
        folder: str | os.PathLike[str] | None,
        name: str,
        line_width: int,
    ) -> None:
        self.done: set[str] = set()
        self.written: list[Exported] = []
        self.refused: dict[str, str] = {}
        self._form, self._write, self._line_width = form, FORMATS[form].load(), line_width
        self._folder = None if folder is None else Path(os.path.abspath(folder))
        self._uris: dict[str, list[str]] = {}
        for record in sorted(dataset.state.sources.values(), key=lambda record: record.uri):
            self._uris.setdefault(record.source_id, []).append(record.uri)
        first = {source_id: uris[0] for source_id, uris in self._uris.items()}
        self._suffixes = _suffixes(root, dataset, form)
        endings = {source_id: set(suffixes.values()) for source_id, suffixes in self._suffixes.items()}
        self._stems = stems_of(first, name, beside=folder is None, as_it_is=True, endings=endings)

    def write(self, source_id: str, rows: Mapping[str, list[Row]], condition: Condition | None) -> None:
        """Writes what there is of a source."""
        uri = self._uris.get(source_id, [source_id])[0]
        segments, turns = rows.get("transcript", []), rows.get("speakers", [])
        if condition is not None and condition.table == "transcript":
            segments = [row for row in segments if condition.takes(source_id, row)]
            if self._form == "json":
                turns = [turn for turn in turns if any(_meet(turn, segment) for segment in segments)]
        elif condition is not None:
            turns = [row for row in turns if condition.takes(source_id, row)]
        there: set[int | str | None] = {_stream(row) for row in segments}
        if segments or turns:
            there.add(_ALL)
        for index, suffix in self._suffixes.get(source_id, {}).items():
            if index in there:
                own = [row for row in segments if index in (_ALL, _stream(row))]
                try:
                    self._put(source_id, uri, suffix, own, turns, is_heard=index is None)
                except UsageError as exc:
                    self.refused[uri + suffix] = str(exc)
        self.done.add(source_id)

    def _put(
        self, source_id: str, uri: str, suffix: str, segments: list[Row], turns: list[Row], is_heard: bool
    ) -> None:
        folder = folder_beside(uri) if self._folder is None else self._folder
        stem = self._stems.get(source_id, source_id)
        path = folder / f"{stem}{suffix}.{self._form}"
        uris = self._uris.get(source_id, [source_id])
        track = Track(source_id, uris, stem, segments, turns, is_heard, self._line_width)
        text: str = self._write(track)
        if text:
            _replace(path, text, is_beside=self._folder is None)
            self.written.append(Exported(source_id, uri, str(path)))


def _suffixes(
    root: str | os.PathLike[str], dataset: Dataset, form: str
) -> dict[str, Mapping[int | str | None, str]]:
    """Source id -> stream -> the end of its file's stem, of all rows, whatever a condition takes of them."""
    if form in _WHOLE:
        owners = {
            o for table in _COLUMNS[form] for part in dataset.state.parts_of(table) for o in part.owners
        }
        return {source_id: {_ALL: ""} for source_id in owners}
    streams: dict[str, Sequence[Row]] = {}
    if "media" in dataset.state.keys:
        streams = dict(query(root, "SELECT source_id, any_value(streams) FROM media GROUP BY source_id").rows)
    found = query(
        root,
        "SELECT source_id, origin, stream_index, min(language) AS language FROM transcript GROUP BY ALL",
    )
    rows: dict[str, list[Row]] = {}
    for row in found.rows:
        rows.setdefault(row[0], []).append(dict(zip(found.columns, row, strict=True)))
    return {source_id: suffixes_of(own, streams.get(source_id) or ()) for source_id, own in rows.items()}


def _stream(row: Row) -> int | None:
    """Index of the stream that a segment is from; None: it was heard."""
    return None if row["origin"] == "speech" else row["stream_index"]


def _meet(turn: Row, segment: Row) -> bool:
    return bool(
        turn["start_seconds"] < segment["end_seconds"] and turn["end_seconds"] > segment["start_seconds"]
    )


def _replace(path: Path, text: str, is_beside: bool) -> None:
    data = text.encode()
    try:
        if is_beside and os.path.lexists(path):
            if path.read_bytes() == data:
                return
            # What lies beside a film is as likely somebody's own work.
            raise UsageError(
                f"{path} is there already, with other content: remove it, or take another name or folder"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, data, replace=not is_beside)
    except (DatasetError, OSError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else exc
        raise UsageError(f"{path} cannot be written ({reason}): choose another folder") from exc
