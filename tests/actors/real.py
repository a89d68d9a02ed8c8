"""Real files as test parameters; one skipped parameter where there are none."""

from __future__ import annotations

from typing import Any

import pytest

from tests.shared import SHARED

# What lies there but is no media, or has no decoder.
NOT_MEDIA = (".json", ".txt", ".md", ".rttm", ".jsonl")
UNSUPPORTED = "audio_unsupported_ac4.mp4"
# Their pictures take seconds to decode in every way that is tried.
_LONG = ("long_180p_av1.mp4", "sample_edit_list.mp4", "sample_h265.mp4")


def long_ones_apart(names: list[Any]) -> list[Any]:
    """The same parameters, with those that take long marked as slow."""
    return [
        pytest.param(name, marks=pytest.mark.slow) if str(name).endswith(_LONG) else name for name in names
    ]


def real_files(*folders: str) -> list[Any]:
    """Names relative to the media folder."""
    root = SHARED / "media"
    names = sorted(
        str(path.relative_to(root))
        for folder in folders
        for path in (root / folder).glob("*")
        if path.is_file() and path.suffix not in NOT_MEDIA and path.name != UNSUPPORTED
    )
    return names or [pytest.param("none", marks=pytest.mark.skip("no real media at ../shared/media"))]
