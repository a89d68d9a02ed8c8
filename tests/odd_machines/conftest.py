"""The clips of the main job's tests."""

from tests.cluster.conftest import clips as clips
