"""Real media and real weights, where they are at hand, and what a processor must be able to do."""

from __future__ import annotations

from pathlib import Path

import pytest

# Products of 8-bit numbers need a wider sum than AVX2 gives them: without VNNI they saturate, and rows move.
_FLAGS = Path("/proc/cpuinfo")
_KNOWN = set(_FLAGS.read_text().split()) if _FLAGS.is_file() else set()
needs_exact_int8 = pytest.mark.skipif(
    "avx2" in _KNOWN and not {"avx512_vnni", "avx_vnni"} & _KNOWN,
    reason="8-bit sessions saturate on a processor with AVX2 and without VNNI, and compute other values",
)

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
