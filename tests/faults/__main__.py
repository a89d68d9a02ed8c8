"""`python -m tests.faults [EVERY]`: the whole matrix of faults, or each EVERY-th of it, and what was missed.

A miss is a run that hangs, dies or says something unforeseen; a folder that does not open or holds torn rows
afterwards; or rows, after the same command once more, that differ from those of an undisturbed run.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.cluster.extraction import render_clip
from tests.faults.cases import Scenario, misses, undisturbed
from tests.faults.processes import start_server
from tests.faults.seam import KINDS
from tests.object_stores import Bucket, running_server

ALL = "media,frames,scenes,audio_levels,speech,beats,loudness,quality"


def main(every: int) -> int:
    start_server()
    with tempfile.TemporaryDirectory() as folder, running_server() as server:
        base, bucket = Path(folder), Bucket(server)
        clip = render_clip(base / "clip.mp4", seed=1, seconds=2.0)
        other = render_clip(base / "other.mp4", seed=2, seconds=1.0)
        few, more = ("--ops", "media,frames"), ("--ops", "media,frames,scenes,audio_levels")
        scenarios = [
            Scenario("all operations", [clip, other], ["--ops", ALL], base / "all"),
            Scenario("one more operation", [clip], more, base / "more", before=few),
            Scenario(
                "rows replaced", [clip], [*few, "--sample", "all", "--replace"], base / "replaced", before=few
            ),
            Scenario("divided", [clip], more, base / "divided", shard_seconds=1.0),
            Scenario(
                "object store", [clip], few, base / "store", out=lambda place: bucket.uri(f"out/{place.name}")
            ),
        ]
        print("".join(f"{name:>20}" for name in ("", *KINDS, "misses")), flush=True)
        num_misses = 0
        for scenario in scenarios:
            expected = undisturbed(scenario)
            faults = expected.faults()[::every]
            injected = Counter(fault.kind for fault, _ in faults)
            found = misses(scenario, expected, faults)
            num_misses += len(found)
            counts = (*(injected[kind] for kind in KINDS), len(found))
            print(f"{scenario.name:>20}" + "".join(f"{count:>20}" for count in counts), flush=True)
            for line in found:
                print(line, flush=True)
    return 1 if num_misses else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if sys.argv[1:] else 1))
