"""What single checks run, each in a process of its own; the last line that one prints is JSON.

python -m benchmarks.first_gpu.probes driver | doctor | memory CLIPS
python -m benchmarks.first_gpu.probes objects FOLDER SAMPLE PROVIDER PRECISION | engine MODELS PRECISION
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.extracting import MODELS, named_model
from framemill.models import cuda, nvdec

# Calls of the decoder while its memory is watched, and after how many of them it is looked at.
CALLS, LOOKED_AT = 150, 25
# After the first look nothing new is opened: what grows from there on grows for as long as a run lasts.
MOST_GROWTH_BYTES = 64 << 20
# Checks of the doctor that are about the GPU.
GPU_CHECKS = ("gpu", "gpu use", "tensorrt", "cuda", "decoder on the GPU", "speech on the GPU", "providers")
BATCHES = (8, 16, 32)
BARE_SECONDS = 5


def driver() -> dict[str, Any]:
    """The device, its driver, and what its decoder takes."""
    gpus = cuda.find_gpus()
    if not gpus:
        raise SystemExit("the driver shows no GPU")
    if problem := nvdec.library_problem():
        raise SystemExit(problem)
    limits = nvdec.decoder_limits()
    if not limits:
        raise SystemExit("the driver does not tell which codecs its chip decodes")
    codecs = {name: [*it.least, *it.most, it.most_blocks, it.units] for name, it in limits.items()}
    first = gpus[0]
    return {
        "name": first.name,
        "driver": cuda.driver_version(),
        "cuda": cuda.served_cuda(),
        "architecture": first.architecture,
        "memory_bytes": first.memory_bytes,
        "num_gpus": len(gpus),
        "codecs": codecs,
    }


def doctor() -> dict[str, Any]:
    """Findings about the GPU; one that failed ends it."""
    from framemill.cluster.doctor import run_checks

    found = {each["check"]: each for each in run_checks() if each["check"] in GPU_CHECKS}
    for check, finding in found.items():
        print(f"{check}: {finding['status']}: {finding['detail']}")
    if failed := [check for check, finding in found.items() if finding["status"] == "fail"]:
        raise SystemExit(f"failed: {'; '.join(failed)}: {found[failed[0]]['detail']}")
    return {check: [finding["status"], finding["detail"]] for check, finding in found.items()}


def memory(clips: str) -> dict[str, Any]:
    """Memory of the device over many calls, of 1080p and then of 720p."""
    import numpy as np

    from framemill.actors import dali_rules
    from framemill.actors.dali_device import open_device_reader
    from framemill.actors.indexing import index_source
    from framemill.actors.pyav_reader import ReadReport, ReadRequest

    dali_rules.GPU_LEAST_PIXELS = 0
    read, note = open_device_reader(1)
    if read is None:
        raise SystemExit(note)
    used: dict[str, list[int]] = {}
    for size in ("1080p", "720p"):
        path = str(Path(clips) / size / "000.mp4")
        index, looks = index_source(path), []
        for call in range(CALLS):
            request = ReadRequest(np.array([call % len(index.frames)]), np.zeros(0, np.int64), False, 1)
            for _ in read(path, index, request, report := ReadReport()):
                pass
            if not report.decoder.startswith("dali"):
                raise SystemExit(f"{path} was read by {report.decoder}")
            if (call + 1) % LOOKED_AT == 0:
                looks.append(cuda.used_memory_bytes())
        used[size] = looks
    for size, looks in used.items():
        if looks[-1] - looks[0] > MOST_GROWTH_BYTES:
            raise SystemExit(f"memory of the device grows at {size}: {looks} bytes, {LOOKED_AT} calls each")
    return {"used_bytes": used}


def objects(folder: str, sample: str, provider: str, precision: str) -> dict[str, Any]:
    """Decoded frames a second of a whole run of the detector, and how busy the device was meanwhile."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "framemill", "extract", folder, "-o", str(Path(scratch) / "out")]
        command += ["--ops", "objects", "--sample", sample, "--require-provider", provider]
        command += ["--precision", precision, "--config", str(MODELS), "--json", "-q"]
        subprocess.run(command, check=True, capture_output=True, text=True)  # opens what is kept
        shutil.rmtree(Path(scratch) / "out")
        with busy() as shares:
            done = subprocess.run(command, check=True, capture_output=True, text=True)
        found = json.loads(done.stdout)
        return {
            "frames": found["frames"],
            "seconds": found["elapsed_seconds"],
            "per_second": found["frames"] / found["elapsed_seconds"],
            "busy_percent": shares,
        }


@contextlib.contextmanager
def busy() -> Any:
    """Gives a dict that holds how busy the device was, once the body ends; empty without nvidia-smi."""
    shares: dict[str, float] = {}
    program = shutil.which("nvidia-smi")
    if program is None:
        yield shares
        return
    with subprocess.Popen([program, "dmon", "-s", "um"], stdout=subprocess.PIPE, text=True) as watching:
        try:
            yield shares
        finally:
            watching.terminate()
            told, _ = watching.communicate()
            shares.update(read_dmon(told))


def read_dmon(told: str) -> dict[str, float]:
    """Means of the columns of `nvidia-smi dmon`, of its first device; what is no number is left out."""
    names: list[str] = []
    rows: list[dict[str, float]] = []
    for line in told.splitlines():
        words = line.replace("#", "").split()
        if line.startswith("#"):
            names = words if "gpu" in words else names
        elif names and words[:1] == ["0"]:
            numbers = dict(zip(names, words, strict=False))
            rows.append({name: float(word) for name, word in numbers.items() if word.isdigit()})
    columns = {name for row in rows for name in row} - {"gpu"}
    return {
        name: round(sum(found) / len(found), 1)
        for name in sorted(columns)
        if (found := [row[name] for row in rows if name in row])
    }


def engine(models: str, precision: str) -> dict[str, Any]:
    """Frames a second of the detector alone on TensorRT, at the best of a few batches."""
    import numpy as np

    from framemill.models.arrays import cupy_module
    from framemill.models.session import open_model

    path = Path(models) / "yolox_nano.onnx"
    opened, report = open_model(named_model("objects"), path, 1, "tensorrt", precision=precision, tell=print)
    width, height = opened.entry.input_size or (416, 416)
    speeds: dict[str, float] = {}
    for batch in BATCHES:
        images = cupy_module().zeros((batch, 3, height, width), dtype=np.float32)
        opened.runner.run({"images": images})
        started, frames = time.perf_counter(), 0
        while time.perf_counter() - started < BARE_SECONDS:
            opened.runner.run({"images": images})
            frames += batch
        speeds[str(batch)] = frames / (time.perf_counter() - started)
    return {
        "build_seconds": report.build_seconds,
        "by_batch": speeds,
        "per_second": max(speeds.values()),
        "nodes": dict(report.num_nodes),
        # Halves that are not within bounds are not taken.
        "precision": report.precision,
        "note": report.note,
    }


PROBES: Mapping[str, Callable[..., dict[str, Any]]] = {
    "driver": driver,
    "doctor": doctor,
    "memory": memory,
    "objects": objects,
    "engine": engine,
}


if __name__ == "__main__":
    print(json.dumps(PROBES[sys.argv[1]](*sys.argv[2:])))
