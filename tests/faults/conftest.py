"""One clip, and the server that runs are forked from."""

from __future__ import annotations

import sys

import pytest

from tests.cluster.extraction import render_clip
from tests.faults.cases import Scenario
from tests.faults.processes import start_server


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    """A clip of a second with two operations."""
    if sys.platform != "linux":
        pytest.skip("workers end with a killed supervisor by what Linux offers for that")
    start_server()
    base = tmp_path_factory.mktemp("faults")
    clip = render_clip(base / "clip.mp4", seed=1, seconds=1.0)
    return Scenario("a clip", [clip], ["--ops", "media,frames"], base)
