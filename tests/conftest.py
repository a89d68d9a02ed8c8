"""Real media and real weights, where they are at hand, and an object store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.object_stores import Bucket, S3Server, running_server

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


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """A real S3-compatible server on loopback, to which the environment points."""
    with running_server() as server:
        yield server


@pytest.fixture
def bucket(s3_server: S3Server) -> Iterator[Bucket]:
    """An empty bucket; the server answers every request again afterwards."""
    yield Bucket(s3_server)
    s3_server.refuse = lambda request: False
