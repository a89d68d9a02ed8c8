"""A cut as plain data: which stretch of which file follows which. Times are in frames of one rate."""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import PurePosixPath
from urllib.parse import quote

from framemill.actors.object_store import is_remote
from framemill.cluster.run.sources import path_of

FRAME_RATES = (24, 25, 30, 50, 60)


@dataclass(frozen=True, slots=True)
class Clip:
    """A stretch of a file.

    Attributes:
        uri: the file. start_frame, num_frames: the stretch, counted at the timeline's rate from the start of
            the file's presentation. media_frames: whole frames that the file lasts at this rate.
        width, height: of its picture, as displayed. has_sound: whether the file has a sound track.
        first_number: what the file's own timecode gives its first frame, as a number of frames.
        marker: what is said of the stretch; "" for nothing.
    """

    uri: str
    start_frame: int
    num_frames: int
    media_frames: int
    width: int
    height: int
    has_sound: bool
    first_number: int = 0
    marker: str = ""


@dataclass(frozen=True, slots=True)
class Timeline:
    """Clips one after another, and music under them.

    Attributes:
        name: shown by editing programs. fps: whole frames a second, of montages one of `FRAME_RATES`.
        width, height: of the picture. clips: in order.
        music: a file, or empty. music_frames: whole frames that it lasts.
        is_ntsc: whether the rate is 1000/1001 of `fps`. is_dropping: whether its timecode drops
            numbers. keeps_sound: whether the clips' own sound is heard.
    """

    name: str
    fps: int
    width: int
    height: int
    clips: tuple[Clip, ...]
    music: str = ""
    music_frames: int = 0
    is_ntsc: bool = False
    is_dropping: bool = False
    keeps_sound: bool = False

    @property
    def num_frames(self) -> int:
        return sum(clip.num_frames for clip in self.clips)

    @property
    def seconds(self) -> float:
        return float(self.num_frames / self.rate)

    @property
    def rate(self) -> Fraction:
        """Frames a second."""
        return Fraction(self.fps * 1000, 1001) if self.is_ntsc else Fraction(self.fps)


def media_url(uri: str) -> str:
    """Where a file is, as documents name it: `file:///...`, or the address in a store."""
    if not is_remote(uri):
        return "file://" + quote(os.fsencode(path_of(uri)))  # its bytes, which may be no text
    scheme, _, place = uri.partition("://")
    return f"{scheme}://{quote(place)}"


def plain_name(uri: str) -> str:
    """A file's name without what could end a line or has no place in a document."""
    name = PurePosixPath(uri.replace("\\", "/")).name
    return printable(name) or "clip"


def printable(text: str) -> str:
    """Text without what could end a line or has no place in a document."""
    return "".join(ch if ch.isprintable() else "_" for ch in text)
