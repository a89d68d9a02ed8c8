"""The shots that an export writes, file by file, with names for what is written."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from framemill.cluster.editing.timeline_files import reel_names
from framemill.cluster.exports.naming import stems_of
from framemill.cluster.exports.shot_pictures import ShotPictures
from framemill.cluster.exports.stretches import SHOTS, Shot, read_stretches
from framemill.cluster.exports.timecode import Clock, clock_of, nominal_rate
from framemill.cluster.results.corpus_tables import uris_by_source
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.queries import query
from framemill.errors import UsageError

_NAME_LENGTH = 80
_MEDIA = (
    *("source_id", "fps", "is_variable_rate", "start_timecode", "num_frames", "duration_seconds"),
    *("width", "height", "audio_codec"),
)


@dataclass(frozen=True, slots=True)
class ShotList:
    """Shots of one source in order.

    Attributes:
        source_id, uri: whose. stem: what the names of its files begin with, unlike that of all others.
        reel: at most 8 letters and digits, unlike those of all other sources of the folder.
        media: its row of `media`, as far as the folder has one.
        shots: in order of time. pictures: finds those of the shots.
        notes: what a user has to know of the files, such as how frames were counted; writing adds to it.
    """

    source_id: str
    uri: str
    stem: str
    reel: str
    media: Mapping[str, Any]
    shots: Sequence[Shot]
    pictures: ShotPictures
    notes: list[str] = field(default_factory=list)

    def rate(self, form: str, is_timecode: bool = True) -> Fraction:
        """Frames a second as timecode counts them; the mean itself where it need not be for timecode.

        Raises:
            UsageError: it is not known, or timecode has no such rate; `form` cannot say it.
        """
        fps = self.media.get("fps")
        if fps is None and self.media:
            raise UsageError(f"{form} counts frames and {self.uri} has no picture: export it as shots-csv")
        if fps is None:
            raise UsageError(
                f"{form} counts frames and the rate of {self.uri} is not known: extract `ops=['media']` first"
            )
        rate = nominal_rate(fps)
        if rate is not None:
            return rate
        if not is_timecode:
            return Fraction(fps)
        raise UsageError(
            f"{form} needs whole frames a second, or those of NTSC, and {self.uri} has {fps:.3f}: "
            "export it as otio or shots-csv"
        )

    def clock(self, rate: Fraction) -> Clock:
        """How its frames are numbered at this rate."""
        clock = clock_of(rate, self.media.get("start_timecode"))
        if clock.problem:
            self.note(f"{clock.problem}: frames are counted from 0")
        return clock

    def frames(self, shot: Shot, rate: Fraction) -> tuple[int, int]:
        """First frame of a shot and the one behind its last, counted from the file's first.

        They are the shot's own where it has any, but where the rate varies: there an editing program takes
        what is shown at each tick of one rate, so that the nearest tick is taken.
        """
        start, end = shot.start_frame, shot.end_frame
        if self.media.get("is_variable_rate"):
            self.note("its rate varies: frames are those next to each time at its mean rate")
            start = None
        elif start is None:
            self.note("no frames were given: they are those next to each time at its rate")
        if start is None or end is None:
            start, end = round(shot.start_seconds * rate), round(shot.end_seconds * rate)
        return start, max(end, start + 1)

    @property
    def num_frames(self) -> int | None:
        """Frames that the file lasts at its rate; None where that is not known."""
        fps, seconds = self.media.get("fps"), self.media.get("duration_seconds")
        if not self.media.get("is_variable_rate") and self.media.get("num_frames"):
            return int(self.media["num_frames"])
        rate = nominal_rate(fps) or fps if fps else None
        return int(seconds * rate + 1e-6) if rate and seconds else None

    def note(self, text: str) -> None:
        """Adds to `notes` what is not there yet."""
        if text not in self.notes:
            self.notes.append(text)


def read_shot_lists(
    root: str | os.PathLike[str],
    where: str | None,
    name: str,
    more: tuple[str, ...] = (),
    beside: bool = False,
    of: str = SHOTS,
) -> Iterator[ShotList]:
    """The shots of each source, by uri.

    Args:
        root: a result folder. where, more, of: as in `read_stretches`. name, beside: as in `stems_of`.

    Raises:
        UsageError: `name` is wrong, or as `read_stretches`.
        DatasetError: a part cannot be read.
    """
    found = read_stretches(root, where, more, of)
    dataset = Dataset.open(root, create=False)
    uris = {source_id: own[0] for source_id, own in uris_by_source(dataset).items()}
    reels = reel_names(sorted(uris.values()))
    media: dict[str, Mapping[str, Any]] = {}
    if found and "media" in dataset.state.keys:
        # Parts of earlier versions lack columns.
        rows = query(root, f"SELECT COLUMNS('^({'|'.join(_MEDIA)})$') FROM media")
        for row in rows.rows:
            known = dict(zip(rows.columns, row, strict=True))
            media.setdefault(known["source_id"], known)
    order = sorted(found, key=lambda source_id: (uris[source_id], source_id))
    stems = stems_of({source_id: uris[source_id] for source_id in order}, name, beside)
    pictures = ShotPictures(dataset)
    for source_id in order:
        uri = uris[source_id]
        yield ShotList(
            source_id, uri, stems[source_id], reels[uri], media.get(source_id, {}), found[source_id], pictures
        )
