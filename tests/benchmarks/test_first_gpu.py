"""The first minutes on a GPU, on machines that have none: what it says, and how it judges made-up figures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.first_gpu import driver
from benchmarks.first_gpu.judging import shares, thresholds
from benchmarks.first_gpu.page import render
from benchmarks.first_gpu.probes import read_dmon
from benchmarks.first_gpu.steps import SIZES, plan_steps
from benchmarks.peers import gpu_limit
from framemill.actors import dali_rules
from framemill.models.cuda import find_gpus
from tests.actors.clips import write_clip
from tests.actors.test_dali_reader import clip, needs_dali, smooth
from tests.fake_gpu import fake_gpu

REPOSITORY = Path(__file__).resolve().parents[2]
without_gpu = pytest.mark.skipif(bool(find_gpus()), reason="there is a GPU: `make first-gpu` runs the checks")


@without_gpu
@pytest.mark.parametrize(
    "words", [[], [f"PY={sys.executable}"]], ids=["own environment", "given interpreter"]
)
def test_without_a_driver_it_ends_in_seconds_with_5_and_installs_nothing(words: list[str]) -> None:
    there = (REPOSITORY / ".venv-gpu").exists()
    started = time.monotonic()
    done = subprocess.run(
        ["make", "--no-print-directory", "first-gpu", *words],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 2 and "Error 5" in done.stderr
    assert "no NVIDIA driver: libcuda.so.1" in done.stderr and "Install driver 580" in done.stderr
    assert time.monotonic() - started < 60 and (REPOSITORY / ".venv-gpu").exists() == there


@pytest.mark.parametrize(
    ("code", "count", "words"),
    [
        (0, 1, ""),
        (0, 0, "no GPU that this process may use"),
        (100, 0, "no GPU"),
        (999, 0, "(CUDA error 999)"),
    ],
)
def test_what_the_driver_lacks_is_said(
    monkeypatch: pytest.MonkeyPatch, code: int, count: int, words: str
) -> None:
    class Library:
        def cuInit(self, flags: int) -> int:
            return code

        def cuDeviceGetCount(self, found: object) -> int:
            found._obj.value = count  # type: ignore[attr-defined]
            return 0

    monkeypatch.setattr(driver.ctypes, "CDLL", lambda name: Library())
    assert words in driver.problem() and bool(driver.problem()) == bool(words)


@pytest.mark.slow
def test_a_gpu_that_cannot_be_used_gives_a_page_that_says_so(tmp_path: Path) -> None:
    for size in SIZES:
        (tmp_path / "out" / "clips" / size).mkdir(parents=True)
        write_clip(tmp_path / "out" / "clips" / size / "000.mp4", smooth(12, 640, 360))
    environment = fake_gpu(tmp_path / "lib", "libcuda.c", "libnvcuvid.c", FAKE_CHIP="ada", FAKE_CONTEXTS="1")
    nowhere = str(tmp_path / "no-weights")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.first_gpu", str(tmp_path / "out"), "--models", nowhere],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    found = json.loads((tmp_path / "out" / "first-gpu.json").read_text())
    steps = {step["name"]: step for step in found["steps"]}
    assert list(steps) == [step.name for step in plan_steps(Path(), None)]
    assert steps["driver and libraries"]["status"] == "passed" and found["device"]["name"] == "Fake L4"
    assert steps["decoder limit, 4 sessions"]["status"] == "failed"
    assert steps["sessions on CUDA"]["detail"].endswith("onnxruntime-gpu, weights (--models FOLDER)")
    assert found["thresholds"]["GPU_CODECS"]["should_be"]["av1"] == [128, 128, 8192, 8192, 262144, 4]
    page = (tmp_path / "out" / "first-gpu.html").read_text()
    assert all(name in page for name in steps) and "Fake L4" in page and "not measured" in page


def test_an_interpreter_that_lacks_what_all_checks_need_is_told_what(tmp_path: Path) -> None:
    command = [sys.executable, "-I", "-S", "-c", _BARE]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == driver.MISSING, done.stderr
    assert "has no module" in done.stderr and "constraints/gpu-cu13.txt" in done.stderr


_BARE = (
    f"import sys, runpy; sys.path.insert(0, {str(REPOSITORY)!r}); "
    "sys.argv = ['first_gpu', 'out']; runpy.run_module('benchmarks.first_gpu', run_name='__main__')"
)
WEIGHED = {
    "1": {"device": 9.0, "host": 1.0},
    "8": {"device": 2.0, "host": 3.0},
    "64": {"device": 2.0, "host": 9.0},
}
FIGURES = {
    "driver and libraries": {"codecs": {"h264": [48, 16, 4096, 4096, 65536, 4]}},
    "from how many frames on, 720p": WEIGHED,
    "from how many frames on, 1080p": {"1": {"device": 9.0, "host": 1.0}},
    "decoder limit, 4 sessions": {"frames": 1000, "seconds": 1.0, "by": "ffmpeg"},
    "decoder limit, 16 sessions": {"frames": 2000, "seconds": 1.0, "by": "ffmpeg"},
    "reader, 4 threads": {"frames": 900, "seconds": 1.0},
    "reader, 16 threads": {"frames": 1500, "seconds": 1.0},
    "objects on CUDA, all": {"per_second": 800.0},
    "objects on TensorRT, all, fp16": {"per_second": 1000.0},
    "TensorRT alone, fp16": {"per_second": 4000.0},
}


def test_thresholds_and_shares_are_those_that_were_measured() -> None:
    found = thresholds(FIGURES)
    pixels = found["GPU_LEAST_PIXELS"]
    assert (pixels["is"], pixels["should_be"]) == (dali_rules.GPU_LEAST_PIXELS, 8 * 1280 * 720)
    assert pixels["by_size"] == {"360p": None, "720p": 8 * 1280 * 720, "1080p": None}
    assert found["GPU_CODECS"]["should_be"] == {"h264": [48, 16, 4096, 4096, 65536, 4]}
    assert shares(FIGURES) == {
        "decoding alone, of the decoder's limit": 0.75,
        "objects in all frames on CUDA, of the decoder's limit": 0.4,
        "objects in all frames on TensorRT, fp16, of the decoder's limit": 0.5,
        "objects in all frames on TensorRT, fp16, of the bare engine": 0.25,
    }
    assert shares({}) == {} and thresholds({})["GPU_LEAST_PIXELS"]["should_be"] is None


def test_the_page_shows_everything_and_escapes_it() -> None:
    step = {"name": "a <check>", "status": "failed", "seconds": 1.5, "detail": "1 < 2", "figures": {"x": 1}}
    found = {
        "started_at": "2026-01-01T00:00:00+00:00",
        "device": {"name": "GPU & co"},
        "steps": [step],
        "thresholds": thresholds(FIGURES),
        "shares": shares(FIGURES),
    }
    page = render(found)
    for words in (
        "a &lt;check&gt;",
        "1 &lt; 2",
        "GPU &amp; co",
        "0 passed, 1 failed, 0 skipped",
        "75%",
        "7372800",
    ):
        assert words in page, words
    assert "<check>" not in page


def test_the_devices_load_is_read_by_its_columns() -> None:
    told = (
        "# gpu     sm    mem    enc    dec    jpg    ofa     fb   bar1   ccpm \n"
        "# Idx      %      %      %      %      %      %     MB     MB     MB \n"
        "    0     40     10      0     90      -      -   1000      5      0 \n"
        "    1     99     99     99     99      -      -   1000      5      0 \n"
        "    0     60     20      0    100      -      -   2000      5      0 \n"
    )
    found = read_dmon(told)
    assert (found["sm"], found["dec"], found["fb"]) == (50, 95, 1500) and "jpg" not in found


FFMPEG = """#!{python}
import sys, time
assert "h264_cuvid" in sys.argv and "-hwaccel" in sys.argv, sys.argv
files = open(sys.argv[sys.argv.index("-i") + 1]).read().splitlines()
if {fails}:
    print("Cannot load libnvcuvid.so.1", file=sys.stderr)
    sys.exit(1)
time.sleep(0.3 + 0.2 * len(files))
"""


def a_program(folder: Path, fails: bool) -> str:
    folder.mkdir()
    program = folder / "ffmpeg"
    program.write_text(FFMPEG.format(python=sys.executable, fails=fails))
    program.chmod(0o755)
    return str(program)


def test_the_limit_by_ffmpeg_leaves_out_what_starting_takes(tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    for number in range(4):
        write_clip(folder / f"{number}.mp4", smooth(10))
    found = gpu_limit.by_ffmpeg(a_program(tmp_path / "bin", False), sorted(folder.iterdir()), 2)
    assert found["frames"] == gpu_limit.ROUNDS * 40 and found["by"] == "ffmpeg, h264_cuvid"
    # Two files for each of two processes, 0.2 s each.
    assert found["seconds"] > gpu_limit.ROUNDS * 0.4 * 0.7


@needs_dali
def test_without_nvdec_in_ffmpeg_the_limit_is_dalis_sequential_decode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    clip(folder / "a.webm", 20)
    found = gpu_limit.measure(folder, "cpu", 2)
    assert (found["frames"], found["by"]) == (20, "DALI, in sequence") and found["seconds"] > 0
    monkeypatch.setenv(
        "PATH", f"{Path(a_program(tmp_path / 'bin', True)).parent}{os.pathsep}{os.environ['PATH']}"
    )
    monkeypatch.setattr(gpu_limit, "by_dali", lambda *given: {"frames": 1, "seconds": 1.0, "by": "DALI"})
    (folder / "a.webm").unlink()
    write_clip(folder / "b.mp4", smooth(10))
    assert gpu_limit.measure(folder, "gpu", 2)["by"] == "DALI (ffmpeg does not: Cannot load libnvcuvid.so.1)"
