"""The shots that an export writes, file by file, with names for what is written."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from typing import Any

from framemill.cluster.corpus.shots import COLUMNS, find_shots
from framemill.cluster.exports.naming import stems_of
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.queries import query
from framemill.errors import UsageError

Shot = Mapping[str, Any]

# Rates that timecode is made for; measured means differ from them in the last digits.
_RATES = tuple(Fraction(n * 1000, d) for n in (24, 30, 48, 60, 120) for d in (1000, 1001))
_RATES += tuple(Fraction(n) for n in (25, 50, 100))
_RATE_TOLERANCE = 3e-4  # 29.97 and 30 differ by three times as much


@dataclass(frozen=True, slots=True)
class ShotList:
    """Shots of one source in order.

    Attributes:
        source_id, uri: whose. stem: what the names of its files begin with, unlike that of all others.
        number: 0-based position among the sources of the export.
        fps: mean frames a second; None where `media` was not extracted.
        shots: rows of the view `shots`.
    """

    source_id: str
    uri: str
    stem: str
    number: int
    fps: float | None
    shots: Sequence[Shot]

    def rate(self, form: str, is_timecode: bool = True) -> Fraction:
        """Frames a second as timecode counts them; the mean itself where it need not be for timecode.

        Raises:
            UsageError: it is not known, or timecode has no such rate; `form` cannot say it.
        """
        fps = self.fps
        if fps is None:
            raise UsageError(
                f"{form} counts frames and the rate of {self.uri} is not known: extract `ops=['media']` first"
            )
        nearest = min((*_RATES, Fraction(max(round(fps), 1))), key=lambda rate: abs(float(rate) - fps))
        if abs(float(nearest) / fps - 1) <= _RATE_TOLERANCE:
            return nearest
        if not is_timecode:
            return Fraction(fps)
        raise UsageError(
            f"{form} needs whole frames a second, or those of NTSC, and {self.uri} has {fps:.3f}: "
            "export it as otio or shots-csv"
        )


def read_shot_lists(
    root: str | os.PathLike[str],
    where: str | None,
    name: str,
    more: tuple[str, ...] = (),
    beside: bool = False,
) -> Iterator[ShotList]:
    """The shots of each source, by uri.

    Args:
        root: a result folder. where: as in `find_shots`. name, beside: as in `stems_of`.
        more: columns of the view that are needed too.

    Raises:
        UsageError: `name` is wrong, there are no scenes, or DuckDB refuses `where`.
        DatasetError: a part cannot be read.
    """
    found = find_shots(root, where, columns=(*COLUMNS, *more))
    rows = [dict(zip(found.columns, row, strict=True)) for row in found.rows]
    rates: dict[str, float | None] = {}
    if rows and "media" in Dataset.open(root, create=False).state.keys:
        rates = dict(query(root, "SELECT source_id, max(fps) FROM media GROUP BY 1").rows)
    owned = [(key, list(own)) for key, own in groupby(rows, key=lambda row: row["source_id"])]
    stems = stems_of({key: own[0]["uri"] for key, own in owned}, name, beside)
    for number, (source_id, own) in enumerate(owned):
        yield ShotList(source_id, own[0]["uri"], stems[source_id], number, rates.get(source_id), own)
