"""Which operations a track costs that exists and cannot be used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from framemill.cluster.run.messages import Opened
from framemill.ops import load_op
from framemill.ops.chunks import Subtitles
from framemill.ops.operation import Reads


def lost_ops(opened: Opened, ops: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Operations that are fed a track of this file that cannot be used, each with what is wrong with it.

    Args:
        ops: name -> its options, which may say that it reads nothing but subtitles.
    """
    lost: dict[str, str] = {}
    if not (opened.picture_problem or opened.sound_problem):
        return lost
    for name, options in ops.items():
        kind = load_op(name)
        problem = ""
        if kind.reads in (Reads.FRAMES, Reads.SIGNALS):
            problem = opened.picture_problem
        elif kind.reads is Reads.AUDIO and kind.takes_under(kind.Options(**options)) != (Subtitles,):
            problem = opened.sound_problem
        if problem:
            lost[name] = problem
    return lost
