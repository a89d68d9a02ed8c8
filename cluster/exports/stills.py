"""The best frame of each shot as a JPEG file."""

from __future__ import annotations

from collections.abc import Mapping

from framemill.cluster.exports.shot_lists import ShotList
from framemill.cluster.exports.stretches import Shot
from framemill.errors import UsageError


def still_name(listed: ShotList, shot: Shot) -> str:
    """As the list of shots names it: shots are numbered from 1."""
    return f"{listed.stem}-{shot.number:03}.jpg"


def write_stills(listed: ShotList) -> Mapping[str, bytes]:
    """A file for each shot of which a picture can be had.

    Raises:
        UsageError: there is none of any.
    """
    pictures, problem = listed.pictures.find(listed.source_id, listed.media, listed.shots)
    files = {
        still_name(listed, shot): picture
        for shot, picture in zip(listed.shots, pictures, strict=True)
        if picture is not None
    }
    reason = f"{listed.uri} {problem}" if problem else "extract frames with `images`"
    if not files:
        raise UsageError(f"no shot of {listed.uri} has a picture: {reason}")
    if len(files) < len(listed.shots):
        listed.note(f"{len(listed.shots) - len(files)} of {len(listed.shots)} have no picture: {reason}")
    return files
