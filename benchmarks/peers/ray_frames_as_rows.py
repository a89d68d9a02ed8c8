"""The common way to put video through Ray Data: frames are rows, and stages pass them through the store.

python -m benchmarks.peers.ray_frames_as_rows MODEL.onnx FOLDER STEP_SECONDS NUM_CPUS
One `flat_map` decodes a file into a row for each sampled frame, a pool of actors runs the detector on
batches of them, and the rows are written as Parquet. Prints {"frames", "seconds", "store_bytes"}: seconds of
the pipeline, without Ray's start, and bytes that the stages put into the object store.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import onnxruntime

SIDE = 416
BATCH = 16


def decode(row: dict[str, Any], step: float) -> Iterator[dict[str, Any]]:
    """A row for the last frame at or before each tick, counted from the first frame."""
    with av.open(row["path"]) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        first: float | None = None
        held: av.VideoFrame | None = None
        tick = 0
        for frame in container.decode(stream):
            first = frame.time if first is None else first
            while held is not None and frame.time - first > tick * step + 1e-9:
                yield {"path": row["path"], "time": held.time, "frame": held.to_ndarray(format="bgr24")}
                tick = int((frame.time - first) / step - 1e-9) + 1
            held = frame
        if held is not None:
            yield {"path": row["path"], "time": held.time, "frame": held.to_ndarray(format="bgr24")}


class Detect:
    """An actor with the model; batches of frames in, one row of scores a frame out."""

    def __init__(self, model: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._name = self._session.get_inputs()[0].name
        cv2.setNumThreads(1)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        best = []
        for frame in batch["frame"]:
            scaled = cv2.resize(np.asarray(frame), (SIDE, SIDE))
            pixels = np.ascontiguousarray(scaled.transpose(2, 0, 1)[None], dtype=np.float32)
            (rows,) = self._session.run(None, {self._name: pixels})
            best.append(float((rows[0, :, 4:5] * rows[0, :, 5:]).max()))
        return {"path": batch["path"], "time": batch["time"], "score": np.array(best)}


def main() -> None:
    model, folder, step, num_cpus = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    import pyarrow.parquet as pq
    import ray
    import ray.data

    project = str(Path(__file__).resolve().parents[2])
    ray.init(
        num_cpus=num_cpus,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        runtime_env={"env_vars": {"PYTHONPATH": project}},
    )
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    # Imported under its real name, so that the workers find these functions there.
    from benchmarks.peers import ray_frames_as_rows as here

    started = time.monotonic()
    with tempfile.TemporaryDirectory() as output:
        paths = [{"path": str(path)} for path in sorted(folder.iterdir())]
        detected = (
            ray.data.from_items(paths, override_num_blocks=len(paths))
            .flat_map(here.decode, fn_kwargs={"step": step})
            .map_batches(
                here.Detect,
                fn_constructor_args=(model,),
                batch_size=BATCH,
                compute=ray.data.ActorPoolStrategy(size=max(1, num_cpus // 2)),
            )
            .materialize()
        )
        detected.write_parquet(output)
        frames = sum(pq.read_metadata(path).num_rows for path in Path(output).rglob("*.parquet"))
    seconds = time.monotonic() - started
    # "... Output size bytes per block: 1 min, 2 max, 3 mean, 4 total"
    totals = re.findall(r"Output size bytes per block:.*?(\d+) total", detected.stats())
    ray.shutdown()
    told = {"frames": frames, "seconds": seconds, "store_bytes": sum(map(int, totals))}
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    main()
