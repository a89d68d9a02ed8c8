"""Plain text, Whisper's table, NIST's turns of speakers, and JSON with everything."""

from __future__ import annotations

import json
import re

from framemill.cluster.exports.cues import in_brackets
from framemill.cluster.exports.tracks import Track
from framemill.cluster.exports.utterances import Turns, label_of, utterances_of
from framemill.ops.plain_text import one_line


def write_txt(track: Track) -> str:
    """A line for each segment, or for what each speaker says in it."""
    turns = Turns(track.turns if track.is_heard else ())
    lines = []
    for row in track.segments:
        for said in utterances_of(row, turns):
            speaker = said.speaker or turns.longest(said.start, said.end)
            if said.text:
                lines.append(in_brackets(label_of(speaker), said.text) if speaker else said.text)
    return "".join(f"{line}\n" for line in lines)


def write_tsv(track: Track) -> str:
    """Whisper's table: whole milliseconds, and text without a tab or line end of its own."""
    rows = [(row, line) for row in track.segments if (line := one_line(row["text"]))]
    cues = "".join(
        f"{round(max(row['start_seconds'], 0) * 1000)}\t{round(max(row['end_seconds'], 0) * 1000)}\t{line}\n"
        for row, line in rows
    )
    return f"start\tend\ttext\n{cues}" if rows else ""


def write_rttm(track: Track) -> str:
    """NIST's format: type, file, channel, start, length, then the speaker among fields left open."""
    # Spaces part the fields.
    name = re.sub(r"\s+", "_", track.stem)
    return "".join(
        f"SPEAKER {name} 1 {row['start_seconds']:.3f} {row['end_seconds'] - row['start_seconds']:.3f} "
        f"<NA> <NA> {re.sub(r'[^!-~]+', '_', row['speaker'])} <NA> <NA>\n"
        for row in track.turns
    )


def write_json(track: Track) -> str:
    """All columns of both tables."""
    document = {
        "source_id": track.source_id,
        "uris": track.uris,
        "segments": track.segments,
        "speakers": track.turns,
    }
    return json.dumps(document, indent=2) + "\n"
