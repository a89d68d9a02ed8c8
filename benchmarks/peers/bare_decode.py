"""Opens a file, or each of a folder, and decodes it in one process on one thread.

python -m benchmarks.peers.bare_decode PATH keys|all
Prints {"frames", "cpu_seconds"}; start-up is not counted.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import av

SKIPPED = {"keys": "NONKEY", "all": "DEFAULT"}


def main() -> None:
    path, skipped = Path(sys.argv[1]), SKIPPED[sys.argv[2]]
    started = time.process_time()
    frames = 0
    for each in sorted(path.iterdir()) if path.is_dir() else [path]:
        with av.open(str(each)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "NONE"
            stream.codec_context.skip_frame = skipped
            frames += sum(1 for _ in container.decode(stream))
    json.dump({"frames": frames, "cpu_seconds": time.process_time() - started}, sys.stdout)


if __name__ == "__main__":
    main()
