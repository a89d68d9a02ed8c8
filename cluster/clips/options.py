"""What is asked of clips, as it is named on the command line, in files of settings and in Python calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

from framemill.cluster.choices import Engine, Sandbox
from framemill.cluster.clips.intervals import MAX_SECONDS, MIN_SECONDS, TRIM_SECONDS, Rules
from framemill.cluster.clips.making import ClipsRequest
from framemill.cluster.clips.selection import SHOTS, Selection
from framemill.cluster.config import parse_picture_size
from framemill.cluster.request import Names, convert
from framemill.errors import UsageError, did_you_mean


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipOptions:
    """The options of `framemill clips`, by their names with underscores.

    Attributes:
        plan: as in `Selection`.
        to: folder or address of an object store that clips go to; empty for the one of the caller.
        min_seconds, max_seconds, trim, across_cuts, max_per_source: as in `Rules`.
        where, profile: as in `Selection`.
        dedupe, format, encoder, fps: as in `ClipsRequest`.
        reencode: whether every clip is encoded, also where copying would be exact.
        size: width and height that pictures are made to fit into, such as 1280x720; empty as they are.
    """

    plan: str = SHOTS
    to: str = ""
    min_seconds: float = MIN_SECONDS
    max_seconds: float = MAX_SECONDS
    trim: float = TRIM_SECONDS
    across_cuts: bool = False
    where: str = ""
    profile: Names = ()
    max_per_source: int | None = None
    dedupe: str = ""
    format: str = "folder"
    encoder: str = ""
    reencode: bool = False
    size: str = ""
    fps: int | None = None


def clip_options(given: Mapping[str, Any]) -> ClipOptions:
    """Options out of a mapping of their names to values; a text stands for one profile or several, as `a,b`.

    Raises:
        UsageError: one is unknown, or its value does not fit.
    """
    kinds = get_type_hints(ClipOptions, include_extras=True)
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name not in kinds:
            raise UsageError(
                f"clips have no option {name!r}{did_you_mean(name, kinds)}; there are {', '.join(kinds)}"
            )
        if name == "profile" and isinstance(value, str):
            value = [one.strip() for one in value.split(",") if one.strip()]
        values[name] = convert(f"clips: {name}: ", value, kinds[name], is_text=True)
    return ClipOptions(**values)


def clips_request(
    options: ClipOptions, engine: Engine = "auto", address: str = "", sandbox: Sandbox = "auto"
) -> ClipsRequest:
    """The request that these options make.

    Raises:
        UsageError: a value is out of range.
    """
    rules = Rules(
        options.min_seconds, options.max_seconds, options.trim, options.across_cuts, options.max_per_source
    )
    return ClipsRequest(
        folder=options.to,
        selection=Selection(options.plan, rules, options.where, options.profile),
        dedupe=options.dedupe,
        form=options.format,
        encoder=options.encoder,
        size=parse_picture_size(options.size) if options.size else None,
        fps=options.fps,
        may_copy=not options.reencode,
        engine=engine,
        address=address,
        sandbox=sandbox,
    )
