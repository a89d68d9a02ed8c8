"""What there is to choose from: formats, ways to find doubles, and ready filters on the view `shots`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from framemill.errors import UsageError, did_you_mean

FORMATS = ("folder", "webdataset", "hf")
# How doubles are found -> the operation that it reads.
METHODS = {"hash": "frames", "embedding": "image_embeddings"}


@dataclass(frozen=True, slots=True)
class Profile:
    """One profile.

    Attributes:
        expression: on columns of the view `shots`, in DuckDB's SQL; what is not known does not pass.
        needs: operations by which its columns are known; of those joined by `|` one is enough.
        says: what passes, for people.
    """

    expression: str
    needs: tuple[str, ...]
    says: str


# `movement` is in long sides a second: through cameras at rest it was measured at 0.001 to 0.01 where nothing
# else moves, and above 1 the camera is thrown about. Shots of which it is not known are judged by `motion`,
# in 8-bit levels from frame to frame: at 1 and below `stretches` calls a picture static, and above 40 it
# flickers. `sharpness` is that of `frames`, where 100 is usual. A face of 0.4% of the picture is 1/16 of its
# width and height.
PROFILES: Mapping[str, Profile] = {
    "motion": Profile(
        "coalesce(movement > 0.01 AND movement <= 1, motion > 1 AND motion <= 40)",
        ("motion|stretches",),
        "something moves, or the camera, and not wildly",
    ),
    "clean": Profile(
        "len(text) = 0 AND sharpness >= 50",
        ("frames", "text_spans|text"),
        "sharp pictures without text on them",
    ),
    "speech": Profile(
        "length(trim(words)) > 0 AND coalesce(music_share, 0) < 0.5",
        ("transcript",),
        "somebody speaks, and music does not play most of the time (where `music_or_speech` was extracted)",
    ),
    "people": Profile("num_faces >= 1 AND face_share >= 0.004", ("faces",), "at least one face of some size"),
}


def require_method(name: str) -> None:
    """Raises UsageError where no way to find doubles has this name."""
    if name not in METHODS:
        raise UsageError(
            f"doubles are not found by {name!r}{did_you_mean(name, METHODS)}; give {' or '.join(METHODS)}"
        )


def profile_named(name: str, there: Collection[str]) -> Profile:
    """The profile of this name.

    Args:
        there: operations that were extracted.

    Raises:
        UsageError: there is none of this name, or what it looks at was not extracted.
    """
    if name not in PROFILES:
        raise UsageError(
            f"no profile is called {name!r}{did_you_mean(name, PROFILES)}; there are {', '.join(PROFILES)}"
        )
    found = PROFILES[name]
    missing = [need for need in found.needs if not set(need.split("|")).intersection(there)]
    if missing:
        names = ",".join(need.split("|")[0] for need in missing)
        raise UsageError(
            f"the profile {name} looks at what was not extracted: run `framemill extract SOURCES -o OUT "
            f"--ops scenes,{names}` first"
        )
    return found
