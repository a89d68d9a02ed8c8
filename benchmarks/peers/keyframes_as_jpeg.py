"""Opens each file of a folder, decodes its key frames and encodes them, in one process on one thread.

python -m benchmarks.peers.keyframes_as_jpeg FOLDER QUALITY
PyAV decodes, libswscale converts and OpenCV encodes, in memory. Prints {"frames", "cpu_seconds"}; start-up is
not counted.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import av
import cv2


def main() -> None:
    folder, flags = Path(sys.argv[1]), [cv2.IMWRITE_JPEG_QUALITY, int(sys.argv[2])]
    cv2.setNumThreads(1)
    started = time.process_time()
    frames = 0
    for path in sorted(folder.iterdir()):
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "NONE"
            stream.codec_context.skip_frame = "NONKEY"
            for frame in container.decode(stream):
                cv2.imencode(".jpg", frame.to_ndarray(format="bgr24", threads=1), flags)
                frames += 1
    json.dump({"frames": frames, "cpu_seconds": time.process_time() - started}, sys.stdout)


if __name__ == "__main__":
    main()
