"""Files on their way through a worker: what is in them, kept from the first look to the last row."""

from __future__ import annotations

import os
import resource
import sys
from dataclasses import replace
from typing import Any

from framemill.actors.audio_probe import lack_of_sound, reads_subtitles
from framemill.actors.indexing import SourceIndex, index_and_keep, index_source
from framemill.actors.shards import cut_shards
from framemill.actors.shortfalls import stated_shortfall
from framemill.actors.stream_choice import Tracks
from framemill.actors.tracing import Trace
from framemill.cluster.run.content_ids import content_id, refused_id, require_version, version_of
from framemill.cluster.run.failures import describe_failure
from framemill.cluster.run.messages import Opened, OpenSource, WorkerConfig
from framemill.errors import MediaError, UnsupportedError
from framemill.ops import load_op
from framemill.ops.media import MediaDescription
from framemill.ops.operation import Reads

# Of the files that this process may have open, those that wait for their decoding take one in four.
_LEFT_OPEN_SHARE = 4


class OpenSources:
    """Opens sources and holds what was found until they are forgotten; several threads may open at once.

    Attributes:
        indexes: uri -> index of the file.
        tracks: which of its tracks are taken.
        options: operation -> its options, for each of the run.
    """

    def __init__(self, config: WorkerConfig, trace: Trace) -> None:
        self.indexes: dict[str, SourceIndex] = {}
        self.tracks = Tracks(*config.tracks)
        self.options = config.options
        self._containers: dict[str, Any] = {}  # opened for the index, to be read on with one thread
        self._config = config
        self._trace = trace
        self._reads_subtitles = reads_subtitles(config.options)
        self._wants_sound = any(load_op(name).reads is Reads.AUDIO for name in config.options)

    def open(self, request: OpenSource) -> Opened:
        """Content id and index of a file; a file that cannot be indexed still has its content id.

        Raises:
            UnreadableError: its bytes cannot be had.
        """
        uri, path = request.uri, os.fsdecode(request.path)
        version = version_of(path)
        # The header first: what is no media needs no hash of all its bytes, which may be a sparse terabyte.
        try:
            with self._trace.span("index", uri=uri):
                index, container = index_and_keep(path, self.tracks)
                if index.has_subtitles_alone and not self._reads_subtitles:
                    if container is not None:
                        container.close()
                    problems = "; ".join(filter(None, (index.picture_problem, index.sound_problem)))
                    why = problems or "no picture and no sound track in the file, only subtitles"
                    raise UnsupportedError(f"{why} (transcript reads these, with any origin but speech)")
        except MediaError as error:
            with self._trace.span("hash", uri=uri):
                return Opened(source_id=refused_id(uri, path), failed=describe_failure(error))
        try:
            with self._trace.span("hash", uri=uri):
                source_id = content_id(path)
            require_version(path, version)
        except BaseException:
            if container is not None:
                container.close()
            raise
        self.indexes[uri] = index
        self._close(uri)
        if container is not None and self._wants_sound and index.has_more_than_pictures:
            container.close()  # sound wants a fresh start (`ShardProcessor.process`)
        elif container is not None and len(self._containers) >= _most_left_open():
            container.close()  # whoever decodes it opens it anew
        elif container is not None:
            self._containers[uri] = container
        shards = cut_shards(
            index.frames, index.has_more_than_pictures, index.duration_seconds, self._config.shard_seconds
        )
        return Opened(
            source_id=source_id,
            version=version,
            duration_seconds=index.duration_seconds,
            shards=tuple(shards),
            picture_problem=index.picture_problem,
            sound_problem=index.sound_problem or lack_of_sound(index, self._config.keys),
            shortfall=stated_shortfall(index),
        )

    def index(self, uri: str, path: str) -> SourceIndex:
        """The index of a file, made at the first call.

        Raises:
            MediaError: the file cannot be indexed any more.
        """
        if uri not in self.indexes:
            self.indexes[uri] = index_source(path, self.tracks)
        return self.indexes[uri]

    def describe(self, uri: str) -> MediaDescription:
        """What the container of an indexed file says, under the name that its rows have.

        The path that the index was made by may be no text, which no message between processes can hold.
        """
        return replace(self.indexes[uri].description, uri=uri)

    def take_container(self, uri: str) -> Any:
        """The file as it was left open by its index, which the caller now owns; None where it is not."""
        return self._containers.pop(uri, None)

    def forget(self, uri: str) -> None:
        """Drops what is held for a source that is finished or given up."""
        self._close(uri)
        self.indexes.pop(uri, None)

    def _close(self, uri: str) -> None:
        container = self._containers.pop(uri, None)
        if container is not None:
            container.close()


def _most_left_open() -> int:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit // _LEFT_OPEN_SHARE
