"""Clips that are rendered once for all tests of the main job."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.extraction import render_clip


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three small clips: a.mp4 and b.mp4 with picture and sound, c.mkv without sound."""
    folder = tmp_path_factory.mktemp("clips")
    render_clip(folder / "a.mp4", seed=1)
    render_clip(folder / "b.mp4", seed=2, seconds=3.0)
    render_clip(folder / "c.mkv", seed=3, seconds=2.0, with_sound=False)
    return folder
