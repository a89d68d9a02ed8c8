"""Decodes every frame on one thread and runs the detector on one frame each tick; nothing else is timed.

python -m benchmarks.peers.bare_objects MODEL.onnx FOLDER STEP_SECONDS
Prints {"frames", "decode_seconds", "inference_seconds"} in CPU seconds. A tick takes the last frame at or
before it, counted from the first frame.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import av
import cv2
import numpy as np
import onnxruntime

SIDE = 416


def main() -> None:
    model, folder, step = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, sess_options=options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    cv2.setNumThreads(1)
    spent = {"frames": 0.0, "decode_seconds": 0.0, "inference_seconds": 0.0}

    def detect(frame: av.VideoFrame) -> None:
        scaled = cv2.resize(frame.to_ndarray(format="bgr24", threads=1), (SIDE, SIDE))
        batch = np.ascontiguousarray(scaled.transpose(2, 0, 1)[None], dtype=np.float32)
        started = time.process_time()
        session.run(None, {name: batch})
        spent["inference_seconds"] += time.process_time() - started
        spent["frames"] += 1

    for path in sorted(folder.iterdir()):
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "NONE"
            frames = container.decode(stream)
            first, tick, held = None, 0, None
            while True:
                started = time.process_time()
                frame = next(frames, None)
                spent["decode_seconds"] += time.process_time() - started
                if frame is None:
                    break
                first = frame.time if first is None else first
                while held is not None and frame.time - first > tick * step + 1e-9:
                    detect(held)
                    tick = int((frame.time - first) / step - 1e-9) + 1
                held = frame
            if held is not None:
                detect(held)
    json.dump(spent, sys.stdout)


if __name__ == "__main__":
    main()
