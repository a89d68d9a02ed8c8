"""A result folder over small clips, for all tests of clips; tests that write into it take a copy."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cluster.extraction import extract


@pytest.fixture(scope="session")
def extracted(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shots of a second and a half of a.mp4 (4 s), b.mp4 (3 s) and c.mkv (2 s, without sound)."""
    out = tmp_path_factory.mktemp("extracted") / "out"
    extract(clips, out=out, sample="every:0.5")
    return out


@pytest.fixture
def results(extracted: Path, tmp_path: Path) -> Path:
    """A copy of the same, to be written into."""
    return Path(shutil.copytree(extracted, tmp_path / "out"))
