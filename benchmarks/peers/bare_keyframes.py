"""Opens each file of a folder and decodes its key frames, in one process on one thread.

python -m benchmarks.peers.bare_keyframes FOLDER
Prints {"frames", "cpu_seconds"}; start-up is not counted.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import av


def main() -> None:
    started = time.process_time()
    frames = 0
    for path in sorted(Path(sys.argv[1]).iterdir()):
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "NONE"
            stream.codec_context.skip_frame = "NONKEY"
            frames += sum(1 for _ in container.decode(stream))
    json.dump({"frames": frames, "cpu_seconds": time.process_time() - started}, sys.stdout)


if __name__ == "__main__":
    main()
