"""What tests of every part use: real media and weights, and an object store."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.browser import browser as browser
from tests.object_stores import Bucket, S3Server, running_server
from tests.shared import media_dir as media_dir
from tests.shared import models_dir as models_dir

# How long an example takes tells of the machine's other work, not of what is tested.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


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
