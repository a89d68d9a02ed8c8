"""A montage of many files: the best moments, one after another, cut on the beats of a piece of music.

It reads `frames` and further tables that exist, and writes no table.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow.compute as pc

from framemill.actors.audio_probe import run_on_sound
from framemill.actors.object_store import is_remote
from framemill.cluster.editing.activity_curves import Curves, make_curves
from framemill.cluster.editing.assembly import Cut, Moments, assemble, cut_grid, plan_cuts
from framemill.cluster.editing.frame_measures import ScoredFrames
from framemill.cluster.editing.source_pictures import find_file
from framemill.cluster.editing.timeline import FRAME_RATES, Clip, Timeline
from framemill.cluster.results.corpus_tables import uris_by_source
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.source_columns import SourceColumns
from framemill.errors import MediaError, UsageError
from framemill.ops.audio.beats import Beats
from framemill.ops.chunks import Float64Array, Int64Array
from framemill.ops.operation import NoOptions

MAX_SECONDS = 3600.0
CLIP_SECONDS = 2.0
SIZE = (1280, 720)
FPS = 30
# Share of the frame's score in that of a moment; the rest is activity.
FRAME_SHARE = 0.6
# The quantile of the activity of all moments that counts in full.
FULL_ACTIVITY_QUANTILE = 0.95
# A picture with a shorter side than this is blurred by enlarging it.
FULL_SIDE = 480
# Of fades and dissolves, which last longer than a cut, so much is left out on either side.
FADE_SECONDS = 0.75


@dataclass(frozen=True, kw_only=True, slots=True)
class MontageRequest:
    """What is wanted.

    Attributes:
        seconds: length. music: path of a file with sound, or empty. name: of the timeline.
        clip_seconds: usual length of a clip. per_file: most clips out of one file; 0 takes as many as it
            takes to fill the length, spread over the files.
        fps, width, height: of the timeline; width and height are even.
    """

    seconds: float
    music: str = ""
    name: str = "montage"
    clip_seconds: float = CLIP_SECONDS
    per_file: int = 0
    fps: int = FPS
    width: int = SIZE[0]
    height: int = SIZE[1]

    def __post_init__(self) -> None:
        for what, value, low, high in (
            ("the length", self.seconds, 1.0, MAX_SECONDS),
            ("the length of a clip", self.clip_seconds, 0.5, 60.0),
            ("the number of clips a file", self.per_file, 0, 10_000),
            ("the width", self.width, 64, 8192),
            ("the height", self.height, 64, 8192),
        ):
            if not low <= value <= high:
                raise UsageError(f"{what} is {value:g}; it must be {low:g} to {high:g}")
        if self.width % 2 or self.height % 2:
            raise UsageError(f"the size is {self.width}x{self.height}; both must be even")
        if self.fps not in FRAME_RATES:
            raise UsageError(f"the rate is {self.fps}; choose one of {', '.join(map(str, FRAME_RATES))}")


@dataclass(frozen=True, slots=True)
class Montage:
    """A montage, with what fell short.

    Attributes:
        timeline: possibly shorter than wanted. cuts_seconds: where one clip gives way to the next.
        beats_seconds: the beats of the music, and further ones at its pace where it ends early.
        notes: what fell short, and why. problems: uri -> why a file was left out.
    """

    timeline: Timeline
    cuts_seconds: list[float]
    beats_seconds: list[float]
    notes: list[str] = field(default_factory=list)
    problems: Mapping[str, str] = field(default_factory=dict)


def make_montage(dataset: Dataset, request: MontageRequest) -> Montage:
    """Chooses clips; nothing is decoded but the music.

    Raises:
        UsageError: the dataset has no frames or no media, or the music cannot be used.
        DatasetError: a part is gone or damaged.
    """
    for table in ("frames", "media"):
        if table not in dataset.state.keys:
            raise UsageError(
                f"{dataset.root} has no {table}: "
                f"run `framemill extract SOURCES -o {dataset.root} --ops media,frames,scenes` first"
            )
    notes: list[str] = []
    beats, strength, music_seconds = _find_beats(request, notes)
    grid, cuts = _plan(request, beats, strength, notes)
    reader = SourceColumns(dataset, {owner for of, owner in dataset.state.entries if of == "frames"})
    files, problems = _files(dataset, reader)
    curves = make_curves(reader)
    frames = curves.frames
    assert frames is not None
    moments = _moments(frames, curves, reader, files)
    num_frames = round(request.seconds * request.fps)
    grid_frames = np.unique(np.round(grid * request.fps)).astype(np.int64).tolist()
    cut_frames = np.round(grid[cuts] * request.fps).astype(np.int64).tolist()
    chosen = _assemble(moments, grid_frames, cut_frames, num_frames, request)
    clips = tuple(_clip(cut, files[int(moments.file[cut.moment])], request.fps) for cut in chosen)
    music = request.music
    if music and not is_remote(music):
        music = os.path.abspath(music)
    timeline = Timeline(
        request.name, request.fps, request.width, request.height, clips,
        music, int(music_seconds * request.fps + 1e-6),
    )  # fmt: skip
    _add_notes(timeline, request, moments, music_seconds, notes)
    ends = np.cumsum([cut.num_frames for cut in chosen])[:-1] / request.fps
    return Montage(timeline, ends.tolist(), grid.tolist(), notes, problems)


def _find_beats(request: MontageRequest, notes: list[str]) -> tuple[Float64Array, Float64Array, float]:
    """Times and strengths of the beats, and the length of the music."""
    if not request.music:
        notes.append("no music was named: cuts are at regular times")
        return np.zeros(0), np.zeros(0), 0.0
    try:
        rows, seconds = run_on_sound(request.music, Beats(NoOptions(), {}))
    except MediaError as exc:
        raise UsageError(f"the music {request.music}: {exc}") from exc
    return (
        rows["time_seconds"].to_numpy(),
        rows["strength"].to_numpy().astype(np.float64),
        seconds,
    )


def _plan(
    request: MontageRequest, beats: Float64Array, strength: Float64Array, notes: list[str]
) -> tuple[Float64Array, Int64Array]:
    """Where cuts may lie, and at which of these places they are wanted."""
    grid = cut_grid(beats, request.seconds)
    if len(grid):
        strong = strength[np.isin(beats, grid)]
        return grid, plan_cuts(grid, strong, request.seconds, request.clip_seconds)
    if request.music:
        notes.append("the music has no beats: cuts are at regular times")
    step = request.clip_seconds / 4
    grid = cut_grid(np.arange(0.0, request.seconds + step, step), request.seconds)
    return grid, plan_cuts(grid, np.zeros(0), request.seconds, request.clip_seconds)


@dataclass(frozen=True, slots=True)
class _File:
    uri: str
    width: int
    height: int
    seconds: float
    has_sound: bool


def _files(dataset: Dataset, reader: SourceColumns) -> tuple[dict[int, _File], dict[str, str]]:
    """Files with a picture by their number, and why others are left out."""
    uris = uris_by_source(dataset)
    media = reader.read(
        "media", ("duration_seconds", "width", "height", "fps", "num_frames"),
        has_sound=pc.is_valid(pc.field("audio_codec")),
    )  # fmt: skip
    assert media is not None
    found: dict[int, _File] = {}
    problems: dict[str, str] = {}
    for row, source in enumerate(media.source.tolist()):
        width, height = media["width"][row], media["height"][row]
        if source in found or np.isnan(width) or not width:
            continue
        uri, problem = find_file(dataset, uris.get(reader.sources[source], [reader.sources[source]]))
        if problem:
            problems[uri] = problem
            continue
        seconds = float(media["duration_seconds"][row])
        found[source] = _File(uri, int(width), int(height), seconds, bool(media["has_sound"][row]))
    return found, problems


def _moments(
    frames: ScoredFrames, curves: Curves, reader: SourceColumns, files: Mapping[int, _File]
) -> Moments:
    """A candidate for each frame that may be shown."""
    low, high = _bounds(frames, curves)
    place = np.floor(curves.cells.place(frames.source, frames.pts_seconds)).astype(np.int64)
    activity = curves.curve[np.minimum(place, curves.cells.starts[frames.source + 1] - 1)]
    full = float(np.quantile(activity, FULL_ACTIVITY_QUANTILE)) if len(activity) else 0.0
    relative_activity = np.clip(activity / full, 0, 1) if full > 0 else np.zeros(len(activity))
    side = np.zeros(len(reader.sources))
    for source, file in files.items():
        side[source] = min(1.0, min(file.width, file.height) / FULL_SIDE)
    still = frames.scores.score
    score = FRAME_SHARE * still + (1 - FRAME_SHARE) * relative_activity * np.sqrt(still)
    score *= np.sqrt(side[frames.source])
    everything = Moments(frames.source, frames.pts_seconds, low, high, score, frames.phash)
    usable = frames.scores.usable & (side[frames.source] > 0) & (high > low)
    return everything.take(usable)


def _bounds(frames: ScoredFrames, curves: Curves) -> tuple[Float64Array, Float64Array]:
    """What may be shown around each frame: its shot, without fades; at most the file."""
    end_of_file = curves.cells.seconds[frames.source]
    first = np.searchsorted(frames.source, frames.source)
    low, high = frames.pts_seconds[first].copy(), end_of_file.copy()
    shots = frames.shots
    known = frames.shot >= 0
    if shots is None or not known.any():
        return low, high
    shot = frames.shot[known]
    begins = np.isin(shots["transition"], ("fade", "dissolve"))
    follows = np.append(begins[1:] & (shots.source[1:] == shots.source[:-1]), False)
    low[known] = shots["start_seconds"][shot] + np.where(begins, FADE_SECONDS, 0.0)[shot]
    high[known] = shots["end_seconds"][shot] - np.where(follows, FADE_SECONDS, 0.0)[shot]
    # The picture ends where its last shot does: sound may go on after it.
    return low, np.minimum(high, end_of_file)


def _assemble(
    moments: Moments, grid: list[int], cuts: list[int], num_frames: int, request: MontageRequest
) -> list[Cut]:
    if request.per_file or not len(moments):
        return assemble(moments, grid, cuts, num_frames, request.fps, request.per_file or 1)
    num_files = len(np.unique(moments.file))
    per_file = max(2, -(-2 * (len(cuts) + 1) // num_files))
    while True:
        chosen = assemble(moments, grid, cuts, num_frames, request.fps, per_file)
        if sum(cut.num_frames for cut in chosen) >= num_frames or per_file > len(grid):
            return chosen
        per_file *= 2


def _clip(cut: Cut, file: _File, fps: int) -> Clip:
    lasts = int(np.floor(file.seconds * fps + 1e-6))
    return Clip(file.uri, cut.start_frame, cut.num_frames, lasts, file.width, file.height, file.has_sound)


def _add_notes(
    timeline: Timeline, request: MontageRequest, moments: Moments, music_seconds: float, notes: list[str]
) -> None:
    """Appends what fell short to `notes`."""
    wanted = round(request.seconds * request.fps)
    if not len(moments):
        notes.append("no file has a frame that may be shown: all are black, faded, gone or without picture")
    elif timeline.num_frames < wanted:
        reason = f"at most {request.per_file} clips a file" if request.per_file else "all that there is"
        notes.append(
            f"the montage lasts {timeline.seconds:.1f} s instead of {request.seconds:g} s: {reason}; extract "
            "more files, sample more frames (--sample every:1), or ask for shorter clips"
        )
    if request.music and music_seconds < min(request.seconds, timeline.seconds):
        notes.append(f"the music ends after {music_seconds:.1f} s; cuts go on at its pace, without sound")
