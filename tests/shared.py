"""Real media and real weights, where they are at hand."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


def _folder(name: str) -> Path:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"no real {name} at ../shared/{name}")
    return folder


@pytest.fixture(scope="session")
def media_dir() -> Path:
    """Folder of real videos and audio with known answers."""
    return _folder("media")


@pytest.fixture(scope="session")
def models_dir() -> Path:
    """Folder of real weights, to be used as a model mirror."""
    return _folder("models")
