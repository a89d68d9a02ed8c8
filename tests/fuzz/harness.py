"""What a fuzzer of bytes drives, whether it is guided by coverage or not: the packet index, and subtitles.

Each function takes any bytes and returns where Framemill does what it promises of them: it answers within its
invariants, or raises a `MediaError` that says why not. Whatever else is raised is a finding.
"""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import av.error
import numpy as np

from framemill.actors.indexing import index_source
from framemill.actors.safe_open import open_media
from framemill.actors.subtitles import SubtitleTrack, decoded_text, plain_text, text_streams
from framemill.errors import MediaError
from framemill.ops.audio.subtitles import SubtitleRows

_SECONDS = 100.0  # of the source that cues are told to be of


def index_packets(data: bytes) -> None:
    """A media file: frames by time, packets that hold each of them, lengths that are numbers."""
    with _written(data, "clip.bin") as path:
        try:
            index = index_source(path)
        except MediaError as exc:
            assert str(exc), "an error says why"
            return
    frames, packets = index.frames, index.packets
    count = len(frames.pts)
    assert len(frames.is_key) == len(frames.packet_bytes) == len(frames.pts_seconds) == count
    assert np.all(np.diff(frames.pts) >= 0), "frames stand in the order of time"
    assert np.all(np.isfinite(frames.pts_seconds)) and np.all(frames.packet_bytes >= 0)
    assert np.all(frames.pts_seconds >= 0)
    assert len(packets.pts) == len(packets.is_key) == len(packets.frame)
    assert np.all((packets.frame >= -1) & (packets.frame < count))
    assert set(range(count)) == set(packets.frame[packets.frame >= 0].tolist()), "each frame has its packet"
    for seconds in (index.duration_seconds, index.missing_seconds, index.sound_seconds, frames.last_seconds):
        assert math.isfinite(seconds) and seconds >= 0
    assert math.isfinite(index.origin_seconds)
    assert index.video_stream >= 0 or index.audio_stream >= 0 or index.text_streams
    if count:
        assert index.display_width > 0 and index.display_height > 0 and index.time_base > 0


def subtitles(data: bytes) -> None:
    """A file of subtitles, and a line of one: text without control characters, within the source, by time."""
    for is_ass in (True, False):
        _check_text(plain_text(decoded_text(data), is_ass))
    rows = SubtitleRows()
    with _written(data, "cues.srt") as path, contextlib.suppress(MediaError), open_media(path) as container:
        chosen = text_streams(container)
        tracks = {i: SubtitleTrack(container.streams[i], 0.0) for i in chosen}  # type: ignore[arg-type]
        with contextlib.suppress(av.error.FFmpegError):
            for packet in container.demux([container.streams[i] for i in chosen]) if chosen else ():
                chunk = tracks[packet.stream_index].feed(packet)
                if chunk is not None:
                    rows.add(chunk)
    found = rows.finish(_SECONDS)
    for row in found:
        assert 0 <= row["start_seconds"] <= row["end_seconds"] <= _SECONDS
        assert row["text"], "a cue is never empty"
        _check_text(row["text"])
    order = [(row["stream_index"], row["segment_index"]) for row in found]
    assert order == sorted(set(order))


def _check_text(text: str) -> None:
    text.encode()  # no half of a pair
    controls = {letter for letter in text if ord(letter) < 32 or ord(letter) == 127}
    assert controls <= {"\n"}, controls


@contextlib.contextmanager
def _written(data: bytes, name: str) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="fuzz") as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        yield str(path)


TARGETS: Mapping[str, Callable[[bytes], None]] = {"packet index": index_packets, "subtitles": subtitles}
