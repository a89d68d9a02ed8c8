"""Whoever waits for a device sleeps: the flag is set before any library can make the context, on every path.

A fake driver notes the calls. Libraries that are here open it as they would a real one; the others are played
by the calls that they begin with.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from framemill.models.cuda import _BLOCKING_SYNC
from tests.actors.test_dali_reader import needs_dali
from tests.fake_gpu import fake_gpu

REPOSITORY = Path(__file__).resolve().parents[2]
FLAGS = f"cuDevicePrimaryCtxSetFlags_v2 {_BLOCKING_SYNC}"
# What a library does that opens a device.
OPENS = """
import ctypes
def opens(*given):
    driver = ctypes.CDLL("libcuda.so.1")
    driver.cuInit(0)
    driver.cuDevicePrimaryCtxRetain(ctypes.byref(ctypes.c_void_p()), 0)
"""
OURS = """
from framemill.models.nvdec import decoder_limits
decoder_limits()
"""
ONNX_RUNTIME = f"""{OPENS}
from types import SimpleNamespace
from framemill.models.provider_sessions import load_cuda
class Build:
    cuda_version = "13.0"
    def preload_dlls(self):
        opens()
load_cuda(Build())
"""
CUPY = f"""{OPENS}
import sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "cupy":
            opens()
sys.meta_path.insert(0, Finder())
from framemill.models.arrays import cupy_module
try:
    cupy_module()
except ImportError:
    pass
"""
DALI = """
from framemill.actors import dali_device, dali_reader
dali_device._is_installed = lambda name: True
dali_reader.own_stream = lambda: None
print(dali_device.decoder_problem())
"""
CTRANSLATE2 = """
from framemill.models import whisper
from framemill.models.registry import DEFAULTS
from pathlib import Path
try:
    whisper.open_whisper(DEFAULTS["transcript"], Path("/nowhere"), 1, "cuda")
except Exception as error:
    print(error)
"""


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(OURS, id="ours"),
        pytest.param(ONNX_RUNTIME, id="onnxruntime"),
        pytest.param(CUPY, id="cupy"),
        pytest.param(DALI, id="dali", marks=[needs_dali, pytest.mark.slow]),
        pytest.param(CTRANSLATE2, id="ctranslate2", marks=pytest.mark.slow),
    ],
)
def test_the_flag_is_set_before_a_library_opens_the_device(tmp_path: Path, path: str) -> None:
    log = tmp_path / "calls"
    environment = fake_gpu(
        tmp_path / "lib", "libcuda.c", "libnvcuvid.c", FAKE_CONTEXTS="1", FAKE_LOG=str(log)
    )
    done = subprocess.run(
        [sys.executable, "-c", path],
        env=environment | {"FRAMEMILL_CACHE_DIR": str(tmp_path / "cache")},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    calls = log.read_text().splitlines()
    assert calls[:2] == ["cuInit 0", FLAGS], calls
    assert len(calls) > 2 and calls.count(FLAGS) == 1, f"nobody opened the device after it: {done.stdout}"
