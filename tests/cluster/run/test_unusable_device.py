"""A GPU that can be seen and not be used: everything runs on the CPU, which is told; unless it was forced."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pyarrow.dataset as ds
import pytest

from tests.actors.clips import write_clip
from tests.actors.test_dali_reader import needs_dali, smooth
from tests.fake_gpu import fake_gpu

REPOSITORY = Path(__file__).resolve().parents[3]
# As far as the decoder's engine needs CuPy: where the real one is not installed, it fails at DALI alone.
CUPY = """
class Pool:
    def set_limit(self, size):
        pass
def get_default_memory_pool():
    return Pool()
class cuda:
    class Stream:
        ptr = 0
        def __init__(self, non_blocking):
            pass
"""


def extract(
    folder: Path, decoder: str, *words: str, sources: tuple[str, ...] = ("libcuda.c", "libnvcuvid.c")
) -> subprocess.CompletedProcess[str]:
    """A run of `frames` over one clip of H.264, with a fake driver."""
    modules = folder / "modules"
    modules.mkdir(exist_ok=True)
    if find_spec("cupy") is None:
        (modules / "cupy.py").write_text(CUPY)
    path = write_clip(folder / "clip.mp4", smooth(40, 640, 360), options={"g": "12"})
    environment = fake_gpu(
        folder / "lib",
        *sources,
        FRAMEMILL_CACHE_DIR=str(folder / "cache"),
        FRAMEMILL_CONFIG_DIR=str(folder / "config"),
        FRAMEMILL_DECODER=decoder,
        PYTHONPATH=os.pathsep.join([str(REPOSITORY), str(modules)]),
    )
    command = [sys.executable, "-m", "framemill", "extract", str(path), "-o", str(folder / "out")]
    command += ["--ops", "frames", "--sample", "all", *words]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=180, cwd=folder
    )


@needs_dali
def test_files_are_decoded_on_the_cpu_with_a_note(tmp_path: Path) -> None:
    done = extract(tmp_path, "auto", "-v")
    told = done.stdout + done.stderr
    assert done.returncode == 0, told
    assert "frames are decoded on the CPU: Fake L4 does not decode: " in told
    assert ds.dataset(tmp_path / "out" / "frames", format="parquet").count_rows() == 40


@needs_dali
def test_a_decoder_that_was_asked_for_by_name_ends_the_run(tmp_path: Path) -> None:
    done = extract(tmp_path, "dali")
    assert done.returncode == 5, done.stdout + done.stderr
    assert "FRAMEMILL_DECODER=dali, but Fake L4 does not decode: " in " ".join(done.stderr.split())


@needs_dali
@pytest.mark.slow
def test_a_container_without_video_is_told_what_it_lacks(tmp_path: Path) -> None:
    done = extract(tmp_path, "auto", "-v", sources=("libcuda.c",))
    assert done.returncode == 0
    assert "capability `video`" in " ".join((done.stdout + done.stderr).split())
