"""What a file holds and where its frames are, from one pass over its packets; one frame is decoded."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain
from typing import TYPE_CHECKING, Any

import av
import av.error
import numpy as np

from framemill.actors.box_sizes import missing_bytes, missing_of
from framemill.actors.codec_names import codec_tag
from framemill.actors.colour_matrices import SPACE_NAMES, matrix_name
from framemill.actors.orientation import Geometry, picture_geometry
from framemill.actors.packets import SECOND_FIELD, SHOWN, Picture, read_packets
from framemill.actors.promises import last_end, missing_seconds, promised_frames, sound_promise, stated_sound
from framemill.actors.range_reader import range_reader_of
from framemill.actors.safe_open import open_media, rewind
from framemill.actors.segments import seams_of
from framemill.actors.sound_facts import sound_facts
from framemill.actors.start_timecode import start_timecode
from framemill.actors.stream_choice import Tracks, describe_streams, rank_pictures, rank_sounds
from framemill.actors.subtitles import subtitles_end, text_streams
from framemill.actors.timeline import Timeline, find_timeline
from framemill.errors import UnsupportedError
from framemill.ops.chunks import BoolArray, FrameIndex, Int64Array
from framemill.ops.media import MediaDescription

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.video.stream import VideoStream

AS_PLAYERS = Tracks()


@dataclass(frozen=True, slots=True)
class PacketIndex:
    """The packets of the picture track in the order of the file, which is the order of decoding.

    Attributes:
        pts: int64 [n], in units of the time base (dts where a container has no pts), on the timeline of the
            file: where its clock starts anew, what follows is moved behind what came before.
        is_key: bool [n], a decoder can start here.
        frame: int64 [n], index of the presented frame that the packet holds, of two in a row where each holds
            a field of it; -1 for frames that the container marks as decoded but not shown.
    """

    pts: Int64Array
    is_key: BoolArray
    frame: Int64Array


@dataclass(frozen=True, slots=True)
class SourceIndex:
    """One file, ready to be planned and read.

    Attributes:
        description: the row of `media` (its uri is the path given).
        frames: presented frames; empty without a picture.
        packets: the same frames as packets.
        time_base: seconds per unit of pts.
        video_stream, audio_stream: stream indices in the container, -1 where there is none.
        rotation_quarters, is_mirrored: from the coded to the displayed picture, as in `Geometry`.
        display_width, display_height: pixels after rotation and aspect.
        origin_seconds: container time of the first presented frame or sample.
        duration_seconds: from the origin to the end of the last frame or sample.
        picture_problem, sound_problem: why a track that exists cannot be decoded, or empty.
        missing_seconds: how much the container promises of the picture beyond what its packets hold.
        missing_bytes: how far the container's outermost boxes reach beyond the end of the file.
        sound_seconds: length of the sound where the container states it reliably, else 0.
        text_streams: stream indices of the subtitles that are text.
        timeline: what is added to the times of packets.
        is_uneven: whether some packets hold more or fewer coded pictures than one, so that decoders that
            count pictures and those that count packets differ, or change the size or other parameters.
        matrix: of the colours of the first picture, as `matrix_name` gives it.
    """

    description: MediaDescription
    frames: FrameIndex
    packets: PacketIndex
    time_base: Fraction
    video_stream: int
    audio_stream: int
    rotation_quarters: int
    is_mirrored: bool
    display_width: int
    display_height: int
    origin_seconds: float
    duration_seconds: float
    picture_problem: str
    sound_problem: str
    missing_seconds: float
    missing_bytes: int
    sound_seconds: float
    text_streams: tuple[int, ...] = ()
    timeline: Timeline = field(default_factory=Timeline)
    is_uneven: bool = False
    matrix: str = "bt601"

    @property
    def has_more_than_pictures(self) -> bool:
        """Whether a piece of it is to carry sound or subtitles."""
        return self.audio_stream >= 0 or bool(self.text_streams)

    @property
    def has_subtitles_alone(self) -> bool:
        """Whether there is neither picture nor sound to take."""
        return self.video_stream < 0 and self.audio_stream < 0


def index_source(path: str, tracks: Tracks = AS_PLAYERS) -> SourceIndex:
    """Reads the packets of the picture track, and the first of the sound.

    Args:
        tracks: which of them.

    Raises:
        MediaError: the file cannot be opened, or holds nothing that can be decoded here.
    """
    with open_media(path) as container:
        return _index(container, path, tracks)


def index_and_keep(path: str, tracks: Tracks = AS_PLAYERS) -> tuple[SourceIndex, InputContainer | None]:
    """As `index_source`, with the open file for `read_shard` to go on with: opening a short file again costs
    more than all else that is done with it. None where a second pass could differ from a fresh one.
    """
    container = open_media(path)
    try:
        index = _index(container, path, tracks)
        # In an object store the second pass fetches other bytes than the first.
        can_go_on = (
            container.format.name.startswith(("mov", "matroska")) and range_reader_of(container) is None
        )
        if container.format.name.startswith("matroska"):  # which finds back to key pictures from 0 on alone
            can_go_on &= bool(np.all(index.packets.pts >= 0) and np.all(index.packets.is_key[:1]))
        if can_go_on and not index.missing_seconds:
            with contextlib.suppress(av.error.FFmpegError):
                rewind(container)
                return index, container
    except BaseException:
        container.close()
        raise
    container.close()
    return index, None


def _index(container: InputContainer, path: str, tracks: Tracks) -> SourceIndex:
    audio, sound_problem = _choose_sound(container, path, tracks.audio)
    video, picture, picture_problem = _choose_picture(container, path, tracks.video)
    texts = text_streams(container)
    if video is None and audio is None and not texts:
        problems = "; ".join(p for p in (picture_problem, sound_problem) if p)
        raise UnsupportedError(problems or "no picture and no sound track in the file")

    texts = text_streams(container)
    timeline = Timeline()
    taken = [*(stream.index for stream in (video, audio) if stream is not None), *texts]
    if seams_of(container) or (picture is not None and picture.restarts):
        timeline = find_timeline(path, taken[0], taken[1:])
        if video is not None and picture is not None:
            _move(picture, timeline, video)
    frames, packets = _arrays(picture)
    starts: list[float] = []
    ends: list[float] = []
    time_base = Fraction(1)
    if video is not None and picture is not None and len(frames):
        assert video.time_base is not None
        time_base = video.time_base
        starts.append(float(frames.pts[0] * time_base))
        ends.append(float((frames.pts[-1] + _last_duration(picture, frames, packets)) * time_base))
        last_seconds = ends[0] - float(frames.pts[-1] * time_base)
    promised = container.duration / av.time_base if container.duration else 0.0
    if audio is not None:
        base = audio.time_base or Fraction(0)
        start = float((audio.start_time or 0) * base)
        if timeline.offsets:
            start += float(timeline.ticks(audio.index, 0, base) * base)
        starts.append(start)
        if timeline.offsets:
            ends.append(last_end(path, [audio.index], timeline))
        elif audio.duration is not None and audio.time_base is not None:
            ends.append(start + float(audio.duration * audio.time_base))
        elif promised:
            ends.append(min(starts) + sound_promise(container, audio, promised))
        else:
            ends.append(last_end(path, [audio.index], timeline))
    if not starts:  # subtitles alone
        starts.append(0.0)
        ends.append(subtitles_end(path, texts))
    origin = min(starts)
    duration = max(0.0, max(ends) - origin)
    if video is not None and len(frames):
        # Rounded otherwise than the origin, the first time may come out below 0, where nothing is sampled.
        seconds = np.maximum(0.0, frames.pts.astype(np.float64) * float(time_base) - origin)
        frames = FrameIndex(frames.pts, seconds, frames.is_key, frames.packet_bytes, last_seconds)
    missing = 0.0
    if video is not None and len(frames) and not timeline.offsets:
        missing = missing_seconds(container, video, frames, promised, path)
    remote = range_reader_of(container)
    if remote is None:
        cut_off = missing_bytes(path, container.format.name)
    else:
        cut_off = missing_of(remote, remote.num_bytes, container.format.name)
    if audio is not None and (missing or cut_off):
        # What is stated speaks of a file that was longer.
        ends[-1] = last_end(path, [audio.index], timeline)
        duration = max(0.0, max(ends) - origin)
    geometry, matrix = Geometry(), "bt601"
    if video is not None and picture is not None and (first := picture.first_frame) is not None:
        geometry = picture_geometry(video, first)
        matrix = matrix_name(int(first.colorspace), first.height)
    return SourceIndex(
        description=_describe(container, path, video, audio, picture, frames, origin, duration, geometry),
        frames=frames,
        packets=packets,
        time_base=time_base,
        video_stream=video.index if video is not None else -1,
        audio_stream=audio.index if audio is not None else -1,
        rotation_quarters=geometry.quarters,
        is_mirrored=geometry.is_mirrored,
        display_width=geometry.width,
        display_height=geometry.height,
        origin_seconds=origin,
        duration_seconds=duration,
        picture_problem=picture_problem,
        sound_problem=sound_problem,
        missing_seconds=missing,
        missing_bytes=cut_off,
        sound_seconds=stated_sound(container, audio),
        text_streams=texts,
        timeline=timeline,
        is_uneven=picture is not None and picture.is_uneven,
        matrix=matrix,
    )


def _choose_picture(
    container: InputContainer, path: str, wanted: str
) -> tuple[VideoStream | None, Picture | None, str]:
    """The picture track to take that has frames, its packets, and why another was passed over."""
    ranked, problem = rank_pictures(container, path, wanted)
    for stream in ranked:
        if stream.codec_context is None:
            problem = f"no decoder for the picture track (codec {codec_tag(path, stream.index)})"
            continue
        if _is_encrypted(container, stream):
            problem = f"the picture track ({stream.codec_context.name}) is encrypted; decrypt the file first"
            continue
        picture = read_packets(container, stream, path)
        if picture.first_frame is not None:
            return stream, picture, ""
        if picture.packets:
            problem = f"the picture track ({stream.codec_context.name}) cannot be decoded: it is damaged"
        with contextlib.suppress(av.error.FFmpegError):
            rewind(container)  # an empty or damaged track: look at the next one from the start
    return None, None, problem


def _arrays(picture: Picture | None) -> tuple[FrameIndex, PacketIndex]:
    rows = picture.packets if picture is not None else []
    # Half the time of np.array on the rows, where there are thousands.
    table = np.fromiter(chain.from_iterable(rows), np.int64, 5 * len(rows)).reshape(-1, 5)
    pts, is_key, kind = table[:, 0], table[:, 1].astype(bool), table[:, 2]
    order = np.flatnonzero(kind == SHOWN)
    order = order[np.argsort(pts[order], kind="stable")]
    frame = np.full(len(table), -1, np.int64)
    frame[order] = np.arange(len(order))
    seconds = np.flatnonzero(kind == SECOND_FIELD)
    frame[seconds] = frame[seconds - 1]
    frames = FrameIndex(pts[order], np.zeros(len(order)), is_key[order], table[order, 3])
    return frames, PacketIndex(pts, is_key, frame)


def _move(picture: Picture, timeline: Timeline, video: VideoStream) -> None:
    """Puts the packets of the picture on the timeline of the file."""
    base = video.time_base or Fraction(1)
    picture.packets = [
        (pts + timeline.ticks(video.index, number, base), is_key, kind, num_bytes, duration)
        for number, (pts, is_key, kind, num_bytes, duration) in enumerate(picture.packets)
    ]


def _last_duration(picture: Picture, frames: FrameIndex, packets: PacketIndex) -> int:
    """How long the last frame is shown; the usual step where durations are not those of the frames.

    FFmpeg makes up durations that a container does not state, of fields instead of frames for some codecs.
    """
    last = int(np.flatnonzero(packets.frame == len(frames) - 1)[0])
    own = picture.packets[last][4]
    if len(frames) < 2:
        return own
    step = int(np.median(np.diff(frames.pts)))
    usual = float(np.median([row[4] for row in picture.packets]))
    return own if own and abs(usual - step) <= step / 4 else step


def _choose_sound(container: InputContainer, path: str, wanted: str) -> tuple[AudioStream | None, str]:
    ranked, problem = rank_sounds(container, wanted)
    for stream in ranked:
        if stream.codec_context is None:
            problem = f"no decoder for the sound track (codec {codec_tag(path, stream.index)})"
        elif _is_encrypted(container, stream):
            problem = f"the sound track ({stream.codec_context.name}) is encrypted; decrypt the file first"
        else:
            return stream, ""
    return None, problem


def _is_encrypted(container: InputContainer, stream: VideoStream | AudioStream) -> bool:
    """Whether the first packet of the track carries the description of a cipher (ISO/IEC 23001-7)."""
    if not container.format.name.startswith("mov"):
        return False
    is_encrypted = False
    with contextlib.suppress(av.error.FFmpegError):  # damage shows in the pass over all packets
        for packet in container.demux(stream):
            is_encrypted = packet.has_sidedata("encryption_info")
            break
        rewind(container)
    return is_encrypted


def _describe(
    container: InputContainer,
    path: str,
    video: VideoStream | None,
    audio: AudioStream | None,
    picture: Picture | None,
    frames: FrameIndex,
    origin: float,
    duration: float,
    geometry: Geometry,
) -> MediaDescription:
    taken = [stream.index for stream in (video, audio) if stream is not None]
    streams = describe_streams(container, (*taken, *text_streams(container)))
    fields: dict[str, Any] = {}
    if video is not None and picture is not None and picture.first_frame is not None:
        frame = picture.first_frame
        steps = np.diff(frames.pts_seconds)
        fields = {
            "video_codec": video.codec_context.codec.canonical_name,
            "width": geometry.width,
            "height": geometry.height,
            "rotation_degrees": geometry.quarters * 90,
            "is_mirrored": geometry.is_mirrored,
            "pixel_format": frame.format.name,
            "bit_depth": frame.format.components[0].bits,
            "color_space": SPACE_NAMES.get(int(frame.colorspace)),
            "color_transfer": _tag_name(av.video.reformatter.ColorTrc, frame.color_trc),
            "color_primaries": _tag_name(av.video.reformatter.ColorPrimaries, frame.color_primaries),
            "is_full_range": {1: False, 2: True}.get(int(frame.color_range)),
            "fps": float(1 / steps.mean()) if len(steps) and steps.mean() > 0 else None,
            # Containers round to their time base: a millisecond or a tenth of the step is no variation.
            "is_variable_rate": bool(
                len(steps) and np.ptp(steps) > max(0.0021, 0.1 * float(np.median(steps)))
            ),
            "start_timecode": start_timecode(container, path, video, frame),
            "num_frames": len(frames),
            "num_frames_promised": promised_frames(
                video, frames, len(picture.packets), container.format.name
            ),
        }
    if audio is not None:
        facts = sound_facts(audio, path)
        fields |= {
            "audio_codec": audio.codec_context.codec.canonical_name,
            "sample_rate": facts.sample_rate,
            "num_channels": facts.num_channels,
        }
    remote = range_reader_of(container)
    return MediaDescription(
        uri=path,
        num_bytes=os.stat(path).st_size if remote is None else remote.num_bytes,
        container=container.format.name,
        start_seconds=origin,
        duration_seconds=duration,
        streams=streams,
        **fields,
    )


def _tag_name(kind: Any, value: int) -> str | None:
    """FFmpeg's name of a colour tag; 2 means unspecified in all of them."""
    try:
        return None if value == 2 else str(kind(value).name).lower()
    except ValueError:
        return None
