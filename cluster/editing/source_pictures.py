"""Pictures of a dataset's frames, decoded from the files they came from."""

from __future__ import annotations

import os
from collections.abc import Sequence

from framemill.actors.object_store import is_remote
from framemill.actors.pictures import read_pictures
from framemill.actors.stream_choice import Tracks
from framemill.cluster.results.corpus_tables import uris_by_source
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.run.content_ids import content_id
from framemill.cluster.run.sources import paths_of
from framemill.errors import MediaError
from framemill.ops.chunks import Int64Array

JPEG_QUALITY = 90


class SourcePictures:
    """Decodes frames of sources, and remembers which could not be had.

    Attributes:
        problems: uri -> why its frames could not be decoded.
    """

    def __init__(self, dataset: Dataset) -> None:
        self.problems: dict[str, str] = {}
        self._uris = uris_by_source(dataset)
        self._dataset = dataset
        self._tracks = tracks_of(dataset)

    def fetch(self, source_id: str, frame_index: Int64Array) -> list[bytes | None]:
        """A JPEG of each frame at display size, None where it cannot be had."""
        path, problem = find_file(self._dataset, self._uris.get(source_id, [source_id]))
        if problem:
            self.problems[path] = problem
            return [None] * len(frame_index)
        found: dict[int, bytes] = {}
        try:
            for frames in read_pictures(path, frame_index, self._tracks):
                found |= zip(frames.frame_index.tolist(), frames.jpeg(JPEG_QUALITY), strict=True)
        except MediaError as exc:
            self.problems[path] = str(exc)
        return [found.get(index) for index in frame_index.tolist()]


def tracks_of(dataset: Dataset) -> Tracks:
    """Which tracks the tables were made of, where they were named."""
    keys = dataset.state.keys.values()
    return Tracks(**next((key["tracks"] for key in keys if key.get("tracks")), {}))


def find_file(dataset: Dataset, uris: Sequence[str]) -> tuple[str, str]:
    """The first of a source's paths where its file lies, and ""; or a path, and what is wrong with it.

    A path whose bytes are no UTF-8 is one that opens the file; its uri shows it escaped.
    """
    changed = ""
    for uri in uris:
        if is_remote(uri):
            try:
                if content_id(uri) == dataset.state.sources[uri].source_id:
                    return uri, ""
            except MediaError as exc:
                return uri, str(exc)
            changed = uri
            continue
        for path in paths_of(uri):
            if os.path.isfile(path):
                record = dataset.state.sources.get(uri)
                if record is None or os.stat(path).st_size == record.num_bytes:
                    return path, ""
                changed = uri
    if changed:
        return changed, "was changed since it was extracted: extract it again"
    return uris[0], "is not there any more: put it back, or extract it from where it is now"
