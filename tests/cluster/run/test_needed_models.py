"""What a person sees of the models that a run fetches first."""

from __future__ import annotations

from framemill.cluster.run.needed_models import _reporting
from tests.small_models import SMALL


def test_a_download_is_reported_at_each_fifth_and_at_each_retry() -> None:
    lines: list[str] = []
    on_progress = _reporting(SMALL["objects"], lines.append)
    for megabytes in (0, 1, 2, 3):
        on_progress(megabytes * 1_000_000, 10_000_000, "")
    on_progress(3_000_000, 10_000_000, "the server sent 3000000 bytes of 10000000; trying again in 0.5 s")
    on_progress(4_000_000, 10_000_000, "")
    name = "fetching model yolox_nano:"
    assert lines == [
        f"{name} 0.0 of 10.0 MB",
        f"{name} 2.0 of 10.0 MB",
        f"{name} the server sent 3000000 bytes of 10000000; trying again in 0.5 s",
        f"{name} 4.0 of 10.0 MB",
    ]
