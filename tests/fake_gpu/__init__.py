"""A GPU that can be seen and not be used: libraries in the place of the driver's, built by cc."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
LIBRARIES = {"libcuda.c": "libcuda.so.1", "libnvcuvid.c": "libnvcuvid.so.1"}


def fake_gpu(folder: Path, *sources: str, **settings: str) -> dict[str, str]:
    """The environment of a process that finds the fake libraries; skips the test where they cannot be built.

    Args:
        folder: where they are built. sources: keys of `LIBRARIES`. settings: variables that they read.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler (cc), which builds the fake driver")
    folder.mkdir(exist_ok=True)
    for source in sources:
        target = folder / LIBRARIES[source]
        command = [compiler, "-shared", "-fPIC", "-w", "-o", str(target), str(HERE / source)]
        subprocess.run(command, check=True, timeout=60)
    found = os.pathsep.join(filter(None, [str(folder), os.environ.get("LD_LIBRARY_PATH", "")]))
    without = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    return {**without, "LD_LIBRARY_PATH": found, **settings}
