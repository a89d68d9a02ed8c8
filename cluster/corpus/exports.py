"""Transcripts and speakers of a result folder as files that other programs read.

Speech gives a file a source, each subtitle stream another one.

Nothing is taken from a file's own name but letters, digits, `-` and `_`; what makes a name unique is the
source's id. What media say is text and stays text: no line of it can end a cue or open a tag.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from cluster.results import queries
from cluster.results.dataset import Dataset
from models.errors import UsageError

ID_DIGITS = 16  # of the source's id in a file name, more where two ids share them
_NAME_LENGTH = 40

Row = Mapping[str, Any]


@dataclass(slots=True)
class _Source:
    source_id: str
    uris: list[str]
    transcript: list[Row] = field(default_factory=list)
    speakers: list[Row] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Exported:
    """One file that was written."""

    source_id: str
    uri: str
    path: str


def export(root: str | os.PathLike[str], form: str, folder: str | os.PathLike[str]) -> list[Exported]:
    """Writes the files of each source that has rows; files of the same name are replaced whole.

    Args:
        root: a result folder.
        form: key of `FORMATS`.
        folder: where the files go; made if it is not there.

    Raises:
        UsageError: the format is unknown, the table it needs was never extracted, or the folder cannot be
            written.
        DatasetError: a part of the results cannot be read.
    """
    if form not in FORMATS:
        raise UsageError(f"unknown format {form!r}; known: {', '.join(FORMATS)}")
    write, needed = FORMATS[form]
    sources = _read_sources(root, needed)
    target = Path(os.path.abspath(folder))
    exported = []
    try:
        target.mkdir(parents=True, exist_ok=True)
        for source, name in zip(sources, file_names(sources), strict=True):
            for track, part in _parts(source, form):
                path = target / f"{name}{track}.{form}"
                hidden = target / f".{path.name}.new"
                hidden.write_text(write(part), "utf-8", newline="\n")
                os.replace(hidden, path)
                exported.append(Exported(source.source_id, source.uris[0], str(path)))
    except OSError as exc:
        raise UsageError(f"{target} cannot be written ({exc.strerror}): choose another folder") from exc
    return exported


def _read_sources(root: str | os.PathLike[str], needed: Sequence[str]) -> list[_Source]:
    """Sources with a row in one of the tables, by the name of their first file."""
    state = Dataset.open(root, create=False).state
    present = [table for table in needed if table in state.keys]
    if not present:
        raise UsageError(
            f"{os.fspath(root)} has no table {' or '.join(needed)}: extract it first, with "
            f"`framemill extract SOURCES -o {os.fspath(root)} --ops {needed[0]}`"
        )
    uris: dict[str, list[str]] = {}
    for record in sorted(state.sources.values(), key=lambda record: record.uri):
        uris.setdefault(record.source_id, []).append(record.uri)
    sources: dict[str, _Source] = {}
    for table in present:
        result = queries.query(root, f"SELECT * FROM {table} ORDER BY source_id, start_seconds, end_seconds")
        for values in result.rows:
            row = dict(zip(result.columns, values, strict=True))
            source_id = row.pop("source_id")
            source = sources.setdefault(source_id, _Source(source_id, uris.get(source_id, [source_id])))
            getattr(source, table).append(row)
    return sorted(sources.values(), key=lambda source: (source.uris[0], source.source_id))


def _parts(source: _Source, form: str) -> list[tuple[str, _Source]]:
    """What goes into a file each, with the end of its name: empty for speech and for what holds all."""
    if form in ("json", "rttm"):
        return [("", source)]
    streams: dict[int | None, list[Row]] = {}
    for row in source.transcript:
        streams.setdefault(row.get("stream_index"), []).append(row)
    parts = []
    for stream_index, rows in sorted(streams.items(), key=lambda item: -1 if item[0] is None else item[0]):
        # Players show what stands between the last two dots as the language.
        language = re.sub(r"[^A-Za-z0-9]+", "", rows[0]["language"])[:8] or "und"
        track = "" if stream_index is None else f".{stream_index}.{language}"
        parts.append((track, replace(source, transcript=rows)))
    return parts


def file_names(sources: Sequence[_Source]) -> list[str]:
    """A name for each source, safe on every system and unlike all others, whatever their case."""
    ids = [source.source_id for source in sources]
    digits = ID_DIGITS
    while len({source_id[:digits].lower() for source_id in ids}) < len(ids):
        digits += 1
    return [f"{_readable(source.uris[0])}-{source.source_id[:digits]}" for source in sources]


def _readable(uri: str) -> str:
    stem = PurePosixPath(uri.replace("\\", "/")).stem
    return re.sub(r"[^A-Za-z0-9]+", "_", stem).strip("_")[:_NAME_LENGTH] or "file"


def _line(text: str) -> str:
    """Text on one line without control or formatting characters, and without what ends a cue's times."""
    plain = "".join(ch if ch.isprintable() else " " for ch in text)
    return re.sub(r" {2,}", " ", plain.replace("-->", "->")).strip()


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


def _srt(source: _Source) -> str:
    cues = enumerate(_cues(source, ","), 1)
    return "\n".join(f"{number}\n{times}\n{text}\n" for number, (times, text) in cues)


def _vtt(source: _Source) -> str:
    signs = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
    return "WEBVTT\n" + "".join(f"\n{times}\n{text.translate(signs)}\n" for times, text in _cues(source, "."))


def _txt(source: _Source) -> str:
    return "".join(f"{line}\n" for row in source.transcript if (line := _line(row["text"])))


def _rttm(source: _Source) -> str:
    """NIST's format: type, file, channel, start, length, then the speaker among fields left open."""
    name = source.source_id[:ID_DIGITS]
    return "".join(
        f"SPEAKER {name} 1 {row['start_seconds']:.3f} {row['end_seconds'] - row['start_seconds']:.3f} "
        f"<NA> <NA> {row['speaker']} <NA> <NA>\n"
        for row in source.speakers
    )


def _json(source: _Source) -> str:
    document = {
        "source_id": source.source_id,
        "uris": source.uris,
        "segments": source.transcript,
        "speakers": source.speakers,
    }
    return json.dumps(document, indent=2) + "\n"


# Format, which is also the file's ending -> what makes the text, and the tables of which one must be there.
FORMATS: Mapping[str, tuple[Callable[[_Source], str], tuple[str, ...]]] = {
    "srt": (_srt, ("transcript",)),
    "vtt": (_vtt, ("transcript",)),
    "txt": (_txt, ("transcript",)),
    "json": (_json, ("transcript", "speakers")),
    "rttm": (_rttm, ("speakers",)),
}
