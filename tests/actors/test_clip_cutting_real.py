"""Clips of real files: every container and codec gives the planned pictures and their sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from framemill.actors.clip_cutting import CutSettings
from framemill.actors.indexing import index_source
from tests.actors.clip_checks import check_clip, cut
from tests.actors.real import real_files

pytestmark = [pytest.mark.media, pytest.mark.slow]


@pytest.mark.parametrize("may_copy", [True, False])
@pytest.mark.parametrize("name", real_files("video", "gif"))
def test_first_and_last_picture_and_the_sound_are_the_planned_ones(
    media_dir: Path, tmp_path: Path, name: str, may_copy: bool
) -> None:
    source = media_dir / name
    index = index_source(str(source))
    count = len(index.frames)
    if not count:
        pytest.skip("no picture")
    key = int(np.flatnonzero(index.frames.is_key)[-1])
    bounds = [(0, min(count, 24)), (count // 3, min(count, count // 3 + 17)), (max(0, count - 21), count)]
    bounds.append((key, min(count, key + 48)))
    settings = CutSettings("libx264", may_copy=may_copy)
    for path, made in cut(source, *bounds, settings=settings, folder=tmp_path):
        check_clip(path, made, source, index)
