"""Our reader alone on a GPU, and a model alone on arrays of the device; the decoder's limit: `gpu_limit`.

python -m benchmarks.peers.gpu_paths reader FOLDER DEVICE THREADS
python -m benchmarks.peers.gpu_paths inference MODEL.onnx BATCH SECONDS
Prints {"frames", "seconds"} in wall-clock seconds; starting up and a first call do not count.

python -m benchmarks.peers.gpu_paths weigh FILE DEVICE RUNS
Prints, per number of frames at the start of the file, the best seconds of our reader on the device and on the
host: where they cross is what `framemill.actors.dali_rules.GPU_LEAST_PIXELS` should say.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

MODEL_SIZE = (416, 416)
SIDES = ("device", "host")


def read_ours(folder: Path, device: str, threads: int) -> dict[str, float]:
    """Every frame of every file through the reader of the actor, indexes made before."""
    from framemill.actors import dali_rules
    from framemill.actors.dali_reader import DaliDecoder
    from framemill.actors.device_reader import read_shard_on_device
    from framemill.actors.indexing import index_source
    from framemill.actors.pyav_reader import ReadReport, ReadRequest

    dali_rules.GPU_LEAST_PIXELS = 0
    decoder = DaliDecoder(device, 8 << 30, threads)
    indexes = [(str(path), index_source(str(path))) for path in sorted(folder.iterdir())]

    def work(source: tuple[str, Any]) -> int:
        path, index = source
        report = ReadReport()
        request = ReadRequest(np.arange(len(index.frames)), np.zeros(0, np.int64), False, 1)
        for _ in read_shard_on_device(path, index, request, report, decoder):
            pass
        if not report.decoder.startswith("dali"):
            raise RuntimeError(f"{path} was read by {report.decoder}")
        return report.num_decoded

    return _timed(work, indexes, threads)


def weigh(path: Path, device: str, runs: int) -> dict[str, dict[str, float]]:
    """Best seconds for few and for many frames of one file, on one thread, up to pixels of a model's size.

    Returns:
        number of frames -> {"device", "host"}.
    """
    from framemill.actors import dali_rules
    from framemill.actors.dali_reader import DaliDecoder
    from framemill.actors.device_reader import read_shard_on_device
    from framemill.actors.indexing import index_source
    from framemill.actors.pyav_reader import ReadReport, ReadRequest, read_shard
    from framemill.models.arrays import await_producer
    from framemill.ops.chunks import Frames

    dali_rules.GPU_LEAST_PIXELS = 0
    decoder, index = DaliDecoder(device, 1 << 30), index_source(str(path))

    def seconds(count: int, on_device: bool) -> float:
        report = ReadReport()
        request = ReadRequest(np.arange(count), np.zeros(0, np.int64), False, 1)
        started = time.perf_counter()
        if on_device:
            chunks = read_shard_on_device(str(path), index, request, report, decoder)
        else:
            chunks = read_shard(str(path), index, request, report)
        for chunk in chunks:
            if isinstance(chunk, Frames):
                await_producer(chunk.rgb(MODEL_SIZE))
        if on_device and not report.decoder.startswith("dali"):
            raise RuntimeError(f"{path} was read by {report.decoder}")
        return time.perf_counter() - started

    found = {}
    for count in (n for n in (1, 2, 4, 8, 16, 32, 64, 128) if n <= len(index.frames)):
        # The first call opens decoders and loads kernels.
        best = {side: min(seconds(count, side == "device") for _ in range(runs + 1)) for side in SIDES}
        found[str(count)] = best
    return found


def infer_bare(model: str, batch: int, seconds: float) -> dict[str, float]:
    """One model on one batch that lies on the device, again and again."""

    from benchmarks.extracting import named_model
    from framemill.models.arrays import cupy_module
    from framemill.models.session import open_model

    opened, report = open_model(named_model("objects"), Path(model), 1)
    if report.provider not in ("tensorrt", "cuda"):
        raise RuntimeError(f"the model runs on {report.provider}")
    width, height = opened.entry.input_size or (416, 416)
    images = cupy_module().zeros((batch, 3, height, width), dtype=np.float32)
    opened.runner.run({"images": images})
    started, frames = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        opened.runner.run({"images": images})
        frames += batch
    return {"frames": frames, "seconds": time.perf_counter() - started}


def _timed(work: Callable[[Any], int], items: list[Any], threads: int) -> dict[str, float]:
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, items[:threads]))  # decoders are opened, kernels are loaded
        started = time.perf_counter()
        frames = sum(pool.map(work, items))
        return {"frames": frames, "seconds": time.perf_counter() - started}


def main() -> None:
    what, path, second, third = sys.argv[1:]
    found: Any
    if what == "inference":
        found = infer_bare(path, int(second), float(third))
    else:
        work: Any = {"reader": read_ours, "weigh": weigh}[what]
        found = work(Path(path), second, int(third))
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
