"""The GPU's packages: what resolves, the clash of the two runtimes, and `make test-gpu`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from framemill.models.cuda import find_gpus
from tests.test_packaging import PROJECT, REPOSITORY, read_pins

SETS = pytest.mark.parametrize(("extra", "pins"), [("gpu", "gpu-cu13.txt"), ("gpu-cu12", "gpu-cu12.txt")])
# What only rapidocr's own code imports, of which nothing but the weights in its wheel is used.
UNUSED = {
    "certifi", "charset-normalizer", "colorlog", "omegaconf", "pillow", "pyclipper", "requests", "shapely",
    "urllib3",
}  # fmt: skip


def resolve(project: Path, extra: str, pins: str) -> dict[str, str]:
    """Name -> version of what uv would install for Linux with Python 3.11."""
    uv = shutil.which("uv")
    if uv is None:
        pytest.skip("uv is not installed, so that the resolution cannot be tried")
    command = [
        uv,
        "pip",
        "compile",
        "--quiet",
        str(project),
        "--extra",
        extra,
        "--no-header",
        "--no-annotate",
    ]
    command += ["--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28"]
    command += ["--constraint", str(REPOSITORY / "constraints" / pins)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, cwd=project.parent
    )
    if done.returncode and re.search(r"error sending request|dns error|[Nn]etwork|offline", done.stderr):
        pytest.skip("no package index can be reached, so that the resolution cannot be tried")
    assert done.returncode == 0, done.stderr
    return dict(line.split("==") for line in done.stdout.splitlines() if "==" in line)


@SETS
def test_uv_resolves_what_is_pinned(extra: str, pins: str) -> None:
    found = resolve(REPOSITORY / "pyproject.toml", extra, pins)
    pinned = {
        pin.name: next(iter(pin.specifier)).version for pin in read_pins(REPOSITORY / "constraints" / pins)
    }
    assert "onnxruntime-gpu" in found and "onnxruntime" not in found
    assert {name: found[name] for name in pinned if name in found} == {
        k: v for k, v in pinned.items() if k in found
    }
    assert set(found) - set(pinned) <= UNUSED


@SETS
def test_without_the_exclusion_both_runtimes_would_come(tmp_path: Path, extra: str, pins: str) -> None:
    text = (REPOSITORY / "pyproject.toml").read_text()
    assert PROJECT["tool"]["uv"]["exclude-dependencies"]
    (tmp_path / "pyproject.toml").write_text(re.sub(r"(?m)^exclude-dependencies.*\n", "", text))
    for name in ("README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, tmp_path)
    (tmp_path / "framemill").mkdir()
    shutil.copy(REPOSITORY / "framemill" / "__init__.py", tmp_path / "framemill")
    assert {"onnxruntime", "onnxruntime-gpu"} <= set(resolve(tmp_path / "pyproject.toml", extra, pins))


def test_one_command_each_for_the_gpu() -> None:
    for target, words in (
        ("test-gpu", "pytest tests/gpu"),
        ("bench-gpu", "benchmarks gpu_decode gpu_objects"),
    ):
        done = subprocess.run(
            ["make", "--no-print-directory", "--dry-run", "--always-make", target],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=True,
        )
        last = done.stdout.replace("\\\n", " ").strip().splitlines()[-1]
        assert words in last and "FRAMEMILL_REQUIRE_GPU=1" in last
        assert "--no-deps --requirement constraints/gpu-cu13.txt" in done.stdout
        assert ".venv-gpu/bin/python" in last  # beside the CPU's, whose runtime would be overwritten


def test_every_benchmark_that_the_target_names_exists() -> None:
    from benchmarks.registry import all_benchmarks

    text = (REPOSITORY / "Makefile").read_text().replace("\\\n", " ")
    (line,) = re.findall(r"benchmarks (gpu_.*)", text)
    assert line.split() == [name for name in all_benchmarks() if name.startswith("gpu_")]


@pytest.mark.skipif(bool(find_gpus()), reason="there is a GPU: `make test-gpu` runs the tests themselves")
@pytest.mark.parametrize(
    ("required", "code", "words"), [("0", 0, "skipped"), ("1", 1, "nothing may be skipped")]
)
def test_without_a_gpu_tests_are_skipped_unless_it_is_required(required: str, code: int, words: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--confcutdir=tests/gpu"]
    done = subprocess.run(
        [*command, "tests/gpu/test_arrays_on_device.py"],
        cwd=REPOSITORY,
        env={**os.environ, "FRAMEMILL_REQUIRE_GPU": required},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == code and words in done.stdout, done.stdout


def test_a_benchmark_without_a_gpu_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.harness import SkippedError
    from benchmarks.suite.gpu import require_gpu
    from framemill.models import cuda

    monkeypatch.setattr(cuda, "find_gpus", lambda: ())
    monkeypatch.setenv("FRAMEMILL_REQUIRE_GPU", "0")
    with pytest.raises(SkippedError, match="no usable NVIDIA GPU"):
        require_gpu()
    monkeypatch.setenv("FRAMEMILL_REQUIRE_GPU", "1")
    with pytest.raises(RuntimeError, match="ask framemill doctor"):
        require_gpu()
