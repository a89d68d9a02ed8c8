"""The best frame of each shot as a JPEG file."""

from __future__ import annotations

from collections.abc import Mapping

from framemill.cluster.exports.shot_lists import Shot, ShotList
from framemill.errors import UsageError


def still_name(listed: ShotList, shot: Shot) -> str:
    """As the list of shots names it: shots are numbered from 1."""
    return f"{listed.stem}-{shot['scene_index'] + 1:03}.jpg"


def write_stills(listed: ShotList) -> Mapping[str, bytes]:
    """A file for each shot whose best frame has a picture.

    Raises:
        UsageError: none of them has.
    """
    files = {still_name(listed, shot): shot["still"] for shot in listed.shots if shot["still"]}
    if not files:
        raise UsageError(f"no shot of {listed.uri} has a picture: extract frames with `images`")
    return files
