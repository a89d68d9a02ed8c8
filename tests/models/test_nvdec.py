"""What the driver says of its decoder, asked of a library that answers as chips do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fake_gpu import fake_gpu

REPOSITORY = Path(__file__).resolve().parents[2]
ASK = """
import json
from framemill.actors.dali_rules import codecs_of
from framemill.models.nvdec import decoder_limits, describe_limits, library_problem
limits = decoder_limits()
print(json.dumps({
    "limits": {name: [*it.least, *it.most, it.most_blocks, it.units] for name, it in limits.items()},
    "words": describe_limits(limits), "problem": library_problem(), "codecs": sorted(codecs_of("gpu")),
}))
"""
BOTH = ("libcuda.c", "libnvcuvid.c")


def answers(folder: Path, *sources: str, **settings: str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        env=fake_gpu(folder, *sources, **settings),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(("chip", "has_av1", "units"), [("ada", True, 4), ("ampere", False, 5)])
def test_codecs_and_sizes_are_those_of_the_chip(tmp_path: Path, chip: str, has_av1: bool, units: int) -> None:
    found = answers(tmp_path / "lib", *BOTH, FAKE_CONTEXTS="1", FAKE_CHIP=chip)
    limits = {
        "h264": [48, 16, 4096, 4096, 65536, units],
        "hevc": [144, 144, 8192, 8192, 262144, units],
        "av1": [128, 128, 8192, 8192, 262144, units],
    }
    if not has_av1:
        del limits["av1"]
    assert found["limits"] == limits and found["codecs"] == sorted(limits) and found["problem"] == ""
    assert f"h264 to 4096 x 4096 ({units} decoders)" in str(found["words"])


@pytest.mark.parametrize(
    ("sources", "settings"),
    [
        (BOTH, {"FAKE_CONTEXTS": "0", "FAKE_CHIP": "ada"}),
        (BOTH, {"FAKE_CONTEXTS": "1", "FAKE_CHIP": "none"}),
        (("libcuda.c",), {"FAKE_CONTEXTS": "1"}),
        (("libnvcuvid.c",), {"FAKE_CHIP": "ada"}),
    ],
    ids=["no context", "no answer", "no library", "no driver"],
)
def test_where_nothing_can_be_asked_the_documented_codecs_count(
    tmp_path: Path, sources: tuple[str, ...], settings: dict[str, str]
) -> None:
    found = answers(tmp_path / "lib", *sources, **settings)
    assert found["limits"] == {} and "av1" not in str(found["codecs"]) and "h264" in str(found["codecs"])
    assert bool(found["problem"]) == ("libnvcuvid.c" not in sources)
