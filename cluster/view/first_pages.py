"""The first pages of shots and files by path, read from the tables while that of the viewer is made."""

from __future__ import annotations

import json
from typing import Any

from framemill.cluster.results.corpus_tables import uris_by_source
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.view.shot_table import READ_TABLES, read_shots

Row = dict[str, Any]

_OF_FILES = ("media", "scenes", "frames", "thumbnails", "moderation")  # what rows of files are made of


def shots_by_path(dataset: Dataset, offset: int, limit: int) -> tuple[int, list[Row]]:
    """How many shots there are, and some of them as `ShotPages.shots` has them, by path and position.

    Only the tables of the files on the page are read.

    Raises:
        DatasetError: a part cannot be read.
    """
    total = before = 0
    chosen: list[str] = []
    for source in _by_path(dataset):
        entry = dataset.state.entries.get(("scenes", source))
        count = entry.rows if entry is not None else 0
        if count and total < offset + limit and total + count > offset:
            if not chosen:
                before = total
            chosen.append(source)
        total += count
    if not chosen:
        return total, []
    _, shots = read_shots(dataset.root, dataset.state.narrowed(READ_TABLES, chosen))
    cards = shots["card"][offset - before : offset - before + limit].to_pylist()
    # Tags and names come with the viewer's table.
    found = [json.loads(card) | {"tags": []} for card in cards]
    return total, [row | {"people": [[person, ""] for person in row["people"] or ()]} for row in found]


def files_by_path(dataset: Dataset, offset: int, limit: int) -> tuple[int, list[Row]]:
    """How many files there are, and some of them as `ShotPages.files` has them, by path.

    Raises:
        DatasetError: a part cannot be read.
    """
    sources = _by_path(dataset)
    chosen = sources[offset : offset + limit]
    if not chosen:
        return len(sources), []
    files, _ = read_shots(dataset.root, dataset.state.narrowed(_OF_FILES, chosen))
    return len(sources), sorted(files.to_pylist(), key=lambda file: (file["uri"], file["source_id"]))


def _by_path(dataset: Dataset) -> list[str]:
    uris = uris_by_source(dataset)
    return sorted((source for source in uris if source), key=lambda source: (uris[source][0], source))
